// Package catalog knows the things that steps work with: datasets, models and
// connections. It says who may read what, where artefacts lie in the home
// bucket, and how they are written (content first, manifest last, create-only)
// and read back (unsealed, every byte against its digest).
//
// Layout of the home bucket, all keys made of immutable ids:
//
//	{account}/models/{model}/{fence}/manifest.json    an adapter, with its sealed files
//	{account}/attestations/{model}/{version}/manifest.json   the signed statements about a model, likewise
//	{account}/jobs/{job}/{fence}/{update}/manifest.json   a resume point, likewise
//	{account}/datasets/{dataset}/{job}-{fence}.index  byte ranges and digests, no content, sealed
//	{account}/datasets/{dataset}/rows/{upload}/00000  uploaded rows, sealed
//	{account}/uploads/{model}/{file}/00000            files of a model until it is imported, sealed
//
// Beside each lies its envelope, data.key or *.key: the data key, wrapped by the
// account's key. Prepared weights of published bases are not there but in a plain
// directory of the host, because children map them: {models}/{sha256}.prepared.
// Those of an account are sealed like its adapters, and mapped from memory.
package catalog

import (
	"context"

	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Catalog is safe for concurrent use.
type Catalog struct {
	// Audit takes what must be logged before it counts; nil = the store's outbox.
	Audit Recorder

	db        *store.DB
	vault     *Vault
	bases     *Bases
	residents *residents
	signing   *provenance.Keys
	promoting chan struct{} // has room for the promotion that goes on
}

// New returns a catalog over its three places.
func New(db *store.DB, vault *Vault, bases *Bases) *Catalog {
	return &Catalog{db: db, vault: vault, bases: bases, residents: newResidents(vault), signing: provenance.NewKeys(db, vault.host()), promoting: make(chan struct{}, 1)}
}

// Vault is the store of sealed artefacts.
func (c *Catalog) Vault() *Vault { return c.vault }

// Bases is the store of prepared weights.
func (c *Catalog) Bases() *Bases { return c.bases }

// Keys are the keys of accounts.
func (c *Catalog) Keys() *custody.Keys { return c.vault.keys }

// Close takes private weights out of memory.
func (c *Catalog) Close() { c.residents.close() }

// DB is the store.
func (c *Catalog) DB() *store.DB { return c.db }

// Model resolves a reference to a model that account may read: its own, or a
// base that the operator published. A bare id is looked for in the account
// first. Foreign models are NOT_FOUND, as those that do not exist.
func (c *Catalog) Model(ctx context.Context, account, field, ref string) (store.Model, error) {
	n, err := rft.ParseName(field, ref, account, rft.Models)
	if err != nil {
		return store.Model{}, err
	}
	if n.Account != account && n.Account != rft.OperatorAccount {
		return store.Model{}, rft.Errorf(rft.KindNotFound, "%s not found", n)
	}
	m, err := c.db.Model(ctx, n.Account, n.ID)
	if rft.KindOf(err) == rft.KindNotFound && n.Account == account && ref == n.ID {
		if published, err := c.db.Model(ctx, rft.OperatorAccount, n.ID); err == nil && published.Public {
			return published, nil
		}
	}
	if err == nil && m.Account != account && !m.Public {
		return store.Model{}, rft.Errorf(rft.KindNotFound, "%s not found", n)
	}
	return m, err
}

// Dataset resolves a reference to a dataset of account.
func (c *Catalog) Dataset(ctx context.Context, account, field, ref string) (store.Dataset, error) {
	n, err := rft.ParseName(field, ref, account, rft.Datasets)
	if err != nil {
		return store.Dataset{}, err
	}
	if n.Account != account {
		return store.Dataset{}, rft.Errorf(rft.KindNotFound, "%s not found", n)
	}
	return c.db.Dataset(ctx, n.Account, n.ID)
}

// ownURL parses a bucket URL of a request.
func ownURL(field, s string) (objstore.URL, error) {
	u, err := objstore.ParseURL(s)
	if err != nil {
		return u, rft.FieldErrorf(field, "%s: %s", field, rft.PublicMessage(err))
	}
	return u, nil
}

// ExportURL parses the prefix that a model is exported to.
func ExportURL(s string) (objstore.URL, error) {
	u, err := ownURL("url", s)
	if err == nil && !u.IsPrefix() {
		u = u.Join("/")
	}
	return u, err
}

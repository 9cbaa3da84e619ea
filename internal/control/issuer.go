package control

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// IssuerDocuments are the two documents by which clouds check our tokens. They
// are public: whoever may see a token may see them.
func (c *Control) IssuerDocuments(ctx context.Context) (issuer.Documents, error) {
	if c.Issuer == nil {
		return issuer.Documents{}, noIssuer()
	}
	return c.Issuer.Documents(ctx)
}

func noIssuer() error {
	return rft.Errorf(rft.KindFailedPrecondition, "this server issues no tokens; set issuer.url in config.json")
}

const issuerName = "issuer"

// RotateIssuer withdraws the key that signs and goes on with the next.
func (c *Control) RotateIssuer(ctx context.Context, who Caller) (*api.IssuerKeyList, error) {
	if err := c.allow(ctx, who, authz.RotateIssuer, c.Keys.Operator, issuerName); err != nil {
		return nil, err
	}
	if c.Issuer == nil {
		return nil, noIssuer()
	}
	act := who.act("RotateIssuer", issuerName)
	act.Account = c.Keys.Operator
	if err := c.Issuer.Rotate(ctx, act); err != nil {
		return nil, err
	}
	return c.issuerKeys(ctx)
}

// ExportIssuer publishes the documents below a prefix of a bucket, through a
// connection of the server's first account.
func (c *Control) ExportIssuer(ctx context.Context, who Caller, to string) (*api.IssuerKeyList, error) {
	if err := c.allow(ctx, who, authz.ExportIssuer, c.Keys.Operator, issuerName); err != nil {
		return nil, err
	}
	if c.Issuer == nil || c.Broker == nil {
		return nil, noIssuer()
	}
	u, err := objstore.ParseURL(to)
	if err != nil {
		return nil, rft.FieldErrorf("url", "url: %s", rft.PublicMessage(err))
	}
	if u.Scheme == objstore.File || !u.IsPrefix() {
		return nil, rft.FieldErrorf("url", "url: want the prefix of a bucket that ends in '/'; for a directory, the command line writes the files itself")
	}
	docs, err := c.Issuer.Documents(ctx)
	if err != nil {
		return nil, err
	}
	act := who.act("ExportIssuer", issuerName, "url", u.String())
	act.Account = c.Keys.Operator
	if err := c.DB.Record(ctx, act, nil); err != nil {
		return nil, err
	}
	job := identity.Job{Account: c.Keys.Operator, Kind: "issuer", ID: "export"}
	// Keys first: a discovery document never names what is not there.
	for _, d := range []struct {
		path string
		body []byte
	}{{issuer.KeysPath, docs.JWKS}, {issuer.DiscoveryPath, docs.Discovery}} {
		if err := c.publish(ctx, job, u.Join(d.path[1:]), d.body); err != nil {
			return nil, err
		}
	}
	return c.issuerKeys(ctx)
}

// publish writes a document, over the one that is there.
func (c *Control) publish(ctx context.Context, job identity.Job, at objstore.URL, body []byte) error {
	b := identity.Renewing(c.Broker, c.Objects, job, at, identity.Write, nil)
	defer b.Close()
	o := objstore.PutOptions{Size: int64(len(body)), ContentType: "application/json", CacheControl: issuer.CacheControl}
	_, err := b.Create(ctx, at.Key, bytes.NewReader(body), o)
	if rft.KindOf(err) != rft.KindAlreadyExists {
		return err
	}
	info, err := b.Stat(ctx, at.Key)
	if err != nil {
		return err
	}
	_, err = b.Replace(ctx, at.Key, info.Pin, bytes.NewReader(body), o)
	return err
}

func (c *Control) issuerKeys(ctx context.Context) (*api.IssuerKeyList, error) {
	docs, err := c.Issuer.Documents(ctx)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []struct {
			KeyID string `json:"kid"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(docs.JWKS, &set); err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "the issuer's keys cannot be read")
	}
	out := &api.IssuerKeyList{Issuer: c.Issuer.URL, KeyIDs: []string{}}
	for _, k := range set.Keys {
		out.KeyIDs = append(out.KeyIDs, k.KeyID)
	}
	return out, nil
}

package control

import (
	"context"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// Models opens models for the router: the catalog as package serving sees it.
type Models struct {
	Catalog *catalog.Catalog
	// Stop ends the sampling children of an account whose key is lost; it
	// returns when they are gone.
	Stop func(account string)
}

// OpenBase implements serving.Source. A sampling child keeps what the account's
// key opened in its memory, so it lives only as long as the key serves, whatever
// base it stands on.
func (m Models) OpenBase(ctx context.Context, t serving.Target) (serving.Base, error) {
	base, err := m.find(ctx, t.Account, t.Base, t.BaseDigest)
	if err != nil {
		return serving.Base{}, err
	}
	release, err := m.hold(ctx, t.Account)
	if err != nil {
		return serving.Base{}, err
	}
	w, err := m.Catalog.Weights(custody.For(ctx, custody.Use{Purpose: "serve", Resource: t.Base}), base)
	if err != nil {
		release()
		return serving.Base{}, err
	}
	return serving.Base{File: w.File, Size: w.Size, Digest: w.Digest, Close: func() { w.Close(); release() }}, nil
}

// hold ties what is about to be started to the account's key.
func (m Models) hold(ctx context.Context, account string) (release func(), err error) {
	a, err := m.Catalog.DB().Account(ctx, account)
	if err != nil {
		return nil, err
	}
	release = m.Catalog.Keys().Hold(a.UID, custody.Children, func(error) {
		if m.Stop != nil {
			m.Stop(account)
		}
	})
	if err := m.Catalog.Keys().Check(ctx, a.UID); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// OpenAdapter implements serving.Source.
func (m Models) OpenAdapter(ctx context.Context, t serving.Target) (serving.Adapter, error) {
	adapter, err := m.find(ctx, t.Account, t.Adapter, t.AdapterID)
	if err != nil {
		return serving.Adapter{}, err
	}
	ctx = custody.For(ctx, custody.Use{Purpose: "serve", Resource: t.Adapter})
	a, err := m.Catalog.Checkpoint(ctx, adapter)
	if err != nil {
		return serving.Adapter{}, err
	}
	out := serving.Adapter{Canary: a.Manifest.Canary, Level: a.Manifest.Level, Precision: a.Manifest.Precision,
		ConfigSHA256: a.SHA256(catalog.FileConfig), TensorsSHA256: a.SHA256(catalog.FileAdapter)}
	out.Config, out.Tensors, err = a.Adapter(ctx)
	return out, err
}

// Refuse implements serving.Source.
func (m Models) Refuse(ctx context.Context, t serving.Target, reason error) error {
	adapter, err := m.find(ctx, t.Account, t.Adapter, t.AdapterID)
	if err != nil {
		return err
	}
	return m.Catalog.RefuseLoad(ctx, adapter, reason)
}

// find reads a model again: between request and start it may have been deleted,
// or deleted and made anew.
func (m Models) find(ctx context.Context, account, name, digest string) (store.Model, error) {
	found, err := m.Catalog.Model(ctx, account, "model", name)
	if err != nil {
		return found, err
	}
	if found.State != store.StateReady || found.Digest != digest {
		return found, rft.Errorf(rft.KindNotFound, "%s changed", name)
	}
	return found, nil
}

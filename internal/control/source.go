package control

import (
	"context"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// Models opens models for the router: the catalog as package serving sees it.
type Models struct{ Catalog *catalog.Catalog }

// OpenBase implements serving.Source.
func (m Models) OpenBase(ctx context.Context, t serving.Target) (serving.Base, error) {
	base, err := m.find(ctx, t.Account, t.Base, t.BaseDigest)
	if err != nil {
		return serving.Base{}, err
	}
	w, err := m.Catalog.Weights(ctx, base)
	if err != nil {
		return serving.Base{}, err
	}
	return serving.Base{File: w.File, Size: w.Size, Digest: w.Digest}, nil
}

// OpenAdapter implements serving.Source.
func (m Models) OpenAdapter(ctx context.Context, t serving.Target) (serving.Adapter, error) {
	adapter, err := m.find(ctx, t.Account, t.Adapter, t.AdapterID)
	if err != nil {
		return serving.Adapter{}, err
	}
	config, tensors, err := m.Catalog.Adapter(ctx, adapter)
	return serving.Adapter{Config: config, Tensors: tensors}, err
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

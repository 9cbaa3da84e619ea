package catalog

import (
	"context"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Standing finds a model that something of account stands on: the base of a LoRA,
// what a job began with. It goes by the name and asks anew: an account that read a
// base once, or reads a LoRA on it, need not be one that may read it now.
func (c *Catalog) Standing(ctx context.Context, account, field, name, uid string) (store.Model, error) {
	m, err := c.Model(ctx, account, field, name)
	switch {
	case rft.KindOf(err) == rft.KindNotFound:
		err = rft.Errorf(rft.KindNotFound, "%s not found: it was deleted, or is not published any more; have it published again, or begin anew from another model", name)
	case err == nil && m.UID != uid:
		err = rft.Errorf(rft.KindFailedPrecondition, "%s is another model than the one that was there under this name; begin anew from a model that is there", m.Name())
	}
	return m, err
}

package catalog

import (
	"context"

	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Rewrap wraps every data key of an account anew, under its current key and that
// key's newest version, seals its secrets and those of its connections anew, and returns
// how many these were. It may be repeated.
func (c *Catalog) Rewrap(ctx context.Context, a store.Account, act store.Act) (n int, err error) {
	if n, err = c.vault.Rewrap(ctx, a.UID); err != nil {
		return n, err
	}
	all, err := c.db.AllConnections(ctx, a.ID)
	for _, row := range all {
		if len(row.Sealed) == 0 {
			continue
		}
		if err := c.reseal(ctx, row, act); err != nil {
			return n, err
		}
		n++
	}
	if err != nil {
		return n, err
	}
	secrets, err := c.resealSecrets(ctx, a.ID, act)
	return n + secrets, err
}

// reseal seals the secret of a connection anew. The row is read and written in
// one transaction, so that a secret which is set meanwhile is not undone.
func (c *Catalog) reseal(ctx context.Context, row store.Connection, act store.Act) error {
	found, err := BrokerConnection(ctx, c.db, row)
	if err != nil {
		return err
	}
	fresh, err := identity.Reseal(c.Keys().Sealer(row.Account), found)
	if err != nil {
		return err
	}
	act.Method, act.Resource = "RewrapDataKeys", rft.Name{Account: row.Account, Collection: rft.Connections, ID: row.ID}.String()
	_, err = c.db.UpdateConnection(ctx, row.Account, row.ID, act, func(now *store.Connection) error {
		if string(now.Sealed) == string(row.Sealed) {
			now.Sealed = fresh
		}
		return nil
	})
	if rft.KindOf(err) == rft.KindNotFound {
		return nil // deleted meanwhile
	}
	return err
}

// Shred destroys an account's key and every envelope that it wrapped. What is
// left of the account's artefacts are files that nothing opens.
func (c *Catalog) Shred(ctx context.Context, account string, act store.Act) error {
	a, err := c.db.Account(ctx, account)
	if err != nil {
		return err
	}
	if err := c.Keys().Shred(ctx, account, act); err != nil {
		return err
	}
	return c.vault.Shred(ctx, a.UID)
}

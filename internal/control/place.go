package control

import (
	"context"
	"slices"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// metricsPlace checks the prefix that a job's metrics go to and returns it, "" = none.
func (c *Control) metricsPlace(ctx context.Context, account, url string) (string, error) {
	const field = "firekeep.metricsUrl"
	if url == "" {
		return "", nil
	}
	u, err := objstore.ParseURL(url)
	if err != nil {
		return "", within(field, err)
	}
	if !u.IsPrefix() {
		return "", rft.FieldErrorf(field, `%s: %s names an object; name a prefix, which ends in "/"`, field, u)
	}
	if u.Scheme == objstore.File {
		return u.String(), c.Files.check(field, u.String())
	}
	all, err := c.DB.AllConnections(ctx, account)
	if err == nil && !covered(all, u) {
		err = rft.FieldErrorf(field, "%s: no connection of this account covers %s; create one with `firekeep connection create`", field, u)
	}
	return u.String(), err
}

// covered reports whether one of the connections covers a prefix.
func covered(all []store.Connection, u objstore.URL) bool {
	return slices.ContainsFunc(all, func(x store.Connection) bool {
		prefix, err := objstore.ParseURL(x.URLPrefix)
		return err == nil && u.Under(prefix)
	})
}

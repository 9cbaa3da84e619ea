package catalog

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// Credentials is the source of credentials from the sealed connections of the
// store. Each minting has its audit row before the credential is handed out.
func Credentials(db *store.DB, kek seal.KEK) identity.Source {
	return &identity.Sealed{Connections: connectionRows{db}, KEK: kek, Audit: func(ctx context.Context, j identity.Job, connection string, c identity.Credential) error {
		return db.Record(ctx, store.Act{Account: j.Account, Actor: "runner", Method: "MintCredential", Resource: rft.AccountName(j.Account) + "/jobs/" + j.ID,
			Detail: map[string]string{"credential": c.ID, "purpose": j.Kind, "prefix": c.URL.String(), "access": string(c.Access),
				"connection": connection, "expires": c.Expiry.UTC().Format(time.RFC3339)}}, nil)
	}}
}

// connectionRows finds connections in the store.
type connectionRows struct{ db *store.DB }

// Covering implements identity.Connections.
func (r connectionRows) Covering(ctx context.Context, account string, u objstore.URL) ([]identity.Connection, error) {
	all, err := r.db.AllConnections(ctx, account)
	if err != nil {
		return nil, err
	}
	var out []identity.Connection
	for _, c := range all {
		prefix, err := objstore.ParseURL(c.URLPrefix)
		if err != nil || !u.Under(prefix) {
			continue // a row that does not parse covers nothing
		}
		found := identity.Connection{Account: c.Account, ID: c.ID, URL: prefix, Sealed: c.Sealed}
		if len(found.Sealed) == 0 {
			found.Sealed = nil // the database knows no difference
		}
		out = append(out, found)
	}
	return out, nil
}

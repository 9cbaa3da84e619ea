package control

import (
	"context"

	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/store"
)

// Credentials shows package identity the sealed secrets of the store.
type Credentials struct{ DB *store.DB }

// Covering implements identity.Connections.
func (c Credentials) Covering(ctx context.Context, account string, u objstore.URL) ([]identity.Connection, error) {
	rows, err := c.DB.AllConnections(ctx, account)
	if err != nil {
		return nil, err
	}
	var out []identity.Connection
	for _, r := range rows {
		at, err := objstore.ParseURL(r.URLPrefix)
		if err == nil && u.Under(at) {
			out = append(out, identity.Connection{Account: r.Account, ID: r.ID, URL: at, Sealed: r.Sealed})
		}
	}
	return out, nil
}

// Audit is an identity.Audit: it records a credential before it is handed out.
func (c Credentials) Audit(ctx context.Context, j identity.Job, connection string, cred identity.Credential) error {
	return c.DB.Record(ctx, store.Act{Account: j.Account, Actor: "runner", Method: "MintCredential", Resource: cred.URL.String(),
		Detail: map[string]string{"credential": cred.ID, "connection": connection, "job": j.ID, "kind": j.Kind, "access": string(cred.Access)}}, nil)
}

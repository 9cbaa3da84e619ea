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

// outbox is the Recorder of a process without a log: the row is committed, and
// the log takes it later.
type outbox struct{ db *store.DB }

func (o outbox) Record(ctx context.Context, act store.Act, result string) (int64, error) {
	var failed error
	if result != "OK" {
		failed = rft.Errorf(rft.Kind(result), "%s", act.Method)
	}
	return -1, o.db.Record(ctx, act, failed)
}

// Credentials is the broker over the connections of the store. Each minting is
// recorded, and logged, before the credential is handed out. log may be nil:
// then the outbox alone has it.
func Credentials(db *store.DB, kek seal.KEK, log Recorder) *identity.Broker {
	if log == nil {
		log = outbox{db}
	}
	b := &identity.Broker{Connections: connectionRows{db}, KEK: kek, Dropped: db.DropCredential}
	b.Audit = func(ctx context.Context, j identity.Job, from identity.Connection, c identity.Credential) error {
		auth := string(from.Auth)
		if c.URL.Scheme == objstore.File {
			auth = "file"
		}
		row := store.Mint{ID: c.ID, Account: j.Account, Job: j.ID, Purpose: j.Kind, Connection: from.ID, Auth: auth,
			URLPrefix: c.URL.String(), Access: string(c.Access), Minted: time.Now().UTC(), Expires: c.Expiry}
		if err := db.AddCredential(ctx, row); err != nil {
			return err
		}
		detail := map[string]string{"credential": c.ID, "purpose": j.Kind, "prefix": c.URL.String(), "access": string(c.Access),
			"connection": from.ID, "auth": auth, "expires": c.Expiry.UTC().Format(time.RFC3339)}
		if c.TokenID != "" {
			detail["token"] = c.TokenID
			detail["subject"] = from.Subject(c.Access)
		}
		_, err := log.Record(ctx, store.Act{Account: j.Account, Actor: "runner", Method: "MintCredential", Resource: rft.AccountName(j.Account) + "/jobs/" + j.ID, Detail: detail}, "OK")
		if err != nil {
			_ = db.DropCredential(context.WithoutCancel(ctx), c.ID) // nobody gets it
		}
		return err
	}
	return b
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
		found, err := BrokerConnection(ctx, r.db, c)
		if err != nil {
			return nil, err
		}
		out = append(out, found)
	}
	return out, nil
}

// BrokerConnection is a row as the broker reads it.
func BrokerConnection(ctx context.Context, db *store.DB, c store.Connection) (identity.Connection, error) {
	prefix, err := objstore.ParseURL(c.URLPrefix)
	if err != nil {
		return identity.Connection{}, rft.Wrap(rft.KindDataLoss, err, "the place of connection %q cannot be read", c.ID)
	}
	out := identity.Connection{Account: c.Account, ID: c.ID, UID: c.UID, URL: prefix, Auth: identity.Auth(c.Auth), Usable: c.State == store.ConnectionReady, Sealed: c.Sealed}
	if len(out.Sealed) == 0 {
		out.Sealed = nil // the database knows no difference
	}
	if out.Options, err = identity.ParseOptions(c.Options); err != nil {
		return identity.Connection{}, err
	}
	if out.Auth.Federated() {
		// The row is not believed: what goes into a policy is checked at every vend.
		if err := out.Options.Check(out.Auth, prefix); err != nil {
			return identity.Connection{}, rft.Wrap(rft.KindDataLoss, err, "the options of connection %q are not valid any more", c.ID)
		}
		account, err := db.Account(ctx, c.Account)
		if err != nil {
			return identity.Connection{}, err
		}
		out.AccountUID = account.UID
	}
	return out, nil
}

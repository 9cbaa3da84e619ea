package control

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// ListConnections lists connections, without their secrets.
func (c *Control) ListConnections(ctx context.Context, who Caller, account string, q ListQuery) (*api.ConnectionList, error) {
	if err := c.allow(ctx, who, authz.ListConnections, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	scope := "connections/" + account
	o, err := q.options(scope, "")
	if err != nil {
		return nil, err
	}
	p, err := c.DB.ListConnections(ctx, account, o)
	if err != nil {
		return nil, err
	}
	return &api.ConnectionList{Connections: items(p.Items, c.wireConnection), Page: q.page(scope, p.Next, p.Total)}, nil
}

// GetConnection returns a connection, without its secret, and what the other side
// must say.
func (c *Control) GetConnection(ctx context.Context, who Caller, account, id string) (*api.Connection, error) {
	if err := c.allow(ctx, who, authz.GetConnection, account, connectionName(account, id)); err != nil {
		return nil, err
	}
	row, err := c.DB.Connection(ctx, account, id)
	if err != nil {
		return nil, err
	}
	return c.wireTrust(ctx, row)
}

// maxSecretBytes bounds a connection's secret; a service account key has 2 KiB.
const maxSecretBytes = 16 << 10

// CreateConnection makes a connection. A secret is sealed: nobody can read it
// back, and it is tried at once. A federation is PENDING until its other side is
// set up and CheckConnection has found it right.
func (c *Control) CreateConnection(ctx context.Context, who Caller, account, id string, r *api.Connection) (*api.Connection, error) {
	if err := c.allow(ctx, who, authz.CreateConnection, account, rft.AccountName(account)); err != nil {
		return nil, err
	}
	if r == nil || r.URL == "" {
		return nil, rft.FieldErrorf("connection.url", "connection.url: is required: the prefix that the credential opens, such as s3://bucket/prefix/")
	}
	if err := checkDisplayName(r.DisplayName); err != nil {
		return nil, err
	}
	u, err := connectionURL(r.URL)
	if err != nil {
		return nil, err
	}
	if id, err = newID("connectionId", id); err != nil {
		return nil, err
	}
	row := store.Connection{UID: store.NewUID(), Account: account, ID: id, DisplayName: r.DisplayName, Kind: string(u.Scheme), URLPrefix: u.String(), CreatedBy: who.Name,
		Auth: r.Auth, State: store.ConnectionReady, Status: store.OK()}
	if row.Auth == "" {
		row.Auth = string(identity.Secret)
	}
	if err := c.fillConnection(&row, u, r); err != nil {
		return nil, err
	}
	made, err := c.DB.CreateConnection(ctx, row, who.act("CreateConnection", connectionName(account, id), "url", row.URLPrefix, "auth", row.Auth))
	if err != nil {
		return nil, err
	}
	if made.Auth == string(identity.Secret) && c.Broker != nil {
		if made, _, err = c.probe(ctx, made, who.act("CheckConnection", connectionName(account, id))); err != nil {
			return nil, err
		}
	}
	return c.wireTrust(ctx, made)
}

// connectionURL reads the prefix of a connection.
func connectionURL(s string) (objstore.URL, error) {
	u, err := objstore.ParseURL(s)
	if err != nil {
		return u, rft.FieldErrorf("connection.url", "connection.url: %s", rft.PublicMessage(err))
	}
	if u.Scheme == objstore.File {
		return u, rft.FieldErrorf("connection.url", "connection.url: files need no credential; the operator allows their directories in config.json")
	}
	if !u.IsPrefix() {
		return u, rft.FieldErrorf("connection.url", "connection.url: a prefix must end in '/'")
	}
	return u, u.CheckScope("connection.url")
}

// fillConnection puts options and secret of a request into a row.
func (c *Control) fillConnection(row *store.Connection, u objstore.URL, r *api.Connection) error {
	o := identity.Options{AWS: (*identity.AWS)(r.AWS), GCP: (*identity.GCP)(r.GCP), Azure: (*identity.Azure)(r.Azure)}
	if r.Encryption != nil {
		o.Encryption = objstore.Encryption(*r.Encryption)
	}
	auth := identity.Auth(row.Auth)
	if auth.Federated() {
		o.Nonce, row.Sealed = seal.RandomID(24), []byte{}
		row.State = store.ConnectionPending
		row.Status = store.Status{Code: string(rft.KindFailedPrecondition), Message: "set up the other side, then run `firekeep connection check " + row.ID + "`"}
		if r.Secret != nil {
			return rft.FieldErrorf("connection.secret", "connection.secret: goes with auth secret only")
		}
		if c.Issuer == nil {
			return rft.Errorf(rft.KindFailedPrecondition, "connection.auth: %s needs the token issuer; the operator must set issuer.url in config.json", row.Auth)
		}
	}
	if err := o.Check(auth, u); err != nil {
		return err
	}
	var err error
	if row.Options, err = json.Marshal(o); err != nil {
		return rft.Wrap(rft.KindInternal, err, "the options cannot be stored")
	}
	if auth.Federated() {
		return nil
	}
	secret, err := connectionSecret(u.Scheme, r.Secret)
	if err != nil {
		return err
	}
	row.Sealed, err = identity.SealSecret(c.Catalog.Keys().Sealer(row.Account), row.Account, row.ID, u, secret)
	return err
}

// secretFields lists, per kind of store, the fields of a secret and how else
// users have them written: AWS' own names, the keys of a service account's file.
var secretFields = map[objstore.Scheme][]struct {
	name     string
	aliases  []string
	required bool
}{
	objstore.S3: {
		{"accessKeyId", []string{"access_key_id", "aws_access_key_id"}, true},
		{"secretAccessKey", []string{"secret_access_key", "aws_secret_access_key"}, true},
		{"sessionToken", []string{"session_token", "aws_session_token"}, false},
		{"region", nil, false},
		{"bucketOwner", []string{"bucket_owner"}, false},
	},
	objstore.GS: {
		{"type", nil, true},
		{"client_email", []string{"clientEmail"}, true},
		{"private_key_id", []string{"privateKeyId"}, false},
		{"private_key", []string{"privateKey"}, true},
	},
	objstore.Azure: {
		{"accountKey", []string{"account_key"}, true},
	},
}

// connectionSecret brings a secret into the form that package objstore reads.
// Errors name fields, never values; fields that no store needs are dropped.
func connectionSecret(scheme objstore.Scheme, m map[string]any) (seal.Secret, error) {
	out := map[string]string{}
	for _, f := range secretFields[scheme] {
		for _, name := range append([]string{f.name}, f.aliases...) {
			if v, ok := m[name].(string); ok && v != "" {
				out[f.name] = v
			}
		}
		if f.required && out[f.name] == "" {
			return seal.Secret{}, rft.FieldErrorf("connection.secret", "connection.secret: %q must be there and be a string that is not empty", written(f.name, f.aliases))
		}
	}
	b, err := json.Marshal(out)
	if err != nil || len(b) > maxSecretBytes {
		return seal.Secret{}, rft.FieldErrorf("connection.secret", "connection.secret: is larger than %d KiB", maxSecretBytes>>10)
	}
	return seal.NewSecret(string(b)), nil
}

// written is the name of a field as documentation writes it.
func written(name string, aliases []string) string {
	if strings.Contains(name, "_") || len(aliases) == 0 {
		return name
	}
	return aliases[0]
}

// DeleteConnection forgets a credential. Jobs that hold it end with their lease.
func (c *Control) DeleteConnection(ctx context.Context, who Caller, account, id string) error {
	name := connectionName(account, id)
	if err := c.allow(ctx, who, authz.DeleteConnection, account, name); err != nil {
		return err
	}
	return c.DB.DeleteConnection(ctx, account, id, who.act("DeleteConnection", name))
}

func connectionName(account, id string) string {
	return rft.Name{Account: account, Collection: rft.Connections, ID: id}.String()
}

// FilePolicy says which file:// URLs the API may name. A path must lie under
// one of Roots and not under one of Never.
type FilePolicy struct {
	Roots []string
	Never []string // the server's own home, whatever Roots say
}

// check applies the policy to a URL of a request; other schemes pass.
func (p FilePolicy) check(field, url string) error {
	if !strings.HasPrefix(url, "file://") {
		return nil
	}
	u, err := objstore.ParseURL(url)
	if err != nil {
		return rft.FieldErrorf(field, "%s: %s", field, rft.PublicMessage(err))
	}
	path := resolve("/" + u.Key)
	for _, dir := range p.Never {
		if under(path, resolve(dir)) {
			return rft.Errorf(rft.KindPermissionDenied, "%s: lies in the server's own directory", field)
		}
	}
	for _, dir := range p.Roots {
		if under(path, resolve(dir)) {
			return nil
		}
	}
	return rft.Errorf(rft.KindPermissionDenied, "%s: the operator has not allowed this directory; add it to fileRoots in config.json", field)
}

// resolve follows symbolic links as far as the path exists.
func resolve(path string) string {
	path = filepath.Clean(path)
	rest := ""
	for dir := path; ; {
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			return filepath.Join(real, rest)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return path
		}
		rest = filepath.Join(filepath.Base(dir), rest)
		dir = parent
	}
}

func under(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir+"/")
}

// Package controltest makes the operations of a whole server for tests of the
// skins over it: a real database, a real home, real keys; no engine.
package controltest

import (
	"context"
	"io/fs"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// World is a server's operations with two tenants, "main" and "acme".
type World struct {
	T       testing.TB
	DB      *store.DB
	Control *control.Control
	// Keys are API keys by "account/user"; Keys["operator"] is the operator's.
	Keys map[string]string
	// Database is the path of the SQLite file.
	Database string

	places []string
}

// Files are all files of the World: database, keys and the home bucket.
func (w *World) Files() (files []string) {
	for _, place := range w.places {
		_ = filepath.WalkDir(place, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				files = append(files, path)
			}
			return nil
		})
	}
	return files
}

// People are the users of a World, by account, id and role.
var People = []struct{ Account, ID, Role string }{
	{"main", "admin", "admin"}, {"main", "ann", "user"}, {"main", "carl", "contributor"}, {"main", "ina", "inference-user"},
	{"acme", "admin", "admin"},
}

// New makes a World. Its router could start children but has no engine.
func New(t testing.TB, log *slog.Logger) *World {
	t.Helper()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, dir := context.Background(), t.TempDir()
	w := &World{T: t, Keys: map[string]string{}}
	w.DB = must(store.Open(ctx, filepath.Join(dir, "db")))(t)
	t.Cleanup(func() { w.DB.Close() })
	kek := must(seal.OpenOrCreateKeyring(filepath.Join(dir, "keyring.json")))(t)
	home := t.TempDir()
	bucket := must(objstore.OpenDir(home))(t)
	w.Database, w.places = filepath.Join(dir, "db"), []string{dir, home}
	bases := must(catalog.NewBases(filepath.Join(dir, "models")))(t)
	accountKeys := custody.New(custody.Config{DB: w.DB, Dir: filepath.Join(dir, "keys"), Host: kek})
	cat := catalog.New(w.DB, catalog.NewVault(bucket, accountKeys), bases)
	operator := seal.NewOperatorKey()
	w.Keys["operator"] = operator.Text.Reveal()
	w.Control = &control.Control{DB: w.DB, Keys: &authz.Keys{DB: w.DB, Operator: "main", OperatorKeys: [][]byte{operator.Hash}}, Catalog: cat,
		Jobs: job.New(cat), Router: (*serving.Router)(nil), KEK: kek, Log: log, Tokens: &authz.Federation{}, Shred: accountKeys.Shred,
		Files: control.FilePolicy{Roots: []string{"/data"}, Never: []string{"/data/home"}}}
	for _, a := range []string{"main", "acme", rft.OperatorAccount} {
		must(w.DB.CreateAccount(ctx, store.Account{ID: a}, store.Act{}))(t)
	}
	for _, u := range People {
		must(w.DB.CreateUser(ctx, store.User{Account: u.Account, ID: u.ID, Role: u.Role}, store.Act{}))(t)
		w.Keys[u.Account+"/"+u.ID] = w.Key(u.Account, u.ID, time.Now().Add(time.Hour))
	}
	must(w.DB.CreateModel(ctx, store.Model{Account: "main", ID: "base", Kind: store.KindBase, State: store.StateReady, Status: store.OK(), ContextLength: 64}, nil, store.Act{}))(t)
	return w
}

// Key makes a key of a user.
func (w *World) Key(account, user string, expires time.Time) string {
	w.T.Helper()
	return w.ScopedKey(account, user, expires, "")
}

// ScopedKey makes a key of a user with a scope, as authz.Scope is stored.
func (w *World) ScopedKey(account, user string, expires time.Time, scope string) string {
	w.T.Helper()
	k := seal.NewAPIKey()
	row := authz.KeyRow(k, account, user, "test", expires)
	row.Scope = scope
	must(w.DB.CreateAPIKey(context.Background(), row, store.Act{}))(w.T)
	return k.Text.Reveal()
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

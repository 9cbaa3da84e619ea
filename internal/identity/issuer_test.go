package identity_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/store"
)

// newIssuer is an issuer with its keys in a fresh database.
func newIssuer(t *testing.T, url string) (*issuer.Issuer, *store.DB) {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	i := &issuer.Issuer{URL: url, DB: db, KEK: ring(t)}
	if err := i.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	return i, db
}

// addKey moves the first key's time back, so that it signs at the issuer's now.
func addKey(t *testing.T, i *issuer.Issuer) {
	t.Helper()
	keys, err := i.DB.IssuerKeys(t.Context())
	if err != nil || len(keys) == 0 {
		t.Fatalf("no keys: %v", err)
	}
	if err := i.DB.PromoteIssuerKey(t.Context(), keys[0].ID, i.Now().Add(-time.Minute), store.Act{Account: "main"}); err != nil {
		t.Fatal(err)
	}
}

package control

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// TestMetricsPlace: metrics go below a connection of the same account, or to a
// folder that the operator allows, and nowhere else.
func TestMetricsPlace(t *testing.T) {
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for account, prefix := range map[string]string{"main": "s3://bkt/data/", "acme": "s3://bkt/runs/"} {
		if _, err := db.CreateAccount(t.Context(), store.Account{ID: account}, store.Act{}); err != nil {
			t.Fatal(err)
		}
		if _, err := db.CreateConnection(t.Context(), store.Connection{Account: account, ID: "c", Kind: "s3", URLPrefix: prefix, Sealed: []byte{1}, Options: json.RawMessage(`{}`)}, store.Act{}); err != nil {
			t.Fatal(err)
		}
	}
	c := &Control{DB: db, Files: FilePolicy{Roots: []string{dir}}}
	for url, want := range map[string]rft.Kind{
		"": "", "s3://bkt/data/": "", "s3://bkt/data/runs/1/": "", "file://" + dir + "/runs/": "",
		"s3://bkt/runs/":        rft.KindInvalidArgument, // another account's
		"s3://bkt/":             rft.KindInvalidArgument, // wider than the connection
		"s3://bkt/data/metrics": rft.KindInvalidArgument, // an object
		"ftp://bkt/data/":       rft.KindInvalidArgument,
		"file:///etc/":          rft.KindPermissionDenied,
	} {
		got, err := c.metricsPlace(t.Context(), "main", url)
		if rft.KindOf(err) != want || err == nil && got != url || want == rft.KindInvalidArgument && !strings.HasPrefix(rft.PublicMessage(err), "firekeep.metricsUrl") {
			t.Errorf("%s: %q, %v", url, got, err)
		}
	}
}

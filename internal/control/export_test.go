package control

import (
	"path/filepath"
	"testing"

	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// TestRefusedExportIsAudited: a destination that the policy does not allow makes
// no job and no request, and the refusal can be read.
func TestRefusedExportIsAudited(t *testing.T) {
	ctx := t.Context()
	c := exportControl(t)
	who := NewCaller(authz.Principal{Account: "main", User: "ann", Name: "ann@example.org", Role: authz.Admin}, "192.0.2.1", "test")
	if _, err := c.SetModelPolicy(ctx, who, "main", []byte(`{"destinations":["s3://allowed/"]}`)); err != nil {
		t.Fatal(err)
	}
	for url, kind := range map[string]rft.Kind{"s3://elsewhere/m/": rft.KindPermissionDenied, "oci://registry.example.org/m:v1": rft.KindPermissionDenied,
		"s3://allowed/m/": rft.KindFailedPrecondition} { // the model of this test is not signed
		if _, err := c.ExportModel(ctx, who, "main", "m", url); rft.KindOf(err) != kind {
			t.Errorf("%s: %v", url, err)
		}
		p, err := c.DB.ListAudit(ctx, "main", store.AuditRange{}, store.ListOptions{Limit: 1, Filter: []store.Term{{Field: "method", Op: "=", Value: "ExportModel"}}})
		if err != nil || len(p.Items) != 1 || p.Items[0].Result != string(kind) || p.Items[0].Detail["destination"] != url || p.Items[0].ClientIP != "192.0.2.1" {
			t.Errorf("%s: audit %+v, %v", url, p.Items, err)
		}
	}
	if p, err := c.DB.ListJobs(ctx, "main", store.JobExport, store.ListOptions{}); err != nil || p.Total != 0 {
		t.Errorf("%d exports, %v", p.Total, err)
	}
	if _, err := c.SetModelPolicy(ctx, who, "main", []byte(`{"destination":["s3://allowed/"]}`)); rft.KindOf(err) != rft.KindInvalidArgument {
		t.Errorf("a misspelt rule: %v", err)
	}
	user := NewCaller(authz.Principal{Account: "main", User: "bob", Name: "bob", Role: authz.User}, "", "")
	if _, err := c.SetModelPolicy(ctx, user, "main", []byte(`{}`)); rft.KindOf(err) != rft.KindPermissionDenied {
		t.Errorf("a user set the policy: %v", err)
	}
}

// exportControl is a server's operations over one model that nobody signed.
func exportControl(t *testing.T) *Control {
	t.Helper()
	ctx, dir := t.Context(), t.TempDir()
	db, err := store.Open(ctx, filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if _, err := db.CreateAccount(ctx, store.Account{ID: "main"}, store.Act{}); err != nil {
		t.Fatal(err)
	}
	if _, err := db.CreateModel(ctx, store.Model{Account: "main", ID: "m", Kind: store.KindAdapter, State: store.StateReady}, nil, store.Act{}); err != nil {
		t.Fatal(err)
	}
	cat := catalog.New(db, nil, nil)
	return &Control{DB: db, Catalog: cat, Jobs: job.New(cat)}
}

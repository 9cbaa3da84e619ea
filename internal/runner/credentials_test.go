package runner_test

import (
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/store"
)

// TestCredentialsAreRecorded: each credential of a job has its record and its
// audit row, from before it was used, and is dropped when the job is over.
func TestCredentialsAreRecorded(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	d := h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(3, 2, varied)))
	j := h.validation(t, d)
	stop() // a job is COMPLETED a moment before its runner lets go
	minted, err := h.db.JobCredentials(t.Context(), "main", j.UID)
	if err != nil || len(minted) == 0 {
		t.Fatalf("%d credentials, %v", len(minted), err)
	}
	for _, c := range minted {
		if c.Access != string(identity.Read) || c.URLPrefix != d.ExternalURL || c.Purpose != "validation" || c.Expires.Sub(c.Minted) > identity.MaxLife+time.Second {
			t.Errorf("%+v", c)
		}
		if c.State(time.Now()) != "dropped" {
			t.Errorf("%s is %s after the job", c.ID, c.State(time.Now()))
		}
	}
	acts, err := h.db.ListAudit(t.Context(), "main", store.AuditRange{}, store.ListOptions{Filter: []store.Term{{Field: "method", Op: "=", Value: "MintCredential"}}})
	if err != nil || acts.Total != len(minted) {
		t.Fatalf("%d acts for %d credentials, %v", acts.Total, len(minted), err)
	}
	for i, a := range acts.Items {
		c := minted[len(minted)-1-i] // newest first
		if a.Detail["credential"] != c.ID || a.Detail["access"] != c.Access || !strings.HasSuffix(a.Resource, j.UID) {
			t.Errorf("%+v is not the act of %+v", a, c)
		}
	}
	if other, err := h.db.JobCredentials(t.Context(), "acme", j.UID); err != nil || len(other) != 0 {
		t.Errorf("another account sees %d, %v", len(other), err)
	}
}

package runner_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// TestRoom: what an account stores is held against its quota when it is stored, by
// the quota of then; what does not fit leaves nothing but the reason.
func TestRoom(t *testing.T) {
	h := newHome(t)
	limit := int64(1 << 40)
	h.config.StorageBytes = func(a store.Account) int64 { return limit }
	stop := h.run(t)
	_, base := h.trained(t)
	dir, _ := h.export(t, "m1", "out")
	u, err := h.db.AccountUsage(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	imports := func(id, source, on string) store.Job {
		t.Helper()
		_, j, err := h.catalog.ImportModel(t.Context(), catalog.NewImport{Account: "main", ID: id, Source: source, BaseModel: on}, act)
		if err != nil {
			t.Fatal(err)
		}
		return h.end(t, j.UID)
	}
	tiny := "file://" + filepath.Join(h.dir, "customer", "tiny") + "/"
	for _, c := range []struct {
		id, source, on string
		size           int64
	}{{"another", tiny, "", base.Size}, {"back", "file://" + dir + "/", "tiny", 1}} {
		limit = u.Bytes + c.size - 1
		if j := imports(c.id, c.source, c.on); j.State != rft.StateFailed || j.Status.Code != string(rft.KindResourceExhausted) || !strings.Contains(j.Status.Message, "quota list") {
			t.Errorf("%s, for which there is no room: %s %+v", c.id, j.State, j.Status)
		}
		if found := h.fsck(t, false); len(found) > 0 {
			t.Errorf("%s left %+v", c.id, found)
		}
		if err := h.catalog.DeleteModel(t.Context(), "main", c.id, act); err != nil {
			t.Error(err)
		}
	}
	limit = u.Bytes + base.Size
	if j := imports("another", tiny, ""); j.State != rft.StateCompleted {
		t.Errorf("what fits: %+v", j.Status)
	}

	d, err := h.catalog.CreateDataset(t.Context(), catalog.NewDataset{Account: "main", ID: "up"}, act)
	if err != nil {
		t.Fatal(err)
	}
	text := rows(2, 2, varied)
	upload := func(more int64) error {
		_, err := h.catalog.Upload(t.Context(), "main", "up", strings.NewReader(text), store.Room{Account: "main", Limit: limit + more}, act)
		return err
	}
	if err := upload(int64(len(text)) - 1); rft.KindOf(err) != rft.KindResourceExhausted {
		t.Errorf("rows for which there is no room: %v", err)
	}
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("rows left %+v", found)
	}
	if err := upload(int64(len(text))); err != nil {
		t.Errorf("rows that fit: %v", err)
	}
	h.wait(t, h.validation(t, d).UID)
	stop()
}

// TestImportDeleted: a model that is deleted while it is imported leaves nothing.
func TestImportDeleted(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	h.trained(t)
	dir, _ := h.export(t, "m1", "out")
	stop()
	tiny := "file://" + filepath.Join(h.dir, "customer", "tiny") + "/"
	for id, n := range map[string]catalog.NewImport{"whole": {Source: tiny}, "lora": {Source: "file://" + dir + "/", BaseModel: "tiny"}} {
		gone := make(chan struct{})
		last := func(key string) {
			if strings.Contains(key, "/attestations/") && strings.HasSuffix(key, catalog.FileManifest) {
				if err := h.catalog.DeleteModel(t.Context(), "main", id, act); err != nil {
					t.Error(err)
				}
				close(gone)
			}
		}
		h.bucket.after.Store(&last)
		n.Account, n.ID = "main", id
		if _, _, err := h.catalog.ImportModel(t.Context(), n, act); err != nil {
			t.Fatal(err)
		}
		stop := h.run(t)
		<-gone
		h.bucket.after.Store(nil)
		stop() // the runner ends when the attempt has
		if found := h.fsck(t, false); len(found) > 0 {
			t.Errorf("%s left %+v", id, found)
		}
	}
}

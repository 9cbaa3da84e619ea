package runner_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/runner"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// full is a home with one of everything, made by real jobs: a base, a step that
// was given back in the middle and so has resume points, two adapters, a dataset
// by URL, an uploaded one, a connection.
func full(t *testing.T) *home {
	t.Helper()
	h := newHome(t)
	stop := h.run(t)
	h.base(t)
	h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(8, 3, varied)))
	up, err := h.catalog.CreateDataset(t.Context(), catalog.NewDataset{Account: "main", ID: "up"}, act)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.catalog.Upload(t.Context(), "main", "up", strings.NewReader(rows(2, 2, varied)), store.Room{}, act); err != nil {
		t.Fatal(err)
	}
	h.wait(t, h.validation(t, up).UID)
	for _, id := range []string{"m1", "m2"} {
		p := small()
		p.Seed = ptr(int64(len(id) + int(id[1])))
		h.wait(t, h.step(t, job.StepRequest{Dataset: "rows", BaseModel: "tiny", OutputModel: id, Params: p}).UID)
	}
	u, err := objstore.ParseURL("s3://bucket/prefix/")
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := identity.SealSecret(h.kek, "main", "conn", u, seal.NewSecret(`{"accessKeyId":"a","secretAccessKey":"b"}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.db.CreateConnection(t.Context(), store.Connection{Account: "main", ID: "conn", Kind: "s3", URLPrefix: u.String(), Sealed: sealed}, act); err != nil {
		t.Fatal(err)
	}
	// A long step, stopped after its second resume point.
	p := small()
	p.Epochs = ptr(1000)
	marked := make(chan struct{})
	h.bucket.after.Store(atPoint(4, func() { close(marked) })) // two are committed by then
	h.step(t, job.StepRequest{ID: "long", Dataset: "rows", BaseModel: "tiny", OutputModel: "m3", Params: p})
	<-marked
	stop()
	h.fsck(t, true) // the stop may have come between content and row
	if found := h.fsck(t, false); len(found) > 0 {
		t.Fatalf("a healthy home: %+v", found)
	}
	return h
}

// corruption is one planted fault and what fsck must call it.
type corruption struct {
	name     string
	kind     string // of the finding
	harmless bool
	plant    func(t *testing.T, f *faults)
}

// faults are the hands that plant them: on files, and on rows behind the
// program's back.
type faults struct {
	h  *home
	db *sql.DB
}

// object is the path of a file of the home bucket that contains all of parts.
func (f *faults) object(t *testing.T, parts ...string) string {
	t.Helper()
	found := ""
	err := filepath.Walk(filepath.Join(f.h.dir, "bucket"), func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() || found != "" {
			return err
		}
		for _, p := range parts {
			if !strings.Contains(path, p) {
				return nil
			}
		}
		found = path
		return nil
	})
	if err != nil || found == "" {
		t.Fatalf("no object with %q: %v", parts, err)
	}
	return found
}

func (f *faults) adapterDir(t *testing.T, id string) string {
	t.Helper()
	m, err := f.h.db.Model(t.Context(), "main", id)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(f.h.dir, "bucket", m.Artifact)
}

func (f *faults) weights(t *testing.T) string {
	t.Helper()
	m, err := f.h.db.Model(t.Context(), "main", "tiny")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(f.h.dir, "bucket", m.Artifact, "weights.sealed")
}

// flip changes one bit in the middle of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (f *faults) exec(t *testing.T, query string) {
	t.Helper()
	res, err := f.db.ExecContext(t.Context(), query)
	check(t, err)
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("%s changed %d rows, %v", query, n, err)
	}
}

var corruptions = []corruption{
	{"a bit of a sealed adapter", "adapter", false, func(t *testing.T, f *faults) {
		flip(t, filepath.Join(f.adapterDir(t, "m1"), "adapter_model.safetensors.sealed"))
	}},
	{"a sealed optimiser state cut short", "adapter", false, func(t *testing.T, f *faults) {
		path := filepath.Join(f.adapterDir(t, "m1"), "optimizer.safetensors.sealed")
		info, err := os.Stat(path)
		check(t, err)
		check(t, os.Truncate(path, info.Size()-1))
	}},
	{"a manifest edited", "adapter", false, func(t *testing.T, f *faults) {
		path := filepath.Join(f.adapterDir(t, "m1"), "manifest.json")
		b, err := os.ReadFile(path)
		check(t, err)
		check(t, os.WriteFile(path, []byte(strings.Replace(string(b), `"adapter"`, `"Adapter"`, 1)), 0o600))
	}},
	{"a manifest gone", "adapter", false, func(t *testing.T, f *faults) {
		check(t, os.Remove(filepath.Join(f.adapterDir(t, "m1"), "manifest.json")))
	}},
	{"a file of an adapter gone", "adapter", false, func(t *testing.T, f *faults) {
		check(t, os.Remove(filepath.Join(f.adapterDir(t, "m1"), "adapter_config.json.sealed")))
	}},
	{"an adapter's envelope gone", "adapter", false, func(t *testing.T, f *faults) {
		check(t, os.Remove(filepath.Join(f.adapterDir(t, "m1"), "data.key")))
	}},
	{"a bit of an envelope", "adapter", false, func(t *testing.T, f *faults) { flip(t, filepath.Join(f.adapterDir(t, "m1"), "data.key")) }},
	{"two adapters exchanged", "adapter", false, func(t *testing.T, f *faults) {
		a, b, c := f.adapterDir(t, "m1"), f.adapterDir(t, "m2"), filepath.Join(f.h.dir, "third")
		check(t, os.Rename(a, c))
		check(t, os.Rename(b, a))
		check(t, os.Rename(c, b))
	}},
	{"one model's row pointed at another's artefact", "adapter", false, func(t *testing.T, f *faults) {
		f.exec(t, "UPDATE models SET digest = (SELECT digest FROM models WHERE id = 'm2'), artifact = (SELECT artifact FROM models WHERE id = 'm2') WHERE id = 'm1'")
	}},
	{"a bit of prepared weights", "base", false, func(t *testing.T, f *faults) { flip(t, f.weights(t)) }},
	{"prepared weights gone", "base", false, func(t *testing.T, f *faults) { check(t, os.Remove(f.weights(t))) }},
	{"a bit of a dataset's index", "dataset", false, func(t *testing.T, f *faults) { flip(t, f.object(t, ".index")) }},
	{"a dataset's index gone", "dataset", false, func(t *testing.T, f *faults) { check(t, os.Remove(f.object(t, ".index"))) }},
	{"a pinned object unlisted", "dataset", false, func(t *testing.T, f *faults) {
		f.exec(t, "DELETE FROM dataset_objects WHERE dataset = (SELECT uid FROM datasets WHERE id = 'rows')")
	}},
	{"a bit of uploaded rows", "dataset", false, func(t *testing.T, f *faults) { flip(t, f.object(t, "/rows/")) }},
	{"a bit of a resume point", "resume-point", false, func(t *testing.T, f *faults) {
		flip(t, f.object(t, "/jobs/", "adapter_model.safetensors.sealed"))
	}},
	{"a connection's secret edited", "connection", false, func(t *testing.T, f *faults) {
		f.exec(t, "UPDATE connections SET sealed = CAST(sealed || x'00' AS BLOB)")
	}},
	{"a running job that nobody holds", "job", false, func(t *testing.T, f *faults) {
		f.exec(t, "UPDATE jobs SET state = 'JOB_STATE_RUNNING', owner = '' WHERE id = 'long'")
	}},
	{"a job in a state that does not exist", "job", false, func(t *testing.T, f *faults) {
		f.exec(t, "UPDATE jobs SET state = 'JOB_STATE_DONE' WHERE id = 'long'")
	}},
	{"a live step without its reserved name", "job", false, func(t *testing.T, f *faults) {
		f.exec(t, "DELETE FROM models WHERE state = 'RESERVED'")
	}},
	{"an audit row removed", "database", false, func(t *testing.T, f *faults) {
		f.exec(t, "DELETE FROM audit_outbox WHERE seq = 5")
	}},
	{"events of a job that is gone", "database", false, func(t *testing.T, f *faults) {
		f.exec(t, "DELETE FROM jobs WHERE output_model LIKE '%/m1'")
	}},
	{"a database page overwritten", "database", false, func(t *testing.T, f *faults) {
		f.exec(t, "UPDATE accounts SET display_name = 'x'")
		_, err := f.db.ExecContext(t.Context(), "PRAGMA wal_checkpoint(TRUNCATE)")
		check(t, err)
		path := filepath.Join(f.h.dir, "firekeep.db")
		b, err := os.ReadFile(path)
		check(t, err)
		page := len(b) / 4096 / 2 * 4096
		for i := range 64 {
			b[page+i] = 0xee
		}
		check(t, os.WriteFile(path, b, 0o600))
	}},
	{"a name reserved by a step that is gone", "reserved-name", true, func(t *testing.T, f *faults) {
		f.exec(t, "DELETE FROM job_events WHERE job = (SELECT uid FROM jobs WHERE id = 'long')")
		f.exec(t, "DELETE FROM resume_points")
		f.exec(t, "DELETE FROM jobs WHERE id = 'long'")
	}},
	{"an object that nothing names", "orphan", true, func(t *testing.T, f *faults) {
		path := filepath.Join(filepath.Dir(f.adapterDir(t, "m1")), "99", "adapter_model.safetensors.sealed")
		check(t, os.MkdirAll(filepath.Dir(path), 0o700))
		check(t, os.WriteFile(path, []byte("half"), 0o600))
	}},
	{"weights that no model has", "orphan", true, func(t *testing.T, f *faults) {
		check(t, os.WriteFile(filepath.Join(f.h.dir, "models", strings.Repeat("ab", 32)+".prepared"), nil, 0o600))
	}},
	{"a write to the home bucket never finished", "unfinished-file", true, func(t *testing.T, f *faults) {
		check(t, os.WriteFile(filepath.Join(f.adapterDir(t, "m1"), ".firekeep-123.part"), []byte("half"), 0o600))
	}},
	{"prepared weights never finished", "unfinished-file", true, func(t *testing.T, f *faults) {
		check(t, os.WriteFile(filepath.Join(f.h.dir, "models", ".incoming-1"), []byte("half"), 0o600))
	}},
}

// TestFsckFindsPlantedCorruptions: each fault is found, alone, under its kind;
// what is harmless is removed by --repair and the home is clean again, and what
// is not harmless is never touched.
func TestFsckFindsPlantedCorruptions(t *testing.T) {
	h := full(t)
	h.db.Close()
	for _, c := range corruptions {
		t.Run(c.name, func(t *testing.T) {
			copied := h.copy(t)
			db, err := sql.Open("sqlite", filepath.Join(copied.dir, "firekeep.db")+"?_pragma=foreign_keys(0)")
			check(t, err)
			c.plant(t, &faults{copied, db})
			check(t, db.Close())
			found := copied.fsck(t, false)
			if !about(found, c.kind, c.harmless) {
				t.Fatalf("fsck found %+v", found)
			}
			after := copied.fsck(t, true)
			if !c.harmless {
				if left := copied.fsck(t, false); !about(left, c.kind, false) {
					t.Errorf("a repair hid the fault: %+v", left)
				}
				return
			}
			if left := copied.fsck(t, false); len(left) > 0 {
				t.Errorf("after the repair %+v: %+v", after, left)
			}
		})
	}
	if len(corruptions) < 15 {
		t.Errorf("only %d corruptions", len(corruptions))
	}
}

func about(found []runner.Finding, kind string, harmless bool) bool {
	for _, f := range found {
		if f.Kind == kind && f.Harmless == harmless && !f.Unchecked && f.Message != "" && f.Resource != "" {
			return true
		}
	}
	return false
}

// copy opens a copy of the home.
func (h *home) copy(t *testing.T) *home {
	t.Helper()
	dir := t.TempDir()
	check(t, os.CopyFS(dir, os.DirFS(h.dir)))
	check(t, os.Chmod(filepath.Join(dir, "keyring.json"), 0o600))
	keys, err := filepath.Glob(filepath.Join(dir, "keys", "*.json"))
	check(t, err)
	for _, k := range keys {
		check(t, os.Chmod(k, 0o600))
	}
	out, err := openHome(t.Context(), dir, t.Output())
	check(t, err)
	t.Cleanup(func() { out.db.Close() })
	return out
}

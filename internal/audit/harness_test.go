package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// home is a database, a key-encryption key and a directory for a log.
type home struct {
	t    testing.TB
	db   *store.DB
	path string // of the database
	kek  seal.KEK
	dir  string
}

func newHome(t testing.TB) *home {
	t.Helper()
	root := t.TempDir()
	h := &home{t: t, dir: filepath.Join(root, "audit")}
	h.open(filepath.Join(root, "db"))
	kek, err := seal.CreateKeyring(filepath.Join(root, "keyring.json"))
	if err != nil {
		t.Fatal(err)
	}
	h.kek = kek
	return h
}

// open opens the database at path, and closes it with the test.
func (h *home) open(path string) {
	h.t.Helper()
	db, err := store.Open(context.Background(), path)
	if err != nil {
		h.t.Fatal(err)
	}
	h.db, h.path = db, path
	h.t.Cleanup(func() { db.Close() })
}

func (h *home) config() Config {
	return Config{DB: h.db, KEK: h.kek, Dir: h.dir, Log: discard}
}

// start opens the log; the test closes it.
func (h *home) start() *Log {
	h.t.Helper()
	l, err := Start(h.t.Context(), h.config())
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

// sql changes the database behind the back of everybody.
func (h *home) sql(query string) error {
	db, err := sql.Open("sqlite", h.path)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(h.t.Context(), query)
	return err
}

// rows commits n rows without a log.
func (h *home) rows(n int) {
	h.t.Helper()
	for range n {
		if err := h.db.Record(h.t.Context(), anAct, nil); err != nil {
			h.t.Fatal(err)
		}
	}
}

// logged makes a log of n entries and closes it.
func (h *home) logged(n int) {
	h.t.Helper()
	h.rows(n)
	h.start().Close()
}

// signer is the log's private key, for tests that play its thief.
func (h *home) signer() note.Signer {
	h.t.Helper()
	_, s, err := ensureKey(h.t.Context(), h.db, h.kek)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func (h *home) key() note.Verifier {
	h.t.Helper()
	s, err := h.db.AuditState(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	k, err := ParseKey(s.Verifier)
	if err != nil {
		h.t.Fatal(err)
	}
	return k
}

// head is the text of the log's tree head.
func (h *home) head() []byte {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, logDir, "checkpoint"))
	if err != nil {
		h.t.Fatal(err)
	}
	return b
}

// verify verifies the directory.
func (h *home) verify(others ...[]byte) *Report {
	h.t.Helper()
	d, err := OpenDir(h.dir)
	if err != nil {
		h.t.Fatal(err)
	}
	r, err := Verify(h.t.Context(), d, h.key(), others...)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// clean fails unless log and database verify with want entries.
func (h *home) clean(want int64, others ...[]byte) {
	h.t.Helper()
	if r := h.verify(others...); !r.OK() || r.Size != want {
		h.t.Fatalf("the log has %d entries, want %d; findings %v", r.Size, want, r.Findings)
	}
	found, err := Check(h.t.Context(), h.db, h.dir)
	if err != nil || len(found) > 0 {
		h.t.Fatalf("check: %v, %v", found, err)
	}
	problems, err := h.db.Check(h.t.Context())
	if err != nil || len(problems) > 0 {
		h.t.Fatalf("the database: %v, %v", problems, err)
	}
}

var anAct = store.Act{Account: "main", Actor: "ann@example.com", ActorID: "accounts/main/users/ann", ActorKind: store.ActorUser, Method: "CreateDataset",
	Resource: "accounts/main/datasets/d", APIKeyID: "k1", ClientIP: "192.0.2.7", UserAgent: "test/1", Decision: store.DecisionAllow, Policy: "role.admin",
	Detail: map[string]string{"rows": "12", "digest": "sha256:00"}}

func wantKind(t *testing.T, err error, kind rft.Kind) {
	t.Helper()
	if rft.KindOf(err) != kind {
		t.Fatalf("got %q (%v), want %q", rft.KindOf(err), err, kind)
	}
}

// kinds are the kinds of findings.
func kinds(found []Finding) (out []string) {
	for _, f := range found {
		out = append(out, f.Kind)
	}
	return slices.Compact(out)
}

// copyTree copies a directory.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil || !os.IsNotExist(err)
}

// eventually waits for something that background work brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

var discard = slog.New(slog.DiscardHandler)

// jsonText is s as it stands inside a JSON string.
func jsonText(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b[1 : len(b)-1])
}

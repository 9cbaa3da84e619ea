package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

var act = store.Act{Account: "main", Actor: "test"}

// place is a catalog on a fresh home, with one account.
func place(t *testing.T) (*Catalog, store.Account, string) {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "firekeep.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	host, err := seal.CreateKeyring(filepath.Join(dir, "keyring.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "bucket"), 0o700); err != nil {
		t.Fatal(err)
	}
	home, err := objstore.OpenDir(filepath.Join(dir, "bucket"))
	if err != nil {
		t.Fatal(err)
	}
	bases, err := NewBases(filepath.Join(dir, "models"))
	if err != nil {
		t.Fatal(err)
	}
	c := New(db, NewVault(home, custody.New(custody.Config{DB: db, Dir: filepath.Join(dir, "keys"), Host: host})), bases)
	t.Cleanup(c.Close)
	a, err := db.CreateAccount(t.Context(), store.Account{ID: "main"}, act)
	if err != nil {
		t.Fatal(err)
	}
	return c, a, dir
}

// weights stores prepared weights of a private base.
func weights(t *testing.T, c *Catalog, a store.Account, b []byte) store.Model {
	t.Helper()
	sum := sha256.Sum256(b)
	m := store.Model{UID: store.NewUID(), Account: a.ID, ID: "own", Kind: store.KindBase, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(b))}
	in, err := c.NewWeights(t.Context(), m, a.UID, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Abort()
	if _, err := in.Write(b); err != nil {
		t.Fatal(err)
	}
	place, err := in.Finish(&m)
	if err != nil || place != nil || !Private(m) {
		t.Fatalf("%v, %+v", err, m)
	}
	return m
}

// TestPrivateWeights stores weights sealed and maps them from memory that nobody
// can write, once for all users; when the key goes, so do they.
func TestPrivateWeights(t *testing.T) {
	c, a, dir := place(t)
	plain := bytes.Repeat([]byte("prepared weights "), 1<<17)
	m := weights(t, c, a, plain)
	if left, _ := os.ReadDir(filepath.Join(dir, "models")); len(left) > 0 {
		t.Errorf("plain files: %v", left)
	}
	sealed, err := os.ReadFile(filepath.Join(dir, "bucket", m.Artifact+weightsFile+sealedSuffix))
	if err != nil || bytes.Contains(sealed, plain[:17]) || !bytes.HasPrefix(sealed, []byte("FKSEAL2\n")) {
		t.Errorf("the file is not sealed (%v)", err)
	}
	first, err := c.residents.use(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	second, err := c.residents.use(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := first.File.Stat()
	two, _ := second.File.Stat()
	if !os.SameFile(one, two) {
		t.Error("unsealed twice")
	}
	got, err := io.ReadAll(io.NewSectionReader(first.File, 0, m.Size))
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	link, err := os.Readlink("/proc/self/fd/" + itoa(first.File))
	if err != nil || !strings.HasPrefix(link, "/memfd:firekeep-weights") {
		t.Errorf("%s, %v", link, err)
	}
	if _, err := first.File.WriteAt([]byte{0}, 0); err == nil {
		t.Error("the weights can be written")
	}
	if f, err := os.OpenFile("/proc/self/fd/"+itoa(first.File), os.O_RDWR, 0); err == nil {
		if _, err := f.WriteAt([]byte{0}, 0); err == nil {
			t.Error("the weights can be written after opening them anew")
		}
		f.Close()
	}
	if err := c.VerifyWeights(t.Context(), m); err != nil {
		t.Errorf("verify: %v", err)
	}
	second.Close()
	if err := c.Keys().SetState(t.Context(), a.ID, store.KeyDisabled, act); err != nil {
		t.Fatal(err)
	}
	if n := len(c.residents.all); n != 0 {
		t.Errorf("%d bases in memory of a disabled key", n)
	}
	if _, err := c.residents.use(t.Context(), m); !custody.IsRefusal(err) {
		t.Errorf("opens: %v", err)
	}
	first.Close()
	if err := c.Keys().SetState(t.Context(), a.ID, store.KeyEnabled, act); err != nil {
		t.Fatal(err)
	}
	again, err := c.residents.use(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func itoa(f *os.File) string { return strconv.Itoa(int(f.Fd())) }

// TestChangedWeights flips one byte of sealed weights.
func TestChangedWeights(t *testing.T) {
	c, a, dir := place(t)
	m := weights(t, c, a, bytes.Repeat([]byte("w"), 3<<20))
	path := filepath.Join(dir, "bucket", m.Artifact+weightsFile+sealedSuffix)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[2<<20] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.residents.use(t.Context(), m); rft.KindOf(err) != rft.KindDataLoss {
		t.Errorf("opens: %v", err)
	}
	if err := c.VerifyWeights(t.Context(), m); rft.KindOf(err) != rft.KindDataLoss {
		t.Errorf("verifies: %v", err)
	}
}

// TestGivenUpWeights leaves nothing but an envelope behind.
func TestGivenUpWeights(t *testing.T) {
	c, a, _ := place(t)
	in, err := c.NewWeights(t.Context(), store.Model{UID: "m", Account: a.ID}, a.UID, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("half of it")); err != nil {
		t.Fatal(err)
	}
	in.Abort()
	for _, key := range list(t, c, a.UID+"/") {
		if _, ok := artefactOf(key); !ok {
			t.Errorf("left: %s", key)
		}
	}
}

func list(t *testing.T, c *Catalog, prefix string) (keys []string) {
	t.Helper()
	if err := c.vault.Home().List(t.Context(), prefix, "", func(i objstore.Info) error { keys = append(keys, i.Key); return nil }); err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestRewrapAndShred rotates a key under artefacts of every shape, removes one,
// and destroys the rest.
func TestRewrapAndShred(t *testing.T) {
	c, a, _ := place(t)
	ctx := t.Context()
	prefix := ModelPrefix(a.UID, "m", 1)
	digest, err := c.vault.Put(ctx, prefix, Manifest{Kind: "adapter"}, []File{{Name: FileConfig, Data: []byte("{}")}, {Name: FileAdapter, Data: []byte("tensors")}})
	if err != nil {
		t.Fatal(err)
	}
	gone := ModelPrefix(a.UID, "gone", 1)
	goneDigest, err := c.vault.Put(ctx, gone, Manifest{Kind: "adapter"}, []File{{Name: FileAdapter, Data: []byte("tensors")}})
	if err != nil {
		t.Fatal(err)
	}
	w := &IndexWriter{}
	raw, err := w.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	d := store.Dataset{Index: IndexKey(a.UID, "d", "j", 1)}
	if d.IndexDigest, err = c.vault.PutIndex(ctx, d.Index, raw); err != nil {
		t.Fatal(err)
	}
	rows, err := c.vault.putRows(ctx, a.UID, "d", strings.NewReader("rows"))
	if err != nil {
		t.Fatal(err)
	}
	opens := func() (errs []error) {
		artifact, err := c.vault.Open(ctx, prefix, digest)
		if err == nil {
			_, err = artifact.Read(ctx, FileAdapter)
		}
		_, e := c.vault.Index(ctx, d)
		r, e2 := c.vault.OpenRows(ctx, rows, 0, -1)
		if e2 == nil {
			_, e2 = io.ReadAll(r)
		}
		return []error{err, e, e2}
	}
	require := func(when string, kind rft.Kind) {
		t.Helper()
		for i, err := range opens() {
			if rft.KindOf(err) != kind {
				t.Errorf("%s: artefact %d: %v", when, i, err)
			}
		}
	}
	require("fresh", "")
	if _, err := c.Keys().NewVersion(ctx, a.ID); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Rewrap(ctx, a, act); err != nil || n != 4 {
		t.Errorf("%d envelopes, %v", n, err)
	}
	require("rewrapped", "")

	// A removed artefact stays closed though somebody kept its files.
	kept := map[string][]byte{}
	for _, key := range list(t, c, gone) {
		if key != EnvelopeKey(gone) {
			kept[key] = read(t, c, key)
		}
	}
	if err := c.vault.Remove(ctx, gone); err != nil {
		t.Fatal(err)
	}
	for key, b := range kept {
		if _, err := c.vault.Home().Create(ctx, key, bytes.NewReader(b), objstore.PutOptions{Size: -1}); err != nil {
			t.Fatal(err)
		}
	}
	artifact, err := c.vault.Open(ctx, gone, goneDigest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := artifact.Read(ctx, FileAdapter); rft.KindOf(err) != rft.KindDataLoss {
		t.Errorf("a removed artefact: %v", err)
	}

	if err := c.Shred(ctx, a.ID, act); err != nil {
		t.Fatal(err)
	}
	require("shredded", rft.KindFailedPrecondition)
	for _, key := range list(t, c, a.UID+"/") {
		if _, ok := artefactOf(key); ok {
			t.Errorf("the envelope %s is left", key)
		}
	}
}

func read(t *testing.T, c *Catalog, key string) []byte {
	t.Helper()
	r, err := c.vault.open(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFirstFormat opens what the host's key sealed before accounts had theirs,
// as long as the account's key is not disabled.
func TestFirstFormat(t *testing.T) {
	c, a, _ := place(t)
	ctx := t.Context()
	key := ModelPrefix(a.UID, "m", 1) + FileAdapter + sealedSuffix
	old, err := seal.SealBytes(c.Keys().Host, []byte("tensors"), fileAAD(key))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.vault.Home().Create(ctx, key, bytes.NewReader(old), objstore.PutOptions{Size: -1}); err != nil {
		t.Fatal(err)
	}
	if b, err := c.vault.getSealed(ctx, ModelPrefix(a.UID, "m", 1), key, 0, 100); err != nil || string(b) != "tensors" {
		t.Errorf("%q, %v", b, err)
	}
	if err := c.Keys().SetState(ctx, a.ID, store.KeyDisabled, act); err != nil {
		t.Fatal(err)
	}
	if _, err := c.vault.getSealed(ctx, ModelPrefix(a.UID, "m", 1), key, 0, 100); !custody.IsRefusal(err) {
		t.Errorf("disabled: %v", err)
	}
}

package audit

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"

	"github.com/firekeep/firekeep/internal/rft"
)

// logEntries is the size of the logs that are tampered with: two full bundles
// and a partial one, so that there are tiles of two levels.
const logEntries = 600

// forge is a log in the hands of an attacker.
type forge struct {
	t      *testing.T
	dir    string // of the tiles
	signer note.Signer
	key    note.Verifier
	older  []byte // a tree head that somebody kept, of 300 entries
	stolen []byte // the newest one
}

// forged makes a log of logEntries entries to tamper with.
func newForge(t *testing.T) (*home, *forge) {
	t.Helper()
	h := newHome(t)
	h.logged(300)
	older := h.head()
	h.logged(logEntries - 300)
	h.clean(logEntries, older)
	return h, &forge{t: t, dir: filepath.Join(h.dir, logDir), signer: h.signer(), key: h.key(), older: older, stolen: h.head()}
}

func (f *forge) path(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

func (f *forge) edit(name string, change func([]byte) []byte) {
	f.t.Helper()
	b, err := os.ReadFile(f.path(name))
	if err == nil {
		err = os.WriteFile(f.path(name), change(b), 0o644)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *forge) remove(name string) {
	f.t.Helper()
	if err := os.RemoveAll(f.path(name)); err != nil {
		f.t.Fatal(err)
	}
}

// leaves reads every entry.
func (f *forge) leaves() (out [][]byte) {
	f.t.Helper()
	d := Dir{os.DirFS(f.dir)}
	for i := int64(0); i*tileWidth < logEntries; i++ {
		b, err := d.bundle(i, width(logEntries, i))
		if err != nil {
			f.t.Fatal(err)
		}
		out = append(out, b...)
	}
	return out
}

// write replaces the whole log by these entries, hashes included, and signs it:
// what only a thief of the key can do.
func (f *forge) write(leaves [][]byte) { f.writeAs(leaves, f.signer, f.key) }

func (f *forge) writeAs(leaves [][]byte, signer note.Signer, key note.Verifier) {
	f.t.Helper()
	w, err := openWriter(filepath.Join(f.t.TempDir(), "forged"), signer, discard)
	if err != nil {
		f.t.Fatal(err)
	}
	ctx := f.t.Context()
	if err := w.append(ctx, 0, leaves); err != nil {
		f.t.Fatal(err)
	}
	w.close(ctx, func() bool {
		text, err := w.head(ctx)
		h, e := OpenHead(text, key)
		return err == nil && e == nil && h.Size == int64(len(leaves))
	})
	if err := os.RemoveAll(f.dir); err != nil {
		f.t.Fatal(err)
	}
	copyTree(f.t, w.dir, f.dir)
}

// bundleOf writes entries in the form of a bundle file.
func bundleOf(leaves [][]byte) (b []byte) {
	for _, l := range leaves {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(l))), l...)
	}
	return b
}

// rebundle changes the entries of one bundle file.
func (f *forge) rebundle(name string, change func([][]byte) [][]byte) {
	f.edit(name, func(b []byte) []byte {
		entries, err := parseBundle(b)
		if err != nil {
			f.t.Fatal(err)
		}
		return bundleOf(change(entries))
	})
}

func otherKey(t *testing.T, name string) (note.Signer, note.Verifier) {
	t.Helper()
	private, public, err := note.GenerateKey(nil, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

// tamperings are what an attacker with the disk, or with the key as well, does to
// a log. finds is the kind that the verification names.
var tamperings = []struct {
	name   string
	finds  string
	change func(*forge)
}{
	{"one letter of an entry", FoundRewritten, func(f *forge) {
		f.edit("tile/entries/000", func(b []byte) []byte { return []byte(strings.Replace(string(b), "192.0.2.7", "192.0.2.8", 1)) })
	}},
	{"an entry and its stored hash", FoundRewritten, func(f *forge) {
		var leaf []byte
		f.rebundle("tile/entries/001", func(e [][]byte) [][]byte {
			leaf = []byte(strings.Replace(string(e[9]), "role.admin", "role.nobody", 1))
			e[9] = leaf
			return e
		})
		f.edit("tile/0/001", func(b []byte) []byte { h := leafHash(leaf); copy(b[9*32:], h[:]); return b })
	}},
	{"two entries swapped", FoundReordered, func(f *forge) {
		f.rebundle("tile/entries/000", func(e [][]byte) [][]byte { e[4], e[5] = e[5], e[4]; return e })
	}},
	{"an entry removed", FoundGap, func(f *forge) { leaves := f.leaves(); f.write(slices.Delete(leaves, 40, 41)) }},
	{"an entry put in", FoundDuplicate, func(f *forge) {
		leaves := f.leaves()
		f.write(slices.Insert(leaves, 40, leaves[39]))
	}},
	{"an entry of no event", FoundMalformed, func(f *forge) {
		leaves := f.leaves()
		leaves[7] = []byte("{}")
		f.write(leaves)
	}},
	{"the last entries cut off", FoundTruncated, func(f *forge) { f.remove("tile/entries/002.p") }},
	{"the last file cut short", FoundTruncated, func(f *forge) {
		f.edit("tile/entries/002.p/88", func(b []byte) []byte { return b[:len(b)-5] })
	}},
	{"a file in the middle removed", FoundMissing, func(f *forge) { f.remove("tile/entries/001") }},
	{"rolled back to an older head", FoundTruncated, func(f *forge) {
		f.write(f.leaves()[:200])
	}},
	{"history signed anew", FoundFork, func(f *forge) {
		leaves := f.leaves()
		leaves[11] = []byte(strings.Replace(string(leaves[11]), "192.0.2.7", "203.0.113.1", 1))
		f.write(leaves)
	}},
	{"everything signed anew with another key", FoundSignature, func(f *forge) {
		s, k := otherKey(f.t, f.signer.Name())
		f.writeAs(f.leaves(), s, k)
	}},
	{"the log of another installation", FoundSignature, func(f *forge) {
		s, k := otherKey(f.t, "firekeep/elsewhere")
		f.writeAs(f.leaves(), s, k)
	}},
	{"a head of the right key for another log", FoundOrigin, func(f *forge) {
		text := strings.Replace(strings.SplitN(string(f.stolen), "\n\n", 2)[0], f.signer.Name(), "firekeep/elsewhere", 1) + "\n"
		signed, err := note.Sign(&note.Note{Text: text}, f.signer)
		if err != nil {
			f.t.Fatal(err)
		}
		f.edit("checkpoint", func([]byte) []byte { return signed })
	}},
	{"a root that nobody signed", FoundSignature, func(f *forge) {
		f.edit("checkpoint", func(b []byte) []byte {
			line := strings.Split(string(b), "\n")
			line[2] = strings.Split(string(f.older), "\n")[2]
			return []byte(strings.Join(line, "\n"))
		})
	}},
	{"no head", FoundMissing, func(f *forge) { f.remove("checkpoint") }},
	{"a head of nonsense", FoundMalformed, func(f *forge) { f.edit("checkpoint", func([]byte) []byte { return []byte("hello\n") }) }},
	{"a stored hash", FoundTile, func(f *forge) { f.edit("tile/0/001", func(b []byte) []byte { b[77] ^= 1; return b }) }},
	{"a stored hash of the level above", FoundTile, func(f *forge) { f.edit("tile/1/000.p/2", func(b []byte) []byte { b[3] ^= 1; return b }) }},
	{"a file of hashes removed", FoundTile, func(f *forge) { f.remove("tile/0/000") }},
	{"a length that leads nowhere", FoundMalformed, func(f *forge) {
		f.edit("tile/entries/000", func(b []byte) []byte { b[0] = 0xff; return b })
	}},
}

// TestTamperings: each is caught and named, and the same holds for a bundle where
// it can be expressed as one. Tessera's own checker, which knows neither numbers
// nor older heads, must refuse at least what breaks the tree.
func TestTamperings(t *testing.T) {
	h, pristine := newForge(t)
	key := h.key()
	for _, c := range tamperings {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := *pristine
			f.t, f.dir = t, filepath.Join(t.TempDir(), "log")
			copyTree(t, pristine.dir, f.dir)
			c.change(&f)
			d, err := OpenDir(f.dir)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Verify(t.Context(), d, key, f.older)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(kinds(r.Findings), c.finds) {
				t.Errorf("found %v, want %s", r.Findings, c.finds)
			}
			consistent := []string{FoundGap, FoundDuplicate, FoundFork} // signed by the thief of the key
			if c.name == "rolled back to an older head" || c.name == "an entry of no event" || slices.Contains(consistent, c.finds) {
				return
			}
			if err := tesseraFsck(t, f.dir, key); err == nil {
				t.Error("the library's own checker finds nothing")
			}
		})
	}
}

// tesseraFsck runs Tessera's checker. It hangs where all of its workers meet a
// damaged tile, so it gets several and a deadline.
func tesseraFsck(t *testing.T, dir string, key note.Verifier) error {
	t.Helper()
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	go func() {
		done <- fsck.New(key.Name(), key, client.FileFetcher{Root: dir}, bundleHashes, fsck.Opts{N: 8}).Check(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func bundleHashes(b []byte) (out [][]byte, err error) {
	entries, err := parseBundle(b)
	for _, e := range entries {
		out = append(out, rfc6962.DefaultHasher.HashLeaf(e))
	}
	return out, err
}

// TestAgreesWithTessera: what we call clean, the library's checker does too, at
// sizes around the edges of tiles.
func TestAgreesWithTessera(t *testing.T) {
	h := newHome(t)
	at := 0
	var heads [][]byte
	for _, n := range []int{1, 2, 255, 256, 257, 513} {
		h.logged(n - at)
		at = n
		h.clean(int64(n), heads...)
		heads = append(heads, h.head())
		if err := tesseraFsck(t, filepath.Join(h.dir, logDir), h.key()); err != nil {
			t.Fatalf("%d entries: %v", n, err)
		}
		d, _ := OpenDir(h.dir)
		// The tree of the tiles is the tree of the entries.
		tr, err := d.tree(int64(n), int64(n))
		if err != nil || fmt.Sprint(tr.root()) != fmt.Sprint(mustHead(t, h).Root) {
			t.Errorf("%d entries: tiles lead to %v, %v", n, tr.root(), err)
		}
	}
}

func mustHead(t *testing.T, h *home) Head {
	t.Helper()
	head, err := OpenHead(h.head(), h.key())
	if err != nil {
		t.Fatal(err)
	}
	return head
}

// TestBundleTamperings: what cannot be hidden in a directory cannot be hidden in
// an exported bundle either.
func TestBundleTamperings(t *testing.T) {
	h := newHome(t)
	h.logged(20)
	older := h.head()
	l := h.start()
	h.rows(20)
	if err := l.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a tree head of everything", func() bool { head, err := l.Head(t.Context()); return err == nil && head.Size == 40 })
	var b strings.Builder
	if err := l.Export(t.Context(), &b, Verifies, Selection{}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	lines := strings.SplitAfter(b.String(), "\n")
	lines = lines[:len(lines)-1] // behind the last newline is nothing
	for _, c := range []struct {
		name, finds string
		change      func([]string) []string
	}{
		{"untouched", "", func(l []string) []string { return l }},
		{"an entry changed", FoundRewritten, func(l []string) []string { l[5] = strings.Replace(l[5], "ann", "bob", 1); return l }},
		{"an entry removed", FoundReordered, func(l []string) []string { return slices.Delete(l, 5, 6) }},
		{"two swapped", FoundReordered, func(l []string) []string { l[5], l[6] = l[6], l[5]; return l }},
		{"one twice", FoundDuplicate, func(l []string) []string { return slices.Insert(l, 5, l[5]) }},
		{"the end cut off", FoundTruncated, func(l []string) []string { return l[:30] }},
		{"something behind the end", FoundMalformed, func(l []string) []string { return append(l, l[5]) }},
		{"a line cut", FoundMalformed, func(l []string) []string { l[40] = l[40][:20]; return l }},
		{"another spelling", FoundMalformed, func(l []string) []string { l[5] = strings.Replace(l[5], `":`, `": `, 1); return l }},
		{"an older head put in front", FoundMalformed, func(l []string) []string {
			l[0] = strings.Replace(l[0], jsonText(string(mustHead(t, h).Note)), jsonText(string(older)), 1)
			return l
		}},
		{"a hash for an entry", FoundRewritten, func(l []string) []string { l[5] = `{"hash":"` + strings.Repeat("A", 43) + `="}` + "\n"; return l }},
	} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		if err := os.WriteFile(path, []byte(strings.Join(c.change(slices.Clone(lines)), "")), 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Verify(t.Context(), src, h.key(), older)
		if err != nil {
			t.Fatal(err)
		}
		if c.finds == "" && !r.OK() || c.finds != "" && !slices.Contains(kinds(r.Findings), c.finds) {
			t.Errorf("%s: found %v, want %q", c.name, r.Findings, c.finds)
		}
	}
	path := filepath.Join(t.TempDir(), "no.jsonl")
	_ = os.WriteFile(path, []byte("{}\n"), 0o600)
	_, err := Open(path)
	wantKind(t, err, rft.KindInvalidArgument)
	_, err = Open(filepath.Join(t.TempDir(), "absent"))
	wantKind(t, err, rft.KindNotFound)
}

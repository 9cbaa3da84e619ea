package objstore_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/objstore/objstoretest"
	"github.com/firekeep/firekeep/internal/rft"
)

// TestFileEscape plants links and names that lead out of the root.
func TestFileEscape(t *testing.T) {
	out, root := t.TempDir(), t.TempDir()
	secret := filepath.Join(out, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"abs": secret, "rel": "../" + filepath.Base(out) + "/secret", "dir": out, "etc": "/etc"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	b, err := objstore.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	put := func(key string) error {
		_, err := b.Create(t.Context(), key, strings.NewReader("x"), objstore.PutOptions{Size: 1})
		return err
	}
	for _, key := range []string{"abs", "rel", "dir/secret", "etc/passwd", "../" + filepath.Base(out) + "/secret", "..", ".", "/etc/passwd", "a/../../etc", "fifo", "a\x00b", "dir", strings.Repeat("n", 256)} {
		if _, err := b.Stat(t.Context(), key); err == nil {
			t.Errorf("stat %q got out", key)
		}
		if got, err := objstoretest.ReadAll(t, b, key, objstore.Pin{}); err == nil {
			t.Errorf("%q reads %q", key, got)
		}
		if err := b.Delete(t.Context(), key); err == nil && key != "fifo" && key != "dir" {
			t.Errorf("delete %q was accepted", key)
		}
	}
	for _, key := range []string{"dir/new", "etc/new", "../new", "abs", "rel", "dir"} {
		if err := put(key); err == nil {
			t.Errorf("create %q got out", key)
		}
	}
	if got, err := os.ReadFile(secret); err != nil || string(got) != "secret" {
		t.Errorf("the file outside: %q, %v", got, err)
	}
	if left, _ := os.ReadDir(out); len(left) != 1 {
		t.Errorf("the directory outside: %v", left)
	}
	n := 0
	if err := b.List(t.Context(), "", "", func(i objstore.Info) error { n++; t.Errorf("listed %q", i.Key); return nil }); err != nil {
		t.Error(err)
	}
}

// TestFileRoots opens file URLs inside and outside of the allowed directories.
func TestFileRoots(t *testing.T) {
	root := t.TempDir()
	c := objstore.Config{FileRoots: []string{root}}
	for url, ok := range map[string]bool{
		"file://" + root: true, "file://" + root + "/x": true, "file://" + root + "x/y": false, "file:///etc/passwd": false, "file:///": false,
	} {
		u, err := objstore.ParseURL(url)
		if err != nil {
			t.Fatal(err)
		}
		b, err := objstore.Open(t.Context(), u, objstore.Secret{}, c)
		if ok != (err == nil) || !ok && rft.KindOf(err) != rft.KindPermissionDenied {
			t.Errorf("%s: %v", url, err)
		}
		if err != nil {
			continue
		}
		if _, err := b.Stat(t.Context(), "etc/passwd"); rft.KindOf(err) != rft.KindPermissionDenied {
			t.Errorf("a key outside of the root: %v", err)
		}
		if err := b.List(t.Context(), "etc/", "", func(objstore.Info) error { return nil }); rft.KindOf(err) != rft.KindPermissionDenied {
			t.Errorf("a list outside of the root: %v", err)
		}
		_ = b.Close()
	}
}

// TestFileChangesMidRead rewrites, replaces and cuts a file under a reader.
func TestFileChangesMidRead(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"rewritten": func(p string) error { return os.WriteFile(p, objstoretest.Bytes(9, 1<<20), 0o644) },
		"cut":       func(p string) error { return os.Truncate(p, 10) },
		"appended": func(p string) error {
			f, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("more")
			return errors.Join(err, f.Close())
		},
	} {
		dir := t.TempDir()
		b, err := objstore.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		body := objstoretest.Bytes(1, 1<<20)
		info, err := b.Create(t.Context(), "k", bytes.NewReader(body), objstore.PutOptions{Size: -1})
		if err != nil {
			t.Fatal(err)
		}
		r, err := b.Open(t.Context(), "k", info.Pin, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if err := change(filepath.Join(dir, "k")); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if !errors.Is(err, objstore.ErrChanged) || !bytes.Equal(got, body[1000:1000+len(got)]) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		_ = r.Close()
		_ = b.Close()
	}
}

// TestSweepParts removes what killed writers left, and only that.
func TestSweepParts(t *testing.T) {
	dir := t.TempDir()
	b, err := objstore.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Create(t.Context(), "a/b", strings.NewReader("x"), objstore.PutOptions{Size: 1}); err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(dir, "a", ".firekeep-abc.part")
	if err := os.WriteFile(part, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Stat(t.Context(), "a/.firekeep-abc.part"); rft.KindOf(err) != rft.KindInvalidArgument {
		t.Errorf("a part is an object: %v", err)
	}
	if n, err := objstore.SweepParts(t.Context(), b, time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("young parts: %d, %v", n, err)
	}
	if n, err := objstore.SweepParts(t.Context(), b, time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Errorf("old parts: %d, %v", n, err)
	}
	if _, err := b.Stat(t.Context(), "a/b"); err != nil {
		t.Error(err)
	}
}

package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestBackup copies the home while a step trains and while backups are killed,
// makes a new home of the copy, and lets the step end there: with the adapter of
// the step that nobody copied.
func TestBackup(t *testing.T) {
	s := newInstance(t)
	s.importTiny()
	s.dataset("crash", rows(120, 4, "hello")...)
	s.cli("dataset", "create", "uploaded", "--upload", writeRows(t, s, "up.jsonl", rows(4, 4, "up")), "--wait")
	ctx := context.Background()
	create := func(id string) {
		if _, err := s.api.CreateStep(ctx, "main", id, crashSpec(id)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, time.Minute, "the first resume points of "+id, func() bool {
			j := s.step(id)
			return j.State == "JOB_STATE_COMPLETED" || j.Firekeep != nil && j.Firekeep.Update >= 2
		})
	}
	create("one")
	dir := filepath.Dir(s.home)
	killBackups(t, s, filepath.Join(dir, "killed"))
	copyTo := filepath.Join(dir, "copy")
	s.cli("backup", "create", copyTo, "--home", s.home)
	running := !strings.Contains(s.step("one").State, "COMPLETED")
	t.Logf("the step was still running: %v", running)
	if out, err := s.try("backup", "create", copyTo, "--home", s.home); err == nil {
		t.Errorf("a second backup went over the first: %s", out)
	}
	s.finish("one")
	want := s.adapterDigest("one")
	searchKeys(t, s, copyTo)

	r := &instance{t: t, home: filepath.Join(dir, "restored"), roots: filepath.Join(dir, "elsewhere"), log: filepath.Join(dir, "restored.log"), port: freePort(t)}
	s.kill()
	t.Cleanup(r.kill)
	r.api = s.api
	killRestore(t, r, copyTo)
	r.cli("backup", "restore", copyTo, "--home", r.home)
	if out, err := r.try("serve", "--home", r.home, "--listen", "127.0.0.1:0"); err == nil || !strings.Contains(err.Error(), "keyring.json") {
		t.Errorf("a home without its key ring starts: %s, %v", out, err)
	}
	if err := os.RemoveAll(r.home); err != nil {
		t.Fatal(err)
	}
	keys := filepath.Join(dir, "kept-keys")
	r.cli("backup", "keys", keys, "--home", s.home)
	r.cli("backup", "restore", copyTo, "--home", r.home, "--keys", keys)
	r.fsck()
	r.start()
	r.finish("one")
	if got := r.adapterDigest("one"); got != want {
		t.Error("the restored step ends with another adapter")
	}
	r.fsck()
	damaged(t, r, copyTo)
}

func writeRows(t *testing.T, s *instance, name string, rows []string) string {
	t.Helper()
	path := filepath.Join(s.roots, name)
	if err := os.WriteFile(path, []byte(strings.Join(rows, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// killBackups kills backups in the middle: what they leave is no backup, and
// harms neither the home nor the next one.
func killBackups(t *testing.T, s *instance, place string) {
	for i := range 4 {
		at := filepath.Join(place, string(rune('a'+i)))
		cmd := exec.Command(program, "backup", "create", at, "--home", s.home)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(120)) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_, whole := os.Stat(filepath.Join(at, "manifest.json"))
		out, err := s.try("backup", "restore", at, "--home", at+"-home")
		if whole == nil && err != nil {
			t.Errorf("a whole backup does not restore: %v", err)
		}
		if _, home := os.Stat(at + "-home"); whole != nil && (err == nil || home == nil) {
			t.Errorf("half a backup restores: %s", out)
		}
	}
}

// killRestore kills a restore: there is no home afterwards, or a whole one.
func killRestore(t *testing.T, r *instance, place string) {
	for range 3 {
		cmd := exec.Command(program, "backup", "restore", place, "--home", r.home)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(80)) * time.Millisecond)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if _, err := os.Stat(r.home); err == nil { // it was faster
			if _, err := os.Stat(filepath.Join(r.home, "firekeep.db")); err != nil {
				t.Errorf("half a home: %v", err)
			}
			if err := os.RemoveAll(r.home); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// keyMaterial is a key in the JSON of a key ring.
var keyMaterial = regexp.MustCompile(`"value":\s*"([^"]+)"`)

// searchKeys looks for every key ring and the admin key in every byte of a backup.
func searchKeys(t *testing.T, s *instance, place string) {
	t.Helper()
	secrets := [][]byte{[]byte(s.api.Key)}
	rings, err := filepath.Glob(filepath.Join(s.home, "keys", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, ring := range append(rings, filepath.Join(s.home, "keyring.json")) {
		raw, err := os.ReadFile(ring)
		if err != nil {
			t.Fatal(err)
		}
		found := keyMaterial.FindAllSubmatch(raw, -1)
		if len(found) == 0 {
			t.Fatalf("%s has another form", ring)
		}
		for _, f := range found {
			key, err := base64.StdEncoding.DecodeString(string(f[1]))
			if err != nil {
				t.Fatal(err)
			}
			secrets = append(secrets, f[1], key)
		}
	}
	if err := filepath.WalkDir(place, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, secret := range secrets {
			if bytes.Contains(b, secret) {
				t.Errorf("%s holds a key", path)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// damaged flips a byte of each kind of file of a backup; each must be noticed.
func damaged(t *testing.T, r *instance, place string) {
	for _, pattern := range []string{"files/firekeep.db", "files/models/*.prepared", "files/bucket/*/models/*/*/manifest.json", "files/bucket/*/datasets/*/*.index", "manifest.json"} {
		found, err := filepath.Glob(filepath.Join(place, pattern))
		if err != nil || len(found) == 0 && !strings.Contains(pattern, "/models/*/*/") { // no adapter was there yet
			t.Errorf("%s: %v, %v", pattern, found, err)
			continue
		}
		if len(found) == 0 {
			continue
		}
		whole, err := os.ReadFile(found[0])
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.Clone(whole)
		changed[len(changed)/2] ^= 1
		if err := os.WriteFile(found[0], changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := r.try("backup", "restore", place, "--home", r.home+"-damaged"); err == nil {
			t.Errorf("%s: a damaged backup restores: %s", pattern, out)
		}
		if _, err := os.Stat(r.home + "-damaged"); err == nil {
			t.Errorf("%s: a restore that failed leaves a home", pattern)
		}
		if err := os.WriteFile(found[0], whole, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

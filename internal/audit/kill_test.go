package audit

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// childEnv names the home that a child of the kill test works on.
const childEnv = "FIREKEEP_TEST_AUDIT_HOME"

func TestMain(m *testing.M) {
	if home := os.Getenv(childEnv); home != "" {
		fmt.Println(recordForEver(home))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// recordForEver records acts and prints each one's tag and place when it is
// told that it is logged.
func recordForEver(dir string) error {
	ctx := context.Background()
	kek, err := seal.OpenKeyring(filepath.Join(dir, "keyring.json"))
	if err != nil {
		return err
	}
	db, err := store.Open(ctx, filepath.Join(dir, "db"))
	if err != nil {
		return err
	}
	l, err := Start(ctx, Config{DB: db, KEK: kek, Dir: filepath.Join(dir, "audit")})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				act := anAct
				act.Detail = map[string]string{"tag": store.NewUID()}
				index, err := l.Record(ctx, act, "OK")
				if err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
				fmt.Printf("%s %d\n", act.Detail["tag"], index)
			}
		})
	}
	wg.Wait()
	return nil
}

// TestKilled kills a process at random instants of its writing, again and again.
// What it was told to be logged is there once, in its place, and the log is whole.
func TestKilled(t *testing.T) {
	h := newHome(t)
	root := filepath.Dir(h.dir)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	told := map[string]int64{}
	var heads [][]byte
	for range 6 {
		heads = append(heads, killOne(t, root, 1+random.IntN(60), told))
	}
	h.start().Close()
	last, err := h.db.LastAudit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.clean(last, heads...)
	d, err := OpenDir(h.dir)
	if err != nil {
		t.Fatal(err)
	}
	places := map[string]int64{}
	err = d.walk(t.Context(), last, func(tree) error { return nil }, func(e entry) error {
		event, err := ParseLeaf(e.leaf)
		if _, twice := places[event.Detail["tag"]]; twice {
			t.Errorf("entry %d is there twice", event.Seq-1)
		}
		places[event.Detail["tag"]] = event.Seq - 1
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for tag, index := range told {
		if at, ok := places[tag]; !ok || at != index {
			t.Errorf("an act was logged at %d and lies at %d, %v", index, at, ok)
		}
	}
	if len(told) == 0 {
		t.Error("nothing was ever logged: the test shows nothing")
	}
}

// killOne runs a child until it has told of n acts, kills it, and returns the
// tree head that it left.
func killOne(t *testing.T, root string, n int, told map[string]int64) []byte {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+root)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		if i == n {
			_ = cmd.Process.Kill()
		}
		var tag string
		var index int64
		if _, err := fmt.Sscanf(lines.Text(), "%s %d", &tag, &index); err != nil {
			if i < n {
				t.Errorf("the child says %q", lines.Text())
			}
			continue // cut by the kill
		}
		told[tag] = index
	}
	_ = cmd.Wait() // killed
	head, err := os.ReadFile(filepath.Join(root, "audit", logDir, "checkpoint"))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(head)
}

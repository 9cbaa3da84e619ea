package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// two makes a log with the acts of two accounts, of which main's are even, at one
// second of time each, and returns it when a tree head covers them.
func two(t *testing.T, h *home, n int) (*Log, time.Time) {
	t.Helper()
	begin := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for i := range n {
		h.db.SetClock(func() time.Time { return begin.Add(time.Duration(i) * time.Second) })
		act := anAct
		if i%2 == 1 {
			act.Account, act.Resource, act.ActorID = "acme", "accounts/acme/datasets/secret-plan", "accounts/acme/users/eve"
		}
		if err := h.db.Record(t.Context(), act, nil); err != nil {
			t.Fatal(err)
		}
	}
	h.db.SetClock(time.Now)
	l := h.start()
	eventually(t, "a tree head", func() bool { head, err := l.Head(t.Context()); return err == nil && head.Size == int64(n) })
	return l, begin
}

func export(t *testing.T, l *Log, f Format, s Selection) string {
	t.Helper()
	var b strings.Builder
	if err := l.Export(t.Context(), &b, f, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestBundles: a bundle verifies whatever it shows, and shows an account nothing
// of another.
func TestBundles(t *testing.T) {
	h := newHome(t)
	l, begin := two(t, h, 300)
	defer l.Close()
	for _, c := range []struct {
		name          string
		s             Selection
		first, hidden int64
	}{
		{"everything", Selection{}, 0, 0},
		{"one account", Selection{Account: "main"}, 0, 150},
		{"from a time on", Selection{From: begin.Add(270 * time.Second)}, 270, 0},
		{"between two times", Selection{From: begin.Add(10 * time.Second), To: begin.Add(20 * time.Second)}, 10, 280},
		{"nothing", Selection{From: begin.Add(time.Hour)}, 300, 0},
	} {
		text := export(t, l, Verifies, c.s)
		path := filepath.Join(t.TempDir(), "b.jsonl")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Verify(t.Context(), src, l.key, h.head())
		if err != nil || !r.OK() || r.Size != 300 || r.First != c.first || r.Hidden != c.hidden {
			t.Errorf("%s: %+v, %v", c.name, r, err)
		}
		if c.s.Account != "" && strings.Contains(text, "secret-plan") {
			t.Errorf("%s: it shows another account's acts", c.name)
		}
		if !strings.HasPrefix(text, `{"format":"firekeep-audit/1"`) {
			t.Errorf("%s: begins with %.40s", c.name, text)
		}
	}
}

func TestJSONLines(t *testing.T) {
	h := newHome(t)
	l, begin := two(t, h, 20)
	defer l.Close()
	all := strings.Split(strings.TrimSpace(export(t, l, JSONLines, Selection{})), "\n")
	if len(all) != 20 {
		t.Fatalf("%d lines", len(all))
	}
	for i, line := range all {
		if e, err := ParseLeaf([]byte(line)); err != nil || e.Seq != int64(i)+1 {
			t.Errorf("line %d: %v", i, err)
		}
	}
	some := export(t, l, JSONLines, Selection{Account: "acme", From: begin.Add(5 * time.Second), To: begin.Add(10 * time.Second)})
	if n := strings.Count(some, "\n"); n != 3 || strings.Contains(some, `"account":"main"`) {
		t.Errorf("%d lines of one account between two times: %s", n, some)
	}
	_, err := ParseFormat("format", "xml")
	wantKind(t, err, rft.KindInvalidArgument)
}

// schema is what the Open Cybersecurity Schema Framework says of a class or an
// object: attribute -> "required", "recommended", "optional".
type schema struct {
	Version string `json:"version"`
	Class   struct {
		UID, CategoryUID int
		Attributes       map[string]string `json:"attributes"`
	} `json:"class"`
	Objects map[string]map[string]string `json:"objects"`
}

// TestOCSF holds events against the attributes of the published schema: what is
// required is there, and nothing is that the schema does not know.
func TestOCSF(t *testing.T) {
	raw, err := os.ReadFile("testdata/ocsf-1.6.0-api_activity.json")
	if err != nil {
		t.Fatal(err)
	}
	var s schema
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	deny := anEvent(2)
	deny.Result, deny.Decision = "PERMISSION_DENIED", store.DecisionDeny
	system := Event{Seq: 3, Version: 1, Time: "2026-11-22T08:30:00.000001Z", Action: "RescueJob", Result: "OK", Who: Who{"queue", store.ActorSystem}}
	for _, e := range []Event{anEvent(1), deny, system} {
		line, err := OCSF.line(e, nil)
		if err != nil {
			t.Fatal(err)
		}
		var v map[string]any
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatal(err)
		}
		fits(t, "class", v, s.Class.Attributes)
		fits(t, "metadata", v["metadata"], s.Objects["metadata"])
		fits(t, "product", v["metadata"].(map[string]any)["product"], s.Objects["product"])
		fits(t, "actor", v["actor"], s.Objects["actor"])
		fits(t, "user", v["actor"].(map[string]any)["user"], s.Objects["user"])
		if c, ok := v["actor"].(map[string]any)["user"].(map[string]any)["programmatic_credentials"].([]any); ok {
			fits(t, "programmatic_credential", c[0], s.Objects["programmatic_credential"])
		}
		fits(t, "api", v["api"], s.Objects["api"])
		fits(t, "service", v["api"].(map[string]any)["service"], s.Objects["service"])
		fits(t, "network_endpoint", v["src_endpoint"], s.Objects["network_endpoint"])
		if r, ok := v["http_request"]; ok {
			fits(t, "http_request", r, s.Objects["http_request"])
		}
		if r, ok := v["resources"].([]any); ok {
			fits(t, "resource_details", r[0], s.Objects["resource_details"])
		}
		if a, ok := v["actor"].(map[string]any)["authorizations"].([]any); ok {
			fits(t, "authorization", a[0], s.Objects["authorization"])
			fits(t, "policy", a[0].(map[string]any)["policy"], s.Objects["policy"])
		}
		if v["class_uid"] != float64(s.Class.UID) || v["category_uid"] != float64(s.Class.CategoryUID) || v["type_uid"] != v["class_uid"].(float64)*100+v["activity_id"].(float64) ||
			v["metadata"].(map[string]any)["version"] != s.Version {
			t.Errorf("numbers of %s", line)
		}
		if v["time"] != float64(1795336200000) {
			t.Errorf("time %v", v["time"])
		}
	}
}

// fits checks one object's attributes.
func fits(t *testing.T, name string, v any, attributes map[string]string) {
	t.Helper()
	o, ok := v.(map[string]any)
	if !ok || len(attributes) == 0 {
		t.Fatalf("%s: %v is no object, or the schema has none", name, v)
	}
	for a := range o {
		if attributes[a] == "" {
			t.Errorf("%s: %s is not in the schema", name, a)
		}
	}
	for a, need := range attributes {
		if _, ok := o[a]; need == "required" && !ok {
			t.Errorf("%s: %s is required", name, a)
		}
	}
}

// TestFollow: a follower sees what is there and what comes, once and in order.
func TestFollow(t *testing.T) {
	h := newHome(t)
	h.rows(10)
	l := h.start()
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var got []int64
	seen := make(chan int64, 100)
	done := make(chan error, 1)
	go func() {
		done <- l.Follow(ctx, 4, JSONLines, Selection{}, func(seq int64, line []byte) error {
			e, err := ParseLeaf(line)
			if err == nil && e.Seq != seq {
				err = fmt.Errorf("event %d under number %d", e.Seq, seq)
			}
			seen <- seq
			return err
		}, func() error { return nil })
	}()
	take := func(n int) {
		for range n {
			got = append(got, <-seen)
		}
	}
	take(6)
	for range 5 {
		if _, err := l.Record(t.Context(), anAct, "OK"); err != nil {
			t.Fatal(err)
		}
	}
	take(5)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if want := []int64{5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}; !slices.Equal(got, want) {
		t.Errorf("saw %v", got)
	}
	err := l.Follow(t.Context(), 99, JSONLines, Selection{}, nil, nil)
	wantKind(t, err, rft.KindInvalidArgument)
}

// TestMirror: heads go to the bucket, once each, and another one in the place of
// ours is noticed and never overwritten.
func TestMirror(t *testing.T) {
	h := newHome(t)
	dir := t.TempDir()
	bucket, err := objstore.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	l := h.start()
	m := &Mirror{Bucket: bucket, Reader: bucket, Prefix: "audit/", Every: time.Hour}
	l.MirrorTo(m)
	record := func() Head {
		t.Helper()
		index, err := l.Record(t.Context(), anAct, "OK")
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "a tree head", func() bool { head, err := l.recordHead(t.Context()); return err == nil && head.Size == index+1 })
		return mustHead(t, h)
	}
	first := record()
	l.mirrorNow(t.Context(), m)
	l.mirrorNow(t.Context(), m) // nothing new
	if b, err := os.ReadFile(filepath.Join(dir, m.key(first))); err != nil || string(b) != first.Note {
		t.Fatalf("the mirror holds %q, %v", b, err)
	}
	if s := l.Stats(t.Context()); s.Mirrored != 1 || s.MirrorLag != 0 {
		t.Errorf("stats %+v", s)
	}
	second := record()
	if err := os.WriteFile(filepath.Join(dir, m.key(second)), []byte("forged\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.mirrorNow(t.Context(), m)
	if s := l.Stats(t.Context()); s.Mirrored != 1 || s.MirrorLag == 0 {
		t.Errorf("a forged head was taken for ours: %+v", s)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, m.key(second))); string(b) != "forged\n" {
		t.Error("an object of the mirror was replaced")
	}
	third := record()
	l.Close() // mirrors once more
	if !exists(filepath.Join(dir, m.key(third))) {
		t.Error("the last head was not mirrored")
	}
	// The mirror is what convicts a log that was written anew.
	var heads [][]byte
	for _, head := range []Head{first, third} {
		b, err := os.ReadFile(filepath.Join(dir, m.key(head)))
		if err != nil {
			t.Fatal(err)
		}
		heads = append(heads, b)
	}
	h.clean(3, heads...)
	lines := bufio.NewScanner(strings.NewReader(third.Note))
	if lines.Scan(); lines.Text() != h.key().Name() {
		t.Errorf("the head is of %q", lines.Text())
	}
}

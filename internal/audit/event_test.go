package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/store"
)

func anEvent(seq int64) Event {
	return eventOf(store.AuditRow{Seq: seq, Time: time.Date(2026, 11, 22, 8, 30, 0, 1000, time.UTC), Act: anAct, Result: "OK", LogIndex: -1})
}

// TestLeafIsCanonical pins the bytes that are hashed: they may never change.
func TestLeafIsCanonical(t *testing.T) {
	const want = `{"account":"main","action":"CreateDataset","decision":"allow","detail":{"digest":"sha256:00","rows":"12"},"policy":"role.admin",` +
		`"resource":"accounts/main/datasets/d","result":"OK","seq":7,"source":{"agent":"test/1","ip":"192.0.2.7","key":"k1"},"time":"2026-11-22T08:30:00.000001Z","v":1,` +
		`"who":{"id":"accounts/main/users/ann","kind":"user"}}`
	if got := string(anEvent(7).Leaf()); got != want {
		t.Errorf("leaf\n got %s\nwant %s", got, want)
	}
	if strings.Contains(want, "ann@example.com") {
		t.Error("the log names a person")
	}
}

// TestStringsFollowRFC8785 holds strings and the order of keys against the
// examples of RFC 8785, sections 3.2.2.2 and 3.2.3.
func TestStringsFollowRFC8785(t *testing.T) {
	e := anEvent(1)
	e.Resource = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"
	e.Detail = map[string]string{"\u20ac": "Euro", "\r": "CR", "\ufb33": "Dalet", "1": "One", "\U0001f600": "Smile", "\u0080": "Control", "\u00f6": "o"}
	leaf := string(e.Leaf())
	for _, want := range []string{
		`"resource":"€$\u000f\nA'B\"\\\\\"/"`,
		`"detail":{"\r":"CR","1":"One","` + "\u0080" + `":"Control","ö":"o","€":"Euro","` + "\U0001f600" + `":"Smile","` + "\ufb33" + `":"Dalet"}`,
	} {
		if !strings.Contains(leaf, want) {
			t.Errorf("%s does not hold %s", leaf, want)
		}
	}
	var back Event
	if err := json.Unmarshal([]byte(leaf), &back); err != nil || !reflect.DeepEqual(back, e) {
		t.Errorf("another JSON reader sees %+v, %v", back, err)
	}
}

func TestParseLeafTakesOneSpelling(t *testing.T) {
	leaf := anEvent(7).Leaf()
	e, err := ParseLeaf(leaf)
	if err != nil || !bytes.Equal(e.Leaf(), leaf) {
		t.Fatalf("own leaf: %v", err)
	}
	row, err := e.row()
	if err != nil || !bytes.Equal(eventOf(row).Leaf(), leaf) || row.LogIndex != 6 {
		t.Errorf("the row %+v, %v makes another leaf", row, err)
	}
	s := string(leaf)
	for name, other := range map[string]string{
		"space":         strings.Replace(s, `":`, `": `, 1),
		"escape":        strings.Replace(s, "main", `\u006dain`, 1),
		"order":         strings.Replace(s, `"account":"main","action":"CreateDataset"`, `"action":"CreateDataset","account":"main"`, 1),
		"field twice":   strings.Replace(s, `{"account"`, `{"account":"acme","account"`, 1),
		"unknown field": strings.Replace(s, `{"account"`, `{"aaa":1,"account"`, 1),
		"field missing": strings.Replace(s, `"policy":"role.admin",`, ``, 1),
		"tail":          s + "x",
		"two":           s + s,
		"no number":     strings.Replace(s, `"seq":7`, `"seq":0`, 1),
		"version":       strings.Replace(s, `"v":1`, `"v":2`, 1),
		"nothing":       "",
		"null":          "null",
	} {
		if _, err := ParseLeaf([]byte(other)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// FuzzForeignBytes gives every reader of this package what it did not write.
func FuzzForeignBytes(f *testing.F) {
	f.Add(anEvent(3).Leaf())
	f.Add([]byte("\x00\x02{}\x00\x00"))
	f.Add([]byte("origin\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"))
	f.Add([]byte(`{"format":"firekeep-audit/1","first":1,"before":["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]}` + "\n" + `{"hash":"AAAA"}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := ParseLeaf(b); err == nil && !bytes.Equal(e.Leaf(), b) {
			t.Error("an event has two spellings")
		}
		if entries, err := parseBundle(b); err == nil {
			n := 0
			for _, e := range entries {
				n += 2 + len(e)
			}
			if n != len(b) {
				t.Error("a bundle hides bytes")
			}
		}
		if h, err := parseHead(string(b)); err == nil && h.Size < 0 {
			t.Error("a negative size")
		}
		lines := bufio.NewReaderSize(bytes.NewReader(b), maxHeaderLine)
		if h, err := readHeader(lines); err == nil && len(h.Before) != subtrees(h.First) {
			t.Error("a header with the wrong number of hashes")
		}
		if e, err := readEntry(bufio.NewReaderSize(bytes.NewReader(b), maxHeaderLine)); err == nil && e.leaf != nil && e.hash != leafHash(e.leaf) {
			t.Error("an entry with another's hash")
		}
	})
}

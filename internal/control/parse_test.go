package control

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

func TestParseFilter(t *testing.T) {
	for in, want := range map[string][]store.Term{
		``:            nil,
		`state=READY`: {{Field: "state", Op: "=", Value: "READY"}},
		`displayName = "a \"b\" c" AND base_model!="m"`:     {{Field: "display_name", Op: "=", Value: `a "b" c`}, {Field: "base_model", Op: "!=", Value: "m"}},
		`createTime >= 2026-01-02T03:04:05Z AND name : x`:   {{Field: "create_time", Op: ">=", Value: "2026-01-02T03:04:05Z"}, {Field: "name", Op: ":", Value: "x"}},
		`peftDetails.baseModel="accounts/fireworks/models"`: {{Field: "peft_details.base_model", Op: "=", Value: "accounts/fireworks/models"}},
		`a=1 AND (b=2 OR NOT c=3)`:                          {{Field: "a", Op: "=", Value: "1"}, {Any: [][]store.Term{{{Field: "b", Op: "=", Value: "2"}}, {{Field: "c", Op: "=", Value: "3", Not: true}}}}},
		`a=1 OR b=2 AND -c=3`:                               {{Any: [][]store.Term{{{Field: "a", Op: "=", Value: "1"}}, {{Field: "b", Op: "=", Value: "2"}}}}, {Field: "c", Op: "=", Value: "3", Not: true}},
		`NOT(a=1 AND b=2)`:                                  {{Any: [][]store.Term{{{Field: "a", Op: "=", Value: "1"}, {Field: "b", Op: "=", Value: "2"}}}, Not: true}},
		`NOT (NOT a=1)`:                                     {{Field: "a", Op: "=", Value: "1"}},
	} {
		got, err := parseFilter(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{`state`, `=x`, `state=`, `a=1 b=2`, `a=1 AND`, `a=1 OR`, `a="open`, `(a=1`, `a=1)`, `()`, `NOT`, `a=1 ANDb=2`, `a=1 AND OR b=2`,
		strings.Repeat("(", 10) + "a=1" + strings.Repeat(")", 10), strings.Repeat("a=1 AND ", 64) + "a=1"} {
		if got, err := parseFilter(in); rft.KindOf(err) != rft.KindInvalidArgument {
			t.Errorf("%s: %v %v", in, got, err)
		}
	}
}

// FuzzParseFilter: a filter that is read holds no empty field and no unknown
// operator, and nothing panics.
func FuzzParseFilter(f *testing.F) {
	for _, s := range []string{`state=READY`, `a = "b\"c" AND d<=1`, `a:"\`, `NOT (a=1 OR -b:*) AND c!="x*"`, `äö=1`, `a="b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		terms, err := parseFilter(s)
		if err != nil {
			return
		}
		checkTerms(t, s, terms)
	})
}

func checkTerms(t *testing.T, s string, terms []store.Term) {
	for _, term := range terms {
		if term.Any == nil && (term.Field == "" || operator(term.Op) != term.Op) {
			t.Errorf("%q: %+v", s, term)
		}
		for _, list := range term.Any {
			if len(list) == 0 {
				t.Errorf("%q: an empty list", s)
			}
			checkTerms(t, s, list)
		}
	}
}

func TestParseOrder(t *testing.T) {
	got, err := parseOrder(" createTime desc, name,baseModel ASC")
	if want := []store.Order{{Field: "create_time", Desc: true}, {Field: "name"}, {Field: "base_model"}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
	for _, bad := range []string{",", "a,", "a b", "a desc b"} {
		if got, err := parseOrder(bad); rft.KindOf(err) != rft.KindInvalidArgument {
			t.Errorf("%q: %v %v", bad, got, err)
		}
	}
}

func TestRewardWeights(t *testing.T) {
	got, err := rewardWeights([]string{"score", " style = 0.5 ", "cost=-1e-1"})
	if want := map[string]float64{"score": 1, "style": 0.5, "cost": -0.1}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v", got, err)
	}
	for _, bad := range []string{"", "=1", "a=", "a=x", "a=NaN", "a=Inf", "a=1=2"} {
		if got, err := rewardWeights([]string{bad}); rft.KindOf(err) != rft.KindInvalidArgument {
			t.Errorf("%q: %v %v", bad, got, err)
		}
	}
	if _, err := rewardWeights([]string{"a", "a=2"}); err == nil {
		t.Error("a key twice was accepted")
	}
}

func TestParseTarget(t *testing.T) {
	const m, d, l = "accounts/acme/models/m", "accounts/acme/deployments/d", "accounts/acme/deployedModels/l"
	for in, want := range map[string][2]string{
		m: {m, ""}, "m": {m, ""}, "acme/m": {m, ""}, "fireworks/m": {"accounts/fireworks/models/m", ""}, d: {d, ""}, l: {l, ""},
		m + "#" + d: {m, d}, "acme/m#acme/d": {m, d}, "m#" + d: {m, d},
	} {
		n, on, err := parseTarget(in, "acme")
		got := [2]string{n.String(), ""}
		if on.ID != "" {
			got[1] = on.String()
		}
		if err != nil || got != want {
			t.Errorf("%s: %v %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "#", "a/b/c", "accounts/acme/models/", "accounts/acme/secrets/s", m + "#x/y/z", "../m", "M"} {
		if n, _, err := parseTarget(in, "acme"); err == nil {
			t.Errorf("%q was read as %s", in, n)
		}
	}
}

func TestFilePolicy(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{"open", "home", "open/inside"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "home"), filepath.Join(dir, "open", "link")); err != nil {
		t.Fatal(err)
	}
	p := FilePolicy{Roots: []string{filepath.Join(dir, "open")}, Never: []string{filepath.Join(dir, "home")}}
	for path, want := range map[string]rft.Kind{
		"open/x.jsonl": "", "open/inside/new/y": "", "home/keyring.json": rft.KindPermissionDenied, "open/link/keyring.json": rft.KindPermissionDenied,
		"opening/x": rft.KindPermissionDenied, "elsewhere": rft.KindPermissionDenied,
	} {
		if err := p.check("f", "file://"+filepath.Join(dir, path)); rft.KindOf(err) != want {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if err := p.check("f", "s3://bucket/x"); err != nil {
		t.Error(err)
	}
}

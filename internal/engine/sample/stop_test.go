package sample

import (
	"strings"
	"testing"
)

// whole is what a stopper must do, told all at once.
func whole(text string, stops []string) (string, bool) {
	first := -1
	for _, stop := range stops {
		if i := strings.Index(text, stop); i >= 0 && (first < 0 || i < first) {
			first = i
		}
	}
	if first < 0 {
		return text, false
	}
	return text[:first], true
}

func TestStopStringsInPieces(t *testing.T) {
	for _, c := range []struct {
		text  string
		stops []string
	}{
		{"hello world", nil}, {"hello world", []string{"o w"}}, {"hello", []string{"hello"}}, {"ababac", []string{"abac"}},
		{"aaaab", []string{"aab"}}, {"xxEND", []string{"END", "EN!"}}, {"abc", []string{"abcd"}}, {"grüße, 世界!", []string{"世界"}},
		{"one\n\ntwo", []string{"\n\n"}}, {"<stop", []string{"<stop>", "top"}}, {"mississippi", []string{"issip", "ssiss"}},
	} {
		want, wantHit := whole(c.text, c.stops)
		runes := []rune(c.text)
		for size := 1; size <= len(runes); size++ {
			s := stopper{stops: c.stops}
			got, hit := "", false
			for i := 0; i < len(runes) && !hit; i += size {
				var out string
				out, hit = s.push(string(runes[i:min(i+size, len(runes))]))
				got += out
				if !hit && !strings.HasPrefix(want, got) {
					t.Fatalf("%q %q by %d: showed %q, which is not part of %q", c.text, c.stops, size, got, want)
				}
			}
			if !hit {
				got += s.flush()
			}
			if got != want || hit != wantHit {
				t.Errorf("%q %q by %d: %q %v, want %q %v", c.text, c.stops, size, got, hit, want, wantHit)
			}
		}
	}
}

func TestStopHoldsBackOnlyWhatItMust(t *testing.T) {
	s := stopper{stops: []string{"\n\nUser:"}}
	for _, c := range [][2]string{{"Hi\n", "Hi"}, {"there\n\nUs", "\nthere"}, {"ed", "\n\nUsed"}} {
		if out, hit := s.push(c[0]); out != c[1] || hit {
			t.Errorf("push %q: %q %v, want %q", c[0], out, hit, c[1])
		}
	}
}

// Stop strings span tokens of the model: a request with a stop string gives the
// text of the same request without it, cut before the string.
func TestStopStringsOfRequests(t *testing.T) {
	s := newTiny(t, 1, Options{})
	base := Request{ID: 1, Prompt: prompt(3, 12), MaxTokens: 60, Temperature: 1.5, TopP: 1, Seed: seeded(5), IgnoreEOS: true}
	free := serve(t, s, base)["1/0"]
	runes := []rune(free.text)
	for _, at := range []int{0, 7, 20, len(runes) - 3} {
		r := base
		r.Stop = []string{"nowhere to be found", string(runes[at : at+3])}
		want, _ := whole(free.text, r.Stop)
		a := serve(t, s, r)["1/0"]
		if a.text != want || a.finish != FinishStop {
			t.Errorf("stop at %d: %q (%s), want %q", at, a.text, a.finish, want)
		}
	}
}

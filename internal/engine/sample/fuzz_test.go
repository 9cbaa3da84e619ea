package sample

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// A stopper that is told a text in pieces shows what one that is told all at
// once shows, and never more than that on the way.
func FuzzStopper(f *testing.F) {
	f.Add("hello world", "o w", "wor", 3)
	f.Add("ababac", "abac", "b", 1)
	f.Add("grüße, 世界!", "世", "界!", 2)
	f.Add("\n\n\n", "\n\n", "\n", 1)
	f.Fuzz(func(t *testing.T, text, a, b string, size int) {
		if !utf8.ValidString(text) || size < 1 {
			return
		}
		var stops []string
		for _, s := range []string{a, b} {
			if s != "" && utf8.ValidString(s) {
				stops = append(stops, s)
			}
		}
		s, shown, hit := stopper{stops: stops}, "", false
		runes := []rune(text)
		for i := 0; i < len(runes) && !hit; i += size {
			var out string
			out, hit = s.push(string(runes[i:min(i+size, len(runes))]))
			shown += out
			if !utf8.ValidString(shown) || !strings.HasPrefix(text, shown) {
				t.Fatalf("showed %q of %q", shown, text)
			}
			for _, stop := range stops {
				if strings.Contains(shown, stop) {
					t.Fatalf("showed %q, which holds the stop string %q", shown, stop)
				}
			}
		}
		if !hit {
			shown += s.flush()
		}
		held := false
		for _, stop := range stops {
			held = held || strings.Contains(text, stop)
		}
		if hit != held || !held && shown != text {
			t.Fatalf("%q by %d, stops %q: %q, stopped %v", text, size, stops, shown, hit)
		}
	})
}

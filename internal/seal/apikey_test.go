package seal

import (
	"strings"
	"testing"
)

func TestAPIKey(t *testing.T) {
	k := NewAPIKey()
	text := k.Text.Reveal()
	id, err := ParseAPIKey(text)
	if err != nil || id != k.ID || len(text) != 60 {
		t.Fatalf("%q, %v; length %d", id, err, len(text))
	}
	if !MatchAPIKey(k.Hash, text) || MatchAPIKey(k.Hash, NewAPIKey().Text.Reveal()) || MatchAPIKey(nil, text) {
		t.Error("match")
	}
	// Any other character at any place makes it another key.
	for i := range text {
		c := byte('A')
		if text[i] == 'A' {
			c = 'B'
		}
		other := text[:i] + string(c) + text[i+1:]
		if _, err := ParseAPIKey(other); err == nil {
			t.Errorf("a change at %d was not noticed", i)
		}
		if MatchAPIKey(k.Hash, other) {
			t.Errorf("a change at %d matches", i)
		}
	}
	for _, bad := range []string{"", "fk_", text + "x", text[1:], " " + text, text + "\n", strings.Repeat("f", 1<<16), "fw_3ZjN8kQ2pL"} {
		if _, err := ParseAPIKey(bad); err != ErrAPIKey {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

const (
	vectorCheck = "2Ary3E"
	vectorHash  = "f4bcabde08e4ab8b58cb50441e8a0cfecbd1634dbda44aed6cec66004f359db7"
)

// TestAPIKeyVector fixes the form for ever: stored hashes must keep matching.
func TestAPIKeyVector(t *testing.T) {
	const text = "fk_0123456789_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd"
	full := text + checksum(text)
	if full != "fk_0123456789_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcd"+vectorCheck {
		t.Errorf("check digits %q", checksum(text))
	}
	if got := hexOf(HashAPIKey(full)); got != vectorHash {
		t.Errorf("hash %s", got)
	}
}

func TestRandomID(t *testing.T) {
	seen := map[string]bool{}
	counts := map[byte]int{}
	for range 2000 {
		id := RandomID(16)
		if len(id) != 16 || id[0] < 'a' || id[0] > 'z' || seen[id] {
			t.Fatalf("%q", id)
		}
		seen[id] = true
		for i := 1; i < len(id); i++ {
			counts[id[i]]++
		}
	}
	// 30,000 characters over 36: 833 each, standard deviation 28.
	for _, c := range []byte(base36) {
		if counts[c] < 600 || counts[c] > 1070 {
			t.Errorf("%q was drawn %d times", c, counts[c])
		}
	}
}

func FuzzParseAPIKey(f *testing.F) {
	f.Add(NewAPIKey().Text.Reveal())
	f.Add("fk_0123456789_")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseAPIKey(text)
		if err == nil && (len(id) != keyIDLen || !strings.HasPrefix(text, keyPrefix+id+"_")) {
			t.Errorf("%q gives %q", text, id)
		}
	})
}

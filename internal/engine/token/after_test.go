package token_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine/token"
)

// TestEncodeAfter: the tokens of a completion are those that it has behind its
// prompt, in tokenisers that put a space before every text, too.
func TestEncodeAfter(t *testing.T) {
	metaspace := strings.Replace(piecesTokenizer, `"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"\u2581"},`+
		`{"type":"Replace","pattern":{"String":" "},"content":"\u2581"}]},"pre_tokenizer":null`,
		`"normalizer":null,"pre_tokenizer":{"type":"Metaspace","replacement":"\u2581","prepend_scheme":"SCHEME","split":false}`, 1)
	for name, file := range map[string]string{
		"prepend": piecesTokenizer,
		"first":   strings.Replace(metaspace, "SCHEME", "first", 1),
		"always":  strings.Replace(metaspace, "SCHEME", "always", 1),
		"bytes":   strings.Replace(tinyTokenizer, `"add_prefix_space":false}`, `"add_prefix_space":true}`, 1),
	} {
		tok, err := token.New([]byte(file))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, c := range []struct{ before, after string }{{"ab", "ba"}, {"a b", " a"}, {"[I]", "ab"}, {"", "ab"}, {"b[I] ", "b"}} {
			prompt := tok.Encode(c.before, false)
			got := append(slices.Clone(prompt), tok.EncodeAfter(prompt, c.after)...)
			if whole := tok.Encode(c.before+c.after, false); tok.Decode(got, false) != tok.Decode(whole, false) {
				t.Errorf("%s: %q + %q: %v reads %q, the whole %v reads %q", name, c.before, c.after, got, tok.Decode(got, false), whole, tok.Decode(whole, false))
			}
		}
	}
}

// TestByteRuns: a run of byte tokens that is no UTF-8 reads as U+FFFD for every
// byte, as in Hugging Face's ByteFallback, streamed or whole.
func TestByteRuns(t *testing.T) {
	tok, err := token.New([]byte(piecesTokenizer))
	if err != nil {
		t.Fatal(err)
	}
	for want, ids := range map[string][]int32{"aüb": {1, 6, 7, 2}, "a\uFFFD\uFFFD\uFFFDb": {1, 6, 6, 7, 2}, "ü\n": {6, 7, 8}, "\uFFFD": {6}} {
		if got := tok.Decode(ids, false); got != want {
			t.Errorf("%v: %q instead of %q", ids, got, want)
		}
	}
}

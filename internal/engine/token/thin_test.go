package token

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
)

// same fails unless both ways of reading b agree, and says whether the quick one took it.
func same(t *testing.T, b []byte) (quick bool) {
	t.Helper()
	parts := thinOut(b)
	if parts == nil {
		return false
	}
	got, gotErr := read(b, parts)
	want, wantErr := read(b, nil)
	if (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
		t.Fatalf("%v, by encoding/json %v: %.300q", gotErr, wantErr, b)
	}
	if gotErr != nil {
		return true
	}
	for _, x := range []struct{ got, want any }{
		{got.bpe.ids, want.bpe.ids}, {got.bpe.bytes, want.bpe.bytes}, {got.bpe.merges, want.bpe.merges}, {got.bpe.ignoreMerges, want.bpe.ignoreMerges},
		{got.bpe.unknown, want.bpe.unknown}, {got.bpe.characters, want.bpe.characters}, {got.bpe.fuseUnknown, want.bpe.fuseUnknown},
		{got.texts, want.texts}, {got.present, want.present}, {got.special, want.special}, {got.added, want.added}, {got.isAdded, want.isAdded},
		{got.front, want.front}, {got.back, want.back}, {got.blob, want.blob}, {got.endOfTurn, want.endOfTurn}, {got.pieces, want.pieces}, {got.bare, want.bare},
	} {
		if !reflect.DeepEqual(x.got, x.want) {
			t.Fatalf("%.300v, by encoding/json %.300v: %.300q", x.got, x.want, b)
		}
	}
	return true
}

const plain = `{"added_tokens":[{"id":7,"content":"<|im_end|>","special":true}],"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"},
 "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"\u0120":3,"\u0120a":4,"\"":5,"\\":6},"merges":["a b","\u0120 a"],"dropout":null}}`

// several are documents with more than one place for a vocabulary and merges.
// encoding/json takes a tokeniser before a model beside it, and of two tokenisers the last.
var several = []string{
	`{"model":{"merges":["a b"]},"tokenizer":{"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2}}}}`,
	`{"tokenizer":{"model":{"merges":["a b"]}},"tokenizer":{"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2}}}}`,
	`{"tokenizer":{"model":{}},"pre_tokenizer":{"type":"ByteLevel"},"decoder":{"type":"ByteLevel"},"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}}`,
	`{"tokenizer":` + plain + `,"tokenizer":` + plain + `}`,
	`{"tokenizer":` + plain + `,"model":` + plain + `}`,
}

func TestThinSeveral(t *testing.T) {
	for _, doc := range several {
		if same(t, []byte(doc)) {
			t.Errorf("not left to encoding/json: %s", doc)
		}
	}
}

// TestThinMemory: no document makes the quick way set memory aside again and again.
func TestThinMemory(t *testing.T) {
	for what, doc := range map[string]string{
		"tokenisers": "{" + strings.Repeat(`"tokenizer":{"model":{"merges":[]}},`, 5000),
		"models":     "{" + strings.Repeat(`"model":{"merges":[]},`, 5000),
		"merges":     `{"model":{` + strings.Repeat(`"merges":[],`, 5000),
		"vocabs":     `{"model":{` + strings.Repeat(`"vocab":{},`, 5000),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		thinOut([]byte(doc))
		runtime.ReadMemStats(&after)
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 2<<20 {
			t.Errorf("%s: %d bytes for a document of %d", what, taken, len(doc))
		}
	}
}

// TestThin: vocabulary and merges that were read on their own make the tokeniser
// that encoding/json makes of the whole, escapes and both forms of merges included.
func TestThin(t *testing.T) {
	pairs := strings.Replace(plain, `["a b","\u0120 a"]`, `[ ["a","b"] , ["\u0120","a"] ]`, 1)
	for _, doc := range []string{plain, pairs, `{"eos_token":"<|im_end|>","bos":null,"eos":[7],"vocab":9,"tokenizer":` + plain + `}`} {
		if !same(t, []byte(doc)) {
			t.Errorf("left to encoding/json: %s", doc)
		}
		tok, err := New([]byte(doc))
		if err != nil || !reflect.DeepEqual(tok.Encode(`ab a"\`, false), []int32{2, 4, 5, 6}) {
			t.Errorf("%v", err)
		}
	}
	for change, to := range map[string]string{
		`"ab":2`: `"ab":2,"ab":8`, `"b":1`: `"b":01`, `"a":0`: `"a":0.0`, `"\\":6}`: `"\\":6,}`, `"vocab"`: `"Vocab"`, `"merges"`: `"m\u0065rges"`, `"model"`: `"model":null,"model"`,
		`"type":"BPE"`: `"type":"BPE","vocab":{"c":9}`, `"a b"`: `"a b",["a","b"]`, `"a b",`: `"a b"`, `,"dropout"`: `}x,"dropout"`, `null}}`: `null}}{`, `"\u0120 a"`: "\"\x01\"",
		`["a b"`: `[1,"a b"`, `"\u0120":3`: "\"\xff\":3", `"BPE"`: `"WordPiece"`, `"ab":2,`: ``,
	} {
		changed := strings.Replace(plain, change, to, 1)
		if changed == plain {
			t.Fatalf("%q is not there", change)
		}
		same(t, []byte(changed))
	}
}

// TestOneTokenAnID: of two tokens with one id, a text would be read as one or the other by chance.
func TestOneTokenAnID(t *testing.T) {
	changed := strings.Replace(plain, `"ab":2`, `"ab":1`, 1)
	var p *engine.Problem
	if _, err := New([]byte(changed)); !errors.As(err, &p) || !strings.Contains(p.Message, "id 1") {
		t.Fatalf("%v for %s", err, changed)
	}
	same(t, []byte(changed))
}

// TestThinVocabularies: the tokenisers that people use are read the quick way.
func TestThinVocabularies(t *testing.T) {
	dir := os.Getenv("FIREKEEP_VOCABULARIES")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", ".cache", "vocabularies")
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*", "tokenizer.json"))
	if len(files) == 0 && os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
		t.Skip("FIREKEEP_WITHOUT_ORACLES=1: no vocabularies")
	}
	if len(files) == 0 {
		t.Fatalf("no vocabularies in %s; make installs them, FIREKEEP_VOCABULARIES names another place", dir)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if !same(t, b) {
			t.Errorf("%s is left to encoding/json", f)
		}
	}
}

// FuzzThin: whatever is read the quick way is what encoding/json reads.
func FuzzThin(f *testing.F) {
	f.Add([]byte(plain))
	f.Add([]byte(`{"tokenizer":` + plain + `}`))
	f.Add([]byte(strings.Replace(plain, `"a b"`, `"a b","b a"`, 1)))
	for _, doc := range several {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, b []byte) { same(t, b) })
}

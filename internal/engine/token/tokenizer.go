package token

import (
	"encoding/json"
	"slices"
)

// MaxTokenizer bounds the bytes of a tokenizer.json.
const MaxTokenizer = 256 << 20

// Tokenizer is a BPE tokeniser over bytes or over characters. It is safe for concurrent use.
type Tokenizer struct {
	bpe        *bpe
	normalize  func(string) string // nil = none
	goingOn    func(string) string // normalize behind other text
	split      splitter
	raw        trie // added tokens found in the text as it is
	normalized trie // added tokens found behind normalisation
	texts      []string
	pieces     *pieceDecoder  // nil for byte-level BPE
	bare       map[int32]bool // tokens of single bytes, with pieces
	present    []bool
	special    map[int32]bool
	added      map[string]int32
	isAdded    map[int32]bool
	front      []int32 // what the post-processor puts before
	back       []int32 // and behind
	blob       blob
	endOfTurn  []int32
}

// blob is what tensorfile puts around a tokenizer.json.
type blob struct {
	BOSToken  string          `json:"bos_token"`
	EOSToken  string          `json:"eos_token"`
	UNKToken  string          `json:"unk_token"`
	PADToken  string          `json:"pad_token"`
	BOS       *int32          `json:"bos"`
	EOS       []int32         `json:"eos"`
	Vocab     int             `json:"vocab"`
	Tokenizer json.RawMessage `json:"tokenizer"`
}

// endOfTurnNames are the tokens that end a turn in the known templates.
var endOfTurnNames = []string{"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end|>", "<|end_of_turn|>", "<turn|>"}

// New reads the tokeniser of prepared weights (Prepared.Tokenizer) or a plain
// tokenizer.json.
func New(b []byte) (*Tokenizer, error) {
	if len(b) > MaxTokenizer {
		return nil, problem("too-large", "", "%d bytes are more than the %d accepted", len(b), MaxTokenizer)
	}
	return read(b, thinOut(b))
}

// read reads b, of which parts may have been read already.
func read(b []byte, parts *thin) (*Tokenizer, error) {
	if parts != nil {
		b = parts.rest
	}
	t := &Tokenizer{special: map[int32]bool{}, added: map[string]int32{}, isAdded: map[int32]bool{}}
	if json.Unmarshal(b, &t.blob) != nil || t.blob.Tokenizer == nil {
		t.blob = blob{Tokenizer: b}
	}
	var file struct {
		Added         []addedToken    `json:"added_tokens"`
		Normalizer    json.RawMessage `json:"normalizer"`
		PreTokenizer  json.RawMessage `json:"pre_tokenizer"`
		PostProcessor json.RawMessage `json:"post_processor"`
		Decoder       json.RawMessage `json:"decoder"`
		Model         *bpeModel       `json:"model"`
	}
	if err := json.Unmarshal(t.blob.Tokenizer, &file); err != nil || file.Model == nil {
		return nil, problem("bad-tokenizer", "", "is not the JSON of a tokeniser")
	}
	if parts != nil {
		file.Model.Vocab, file.Model.Merges = parts.vocab, parts.merges
	}
	var err error
	var byteLevel bool
	if t.split, byteLevel, err = parsePreTokenizer(file.PreTokenizer); err != nil {
		return nil, err
	}
	if t.bpe, err = newBPE(file.Model, byteLevel); err != nil {
		return nil, err
	}
	if t.normalize, t.goingOn, err = parseNormalizer(file.Normalizer); err != nil {
		return nil, err
	}
	if t.pieces, err = parseDecoder(file.Decoder, byteLevel); err != nil {
		return nil, err
	}
	if err := t.addTokens(file.Model.Vocab, file.Added); err != nil {
		return nil, err
	}
	if err := t.postProcessor(file.PostProcessor); err != nil {
		return nil, err
	}
	t.blob.Tokenizer = nil
	return t, t.resolveEnds()
}

// addTokens fills the table of texts and the tries.
func (t *Tokenizer) addTokens(vocab map[string]int32, added []addedToken) error {
	top := int32(t.blob.Vocab) - 1
	for _, id := range vocab {
		top = max(top, id)
	}
	for i := range added {
		if added[i].ID < 0 || added[i].ID > maxVocab || len(added[i].Content) > 4096 {
			return problem("bad-tokenizer", "added_tokens", "entry %d has the id %d and %d bytes", i, added[i].ID, len(added[i].Content))
		}
		top = max(top, added[i].ID)
	}
	if top > maxVocab {
		return problem("bad-tokenizer", "model", "has the token id %d", top)
	}
	t.texts, t.present = make([]string, top+1), make([]bool, top+1)
	twice := top + 1
	for text, id := range vocab {
		if t.present[id] {
			twice = min(twice, id)
		}
		t.setText(id, text)
	}
	if twice <= top { // which of the two texts it stands for would be chance
		return problem("bad-tokenizer", "model", "gives two tokens of its vocabulary the id %d", twice)
	}
	for i := range added {
		a := &added[i]
		content := a.Content
		if a.Normalized && t.normalize != nil { // decoding shows it as it is found
			content = t.normalize(content)
		}
		t.setText(a.ID, content)
		t.added[a.Content] = a.ID
		t.isAdded[a.ID] = true
		if a.Special {
			t.special[a.ID] = true
		}
		if a.Normalized {
			t.normalized.add(content, a)
		} else {
			t.raw.add(a.Content, a)
		}
	}
	return nil
}

// setText notes what a token stands for.
func (t *Tokenizer) setText(id int32, token string) {
	t.present[id] = true
	if t.pieces == nil {
		t.texts[id] = tokenBytes(token)
		return
	}
	text, bare := t.pieces.text(token)
	if t.texts[id] = text; bare {
		if t.bare == nil {
			t.bare = map[int32]bool{}
		}
		t.bare[id] = true
	}
}

// resolveEnds resolves the ids that end a turn.
func (t *Tokenizer) resolveEnds() error {
	for _, id := range t.blob.EOS {
		if id < 0 {
			return problem("bad-tokenizer", "eos", "the id %d is impossible", id)
		}
		t.endOfTurn = append(t.endOfTurn, id)
	}
	if id, ok := t.added[t.blob.EOSToken]; ok && !slices.Contains(t.endOfTurn, id) {
		t.endOfTurn = append(t.endOfTurn, id)
	}
	for _, name := range endOfTurnNames {
		if id, ok := t.added[name]; ok && !slices.Contains(t.endOfTurn, id) {
			t.endOfTurn = append(t.endOfTurn, id)
		}
	}
	return nil
}

// Encode returns the ids of text. Added tokens in the text become their ids;
// special also adds what the post-processor adds (the beginning-of-sequence
// token, mostly), which rendered templates must not have twice.
func (t *Tokenizer) Encode(text string, special bool) []int32 {
	out := make([]int32, 0, len(text)/3+8)
	if !special {
		return t.encode(out, text, begins)
	}
	return append(t.encode(append(out, t.front...), text, begins), t.back...)
}

// EncodeAfter returns the ids of text that goes on behind the ids before, as a
// completion goes on behind its prompt: the space that some tokenisers put before
// a text is left out, unless before ends with an added token, which they begin
// anew behind.
func (t *Tokenizer) EncodeAfter(before []int32, text string) []int32 {
	at := begins
	if n := len(before); n > 0 {
		if at = inside; t.isAdded[before[n-1]] {
			at = section
		}
	}
	return t.encode(make([]int32, 0, len(text)/3+8), text, at)
}

// encode appends the ids of text.
func (t *Tokenizer) encode(out []int32, text string, first place) []int32 {
	t.raw.cut(text, func(piece string, id int32) {
		at := first
		first = section
		if id >= 0 {
			out = append(out, id)
			return
		}
		if at == inside && t.goingOn != nil {
			piece = t.goingOn(piece)
		} else if t.normalize != nil {
			piece = t.normalize(piece)
		}
		t.normalized.cut(piece, func(piece string, id int32) {
			if id >= 0 {
				out, at = append(out, id), section
				return
			}
			for _, word := range t.split([]string{piece}, at) {
				out = t.bpe.encode(out, word)
			}
			at = section
		})
	})
	return out
}

// Decode returns the text of ids; bytes that are no UTF-8 become U+FFFD.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	var b []byte
	if t.pieces != nil {
		d := t.NewDecoder(skipSpecial)
		for _, id := range ids {
			b = append(b, d.Push(id)...)
		}
		return string(append(b, d.Flush()...))
	}
	for _, id := range ids {
		if !(skipSpecial && t.special[id]) {
			b = append(b, t.TokenBytes(id)...)
		}
	}
	return lossy(b)
}

// Vocab is the number of ids: one more than the greatest.
func (t *Tokenizer) Vocab() int { return len(t.texts) }

// TokenBytes are the bytes of one token, "" for an unknown id.
func (t *Tokenizer) TokenBytes(id int32) string {
	if id < 0 || int(id) >= len(t.texts) {
		return ""
	}
	return t.texts[id]
}

// TokenText is one token's own text; bytes that are no UTF-8 become U+FFFD.
func (t *Tokenizer) TokenText(id int32) string { return lossy([]byte(t.TokenBytes(id))) }

// Known says that id stands for a token.
func (t *Tokenizer) Known(id int32) bool {
	return id >= 0 && int(id) < len(t.present) && t.present[id]
}

// IsSpecial says that id is a special token.
func (t *Tokenizer) IsSpecial(id int32) bool { return t.special[id] }

// ID looks up an added token by its text.
func (t *Tokenizer) ID(added string) (int32, bool) {
	id, ok := t.added[added]
	return id, ok
}

// BOS is the id and text of the beginning-of-sequence token, -1 and "" without.
func (t *Tokenizer) BOS() (int32, string) {
	if t.blob.BOS != nil {
		return *t.blob.BOS, t.blob.BOSToken
	}
	if id, ok := t.added[t.blob.BOSToken]; ok {
		return id, t.blob.BOSToken
	}
	return -1, t.blob.BOSToken
}

// EOSText is the text of the end-of-sequence token, for templates.
func (t *Tokenizer) EOSText() string { return t.blob.EOSToken }

// EndOfTurn lists the ids at which a sampler stops.
func (t *Tokenizer) EndOfTurn() []int32 { return t.endOfTurn }

// IsEndOfTurn says that id ends a turn.
func (t *Tokenizer) IsEndOfTurn(id int32) bool { return slices.Contains(t.endOfTurn, id) }

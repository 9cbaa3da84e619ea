package tensorfile

import (
	"encoding/binary"
	"slices"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// checkpoint is an opened source: what Prepare needs of a model, whatever file
// format it came in.
type checkpoint struct {
	config    engine.Config
	tokenizer []byte // tokenizer blob, see TokenizerBlob
	template  string
	object    string // for problems
	// weight finds a tensor by its prepared name.
	weight func(name string) (weight, bool)
	// spare lists stored tensors that no prepared name uses.
	spare []string
}

// weight reads a matrix [rows, width] (or a vector: one row) row by row.
type weight struct {
	stored string // name in the file
	shape  []int
	row    func(dst []float32, i int)
	// coding is how a matrix is stored; codes reads row i of it. packed is set where the
	// whole matrix lies in panels already.
	coding kernel.Coding
	codes  func(r *codedRow, i int)
	packed []float32
}

// codedRow is a row as its file has it: codes with a step and a least value per
// block, or values of 16 bits.
type codedRow struct {
	codes         []int8
	steps, leasts []float32
	halves        []uint16
}

func newCodedRow(c kernel.Coding, k int) *codedRow {
	if c.Block == 0 {
		return &codedRow{halves: make([]uint16, k)}
	}
	return &codedRow{codes: make([]int8, k), steps: make([]float32, k/c.Block), leasts: make([]float32, k/c.Block)}
}

// read fills the row from blocks of a storage type.
func (r *codedRow) read(b *block, src []byte) {
	if b.code == nil {
		for i := range r.halves {
			r.halves[i] = binary.LittleEndian.Uint16(src[2*i:])
		}
		return
	}
	for at := 0; at < len(r.codes); at, src = at+b.elements, src[b.size:] {
		from, to := at/b.coding.Block, (at+b.elements)/b.coding.Block
		b.code(r.codes[at:at+b.elements], r.steps[from:to], r.leasts[from:to], src)
	}
}

// find fetches a tensor and checks its shape against the plan.
func (c *checkpoint) find(e tableEntry) (weight, error) {
	w, ok := c.weight(e.Name)
	if !ok {
		return w, problem("missing-tensor", c.object, w.stored, "the model has no such tensor")
	}
	want := []int{e.N, e.K}
	if e.N == 0 {
		want = []int{e.K}
	}
	if !slices.Equal(w.shape, want) {
		return w, problem("wrong-shape", c.object, w.stored, "its shape is %v; the configuration requires %v", w.shape, want)
	}
	return w, nil
}

// limits bound what a configuration may claim, before any table is built.
func checkConfig(c *engine.Config, object string) error {
	for _, f := range []struct {
		name     string
		value    int
		min, max int
	}{
		{"number of layers", c.Layers, 1, 1024}, {"hidden size", c.Hidden, 2, 1 << 17}, {"intermediate size", c.Inter, 1, 1 << 19},
		{"attention heads", c.Heads, 1, 4096}, {"key-value heads", c.KVHeads, 1, 4096}, {"head dimension", c.HeadDim, 2, 4096},
		{"vocabulary", c.Vocab, 1, 1 << 22}, {"maximal positions", c.MaxPositions, 1, 1 << 26},
	} {
		if f.value < f.min || f.value > f.max {
			return problem("bad-config", object, f.name, "is %d; accepted are %d to %d", f.value, f.min, f.max)
		}
	}
	if c.Heads%c.KVHeads != 0 {
		return problem("bad-config", object, "key-value heads", "%d do not divide %d attention heads", c.KVHeads, c.Heads)
	}
	if c.HeadDim%2 != 0 {
		return problem("bad-config", object, "head dimension", "%d is odd", c.HeadDim)
	}
	if !(c.NormEps > 0 && c.NormEps < 1) || !(c.RopeTheta > 0 && c.RopeTheta < 1e15) {
		return problem("bad-config", object, "", "norm epsilon %g or RoPE base %g is impossible", c.NormEps, c.RopeTheta)
	}
	for _, id := range append([]int32{c.BOS}, c.EOS...) {
		if id < -1 || int(id) >= c.Vocab {
			return problem("bad-config", object, "special token", "id %d lies outside the vocabulary of %d", id, c.Vocab)
		}
	}
	if err := checkVariations(c, object); err != nil {
		return err
	}
	return checkRope(c.RopeScaling, object)
}

func checkRope(r *engine.RopeScaling, object string) error {
	if r == nil {
		return nil
	}
	ok := r.Factor > 0 && r.Factor < 1e9
	if r.Type == "llama3" {
		ok = ok && r.LowFreqFactor > 0 && r.HighFreqFactor > r.LowFreqFactor && r.OriginalMaxPos > 0
	}
	if !ok {
		return problem("bad-config", object, "rope_scaling", "its %s parameters are impossible", r.Type)
	}
	return nil
}

// TokenizerBlob is what prepared weights carry of a tokeniser; package token
// reads it.
type TokenizerBlob struct {
	Tokenizer []byte  `json:"-"` // tokenizer.json
	BOSToken  string  `json:"bos_token"`
	EOSToken  string  `json:"eos_token"`
	UNKToken  string  `json:"unk_token,omitempty"`
	PADToken  string  `json:"pad_token,omitempty"`
	BOS       int32   `json:"bos"`
	EOS       []int32 `json:"eos"`
	Vocab     int     `json:"vocab"` // rows of the embedding
}

package sample

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/token"
)

// TestMain runs the package's tests on the best kernel level of the machine,
// or on the one that FIREKEEP_KERNEL names.
func TestMain(m *testing.M) {
	for _, level := range kernel.Detect() {
		if want := os.Getenv("FIREKEEP_KERNEL"); (want == "" || want == level.String()) && kernel.SelfTest(level) == nil {
			kernel.Use(level)
			break
		}
	}
	os.Exit(m.Run())
}

// Token ids of the tiny tokeniser: 0..255 are the bytes, then the specials.
const (
	tinyEnd   = 256
	tinyVocab = 259
)

// plainTokenizer has tokens of two letters: no text waits for the rest of a rune.
func plainTokenizer(t testing.TB) *token.Tokenizer {
	t.Helper()
	vocab := map[string]int{}
	for i := range 256 {
		vocab[string([]byte{byte('a' + i/16), byte('a' + i%16)})] = i
	}
	return tokenizerOf(t, vocab)
}

// tinyTokenizer has one token per byte and an end-of-turn token.
func tinyTokenizer(t testing.TB) *token.Tokenizer {
	t.Helper()
	vocab, next := map[string]int{}, rune(256)
	for b := range 256 {
		r := rune(b)
		if !(b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae) { // byte-level BPE's printable stand-ins
			r = next
			next++
		}
		vocab[string(r)] = b
	}
	return tokenizerOf(t, vocab)
}

func tokenizerOf(t testing.TB, vocab map[string]int) *token.Tokenizer {
	t.Helper()
	doc := map[string]any{
		"added_tokens":  []any{map[string]any{"id": tinyEnd, "content": "<|im_end|>", "special": true}},
		"pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
		"decoder":       map[string]any{"type": "ByteLevel"},
		"model":         map[string]any{"type": "BPE", "vocab": vocab, "merges": []string{}},
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	tok, err := token.New(raw)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// tinyModel is a random model whose logits are far from uniform.
func tinyModel(seed uint64) *model.Model { return tinyModelOf(tinyConfig(), seed) }

func tinyConfig() engine.Config {
	return engine.Config{Family: "llama", Layers: 3, Hidden: 48, Inter: 80, Heads: 6, KVHeads: 2, HeadDim: 16, Vocab: tinyVocab,
		MaxPositions: 512, NormEps: 1e-5, RopeTheta: 10000, BOS: -1, EOS: []int32{tinyEnd}, Tied: true}
}

// variations are small configurations with what each family adds to Llama's block.
func variations() map[string]engine.Config {
	all := map[string]engine.Config{}
	vary := func(family string, change func(c *engine.Config)) {
		c := tinyConfig()
		c.Family = family
		change(&c)
		all[family] = c
	}
	vary("mistral", func(c *engine.Config) { c.Window, c.LayerKinds = 9, "lll" })
	vary("qwen2", func(c *engine.Config) { c.Biases = []string{"q_proj", "k_proj", "v_proj"} })
	vary("qwen3", func(c *engine.Config) { c.QKNorm = true })
	vary("smollm3", func(c *engine.Config) { c.Window, c.LayerKinds = 40, "gnw" })
	vary("gemma3", func(c *engine.Config) {
		c.QKNorm, c.PostNorms, c.Activation = true, true, engine.ActivationGELU
		c.EmbedScale, c.QueryScale, c.Window, c.LocalTheta, c.LayerKinds = 3, 0.2, 33, 500, "lgl"
	})
	return all
}

func tinyModelOf(c engine.Config, seed uint64) *model.Model {
	rng := rand.New(rand.NewPCG(seed, 7))
	draw := func(n int, scale float64) []float32 {
		w := make([]float32, n)
		for i := range w {
			w[i] = float32(rng.NormFloat64() * scale)
		}
		return w
	}
	ones := func(n int) []float32 {
		w := draw(n, 0.1)
		for i := range w {
			w[i]++
		}
		return w
	}
	m := &model.Model{Config: c, Norm: ones(c.Hidden), Layers: make([]model.Layer, c.Layers)}
	m.Embed = packed(draw(c.Vocab*c.Hidden, 0.35), c.Vocab, c.Hidden)
	m.Head = m.Embed
	for l := range m.Layers {
		m.Layers[l].AttnNorm, m.Layers[l].MLPNorm = ones(c.Hidden), ones(c.Hidden)
		if c.QKNorm {
			m.Layers[l].QNorm, m.Layers[l].KNorm = ones(c.HeadDim), ones(c.HeadDim)
		}
		if c.PostNorms {
			m.Layers[l].AttnPost, m.Layers[l].MLPPost = ones(c.Hidden), ones(c.Hidden)
		}
		for t, name := range engine.Targets {
			if slices.Contains(c.Biases, name) {
				out, _ := c.Linear(name)
				m.Layers[l].Bias[t] = draw(out, 0.3)
			}
		}
		for t, name := range engine.Targets {
			out, in := c.Linear(name)
			m.Layers[l].Linear[t] = packed(draw(out*in, 0.2), out, in)
		}
	}
	return m
}

// tinyAdapter moves the logits visibly. Its targets differ with the seed.
func tinyAdapter(t testing.TB, c *engine.Config, seed int64) *model.Adapter {
	t.Helper()
	targets := engine.Targets
	if seed%2 == 0 {
		targets = []string{"q_proj", "v_proj", "down_proj"}
	}
	a, err := model.NewAdapter(c, 4+int(seed%3), 8, targets, seed)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(uint64(seed), 3))
	for l := range a.Layers {
		for i := range a.Layers[l].B {
			b := a.Layers[l].B[i]
			for j := range b {
				b[j] = float32(rng.NormFloat64() * 0.15)
			}
		}
	}
	return a
}

// answer is what one completion gave.
type answer struct {
	text   string
	tokens []Token
	finish Finish
	events int
	last   Event
	first  Event
}

// collect gathers the events of a request by completion.
func collect(into map[string]*answer) func(Event) {
	return func(e Event) {
		key := fmt.Sprintf("%d/%d", e.ID, e.Index)
		a := into[key]
		if a == nil {
			a = &answer{first: e}
			into[key] = a
		}
		if a.finish != "" {
			panic("an event behind the last one")
		}
		a.text += e.Text
		a.tokens = append(a.tokens, e.Tokens...)
		a.finish, a.last = e.Finish, e
		a.events++
	}
}

// drain runs the sampler until it has nothing left.
func drain(t testing.TB, s *Sampler) {
	t.Helper()
	for i := 0; s.Step(); i++ {
		if i > 100000 {
			t.Fatal("the sampler does not come to an end")
		}
	}
	if l := s.Load(); l.Running+l.Waiting+l.Blocks != 0 {
		t.Fatalf("load %+v when idle", l)
	}
}

func prompt(seed uint64, n int) []int32 {
	rng := rand.New(rand.NewPCG(seed, 99))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(32 + rng.IntN(95))
	}
	return ids
}

func seeded(n int64) *int64 { return &n }

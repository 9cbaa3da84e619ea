package sample

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"slices"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// processing is a job of testdata/processors.py.
type processing struct {
	Logits      []float32         `json:"logits"`
	Prompt      []int32           `json:"prompt"`
	Tokens      []int32           `json:"tokens"`
	Repetition  float64           `json:"repetition"`
	Frequency   float64           `json:"frequency"`
	Presence    float64           `json:"presence"`
	Bias        map[int32]float64 `json:"bias"`
	Temperature float64           `json:"temperature"`
	TopK        int               `json:"topK"`
	TopP        float64           `json:"topP"`
	MinP        float64           `json:"minP"`
	TypicalP    float64           `json:"typicalP"`
}

// shapes are requests with each parameter alone and all together.
func shapes() []processing {
	neutral := processing{Repetition: 1, Temperature: 1, TopP: 1}
	with := func(change func(p *processing)) processing {
		p := neutral
		change(&p)
		return p
	}
	return []processing{
		neutral,
		with(func(p *processing) { p.Repetition = 1.3 }),
		with(func(p *processing) { p.Repetition = 0.6 }),
		with(func(p *processing) { p.Frequency = 0.7 }),
		with(func(p *processing) { p.Frequency = -1.5 }),
		with(func(p *processing) { p.Presence = 1.1 }),
		with(func(p *processing) { p.Bias = map[int32]float64{3: 4.5, 200: -100, 77: -1} }),
		with(func(p *processing) { p.MinP = 0.05 }),
		with(func(p *processing) { p.TypicalP = 0.6 }),
		with(func(p *processing) { p.MinP, p.Temperature = 0.1, 1.7 }),
		with(func(p *processing) { p.TypicalP, p.TopK, p.TopP = 0.4, 60, 0.9 }),
		with(func(p *processing) {
			p.Repetition, p.Frequency, p.Presence, p.Temperature, p.TopK, p.TopP, p.MinP, p.TypicalP = 1.2, 0.3, 0.4, 0.8, 100, 0.97, 0.01, 0.9
			p.Bias = map[int32]float64{5: 2, 6: -3}
		}),
	}
}

// Adjusting and drawing follow transformers' own processors: the same tokens can
// be drawn, with the same log-probs.
func TestProcessorsAgainstTransformers(t *testing.T) {
	python := oracle(t, "FIREKEEP_PYTHON", ".venv/bin/python")
	rng := rand.New(rand.NewPCG(11, 4))
	jobs := shapes()
	for i := range jobs {
		jobs[i].Logits = randomLogits(rng, 300)
		for range 20 {
			jobs[i].Prompt = append(jobs[i].Prompt, int32(rng.IntN(300)))
			jobs[i].Tokens = append(jobs[i].Tokens, int32(rng.IntN(12))) // some often
		}
	}
	in, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/processors.py")
	var complaints bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &complaints
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, complaints.Bytes())
	}
	var want [][]*float64
	if err := json.Unmarshal(raw, &want); err != nil || len(want) != len(jobs) {
		t.Fatalf("%d answers, %v", len(want), err)
	}
	for i, job := range jobs {
		if i > 0 && sameDistribution(want[0], want[i]) {
			t.Fatalf("job %d asks for nothing", i)
		}
		checkProcessed(t, job, want[i])
	}
}

func sameDistribution(a, b []*float64) bool {
	return slices.EqualFunc(a, b, func(x, y *float64) bool { return (x == nil) == (y == nil) && (x == nil || *x == *y) })
}

// checkProcessed draws with evenly spread numbers: each token comes as often as
// its probability says.
func checkProcessed(t *testing.T, p processing, want []*float64) {
	t.Helper()
	name := fmt.Sprintf("repetition %g frequency %g presence %g bias %v temperature %g k %d p %g min %g typical %g",
		p.Repetition, p.Frequency, p.Presence, p.Bias, p.Temperature, p.TopK, p.TopP, p.MinP, p.TypicalP)
	r := &request{Request: Request{Prompt: p.Prompt}}
	s := &Sampler{model: tinyModel(1)}
	s.model.Config.Vocab = len(p.Logits)
	q := Request{Prompt: p.Prompt, RepetitionPenalty: p.Repetition, FrequencyPenalty: p.Frequency, PresencePenalty: p.Presence}
	for id, v := range p.Bias {
		q.Bias = append(q.Bias, Bias{id, v})
	}
	var err error
	if r.adjusting, err = s.acceptAdjusting(&q); err != nil {
		t.Fatal(err)
	}
	c := &completion{r: r, counts: map[int32]int{}}
	for _, id := range p.Tokens {
		c.counts[id]++
	}
	var ch chooser
	before := slices.Clone(p.Logits)
	d := drawing{p.Temperature, p.TopP, p.TopK, p.MinP, p.TypicalP}
	const draws = 20000
	counts := map[int32]int{}
	for i := range draws {
		id, lp, ok := ch.draw(ch.adjust(p.Logits, c), d, (float64(i)+0.5)/draws)
		if !ok || want[id] == nil || math.Abs(lp-*want[id]) > 2e-5 {
			t.Fatalf("%s: drew %d with log-prob %g (%v)", name, id, lp, ok)
		}
		counts[id]++
	}
	for id, lp := range want {
		if expected := 0.0; lp != nil {
			if expected = math.Exp(*lp) * draws; math.Abs(float64(counts[int32(id)])-expected) > 3 {
				t.Errorf("%s: token %d drawn %d times, want %.1f", name, id, counts[int32(id)], expected)
			}
		}
	}
	if !slices.Equal(before, p.Logits) {
		t.Errorf("%s: the model's logits were changed", name)
	}
}

// Penalties and biases act on what a sampler answers, from the completion's own
// tokens, also when it was paused, and leave the reported log-probs alone.
func TestAdjustedCompletions(t *testing.T) {
	pool := kernel.NewPool(2)
	defer pool.Close()
	s := New(pool, tinyModel(3), tinyTokenizer(t), Options{MaxContext: 128})
	base := Request{ID: 1, Prompt: prompt(5, 9), MaxTokens: 40, Temperature: 0, TopP: 1, Logprobs: true, IgnoreEOS: true}
	plain := serve(t, s, base)["1/0"].tokens
	most := func(tokens []Token) int {
		n, best := map[int32]int{}, 0
		for _, tk := range tokens {
			n[tk.ID]++
			best = max(best, n[tk.ID])
		}
		return best
	}
	if most(plain) < 3 {
		t.Fatalf("greedy decoding repeats nothing (%d): the test shows nothing", most(plain))
	}
	penalised := base
	penalised.FrequencyPenalty = 1e4
	if got := serve(t, s, penalised)["1/0"].tokens; most(got) != 1 || got[0].ID != plain[0].ID {
		t.Errorf("with a frequency penalty a token comes %d times", most(got))
	}
	present := base
	present.PresencePenalty = 1e4
	if got := serve(t, s, present)["1/0"].tokens; most(got) != 1 {
		t.Errorf("with a presence penalty a token comes %d times", most(got))
	}
	biased := base
	biased.Bias = []Bias{{42, 1e4}}
	got := serve(t, s, biased)["1/0"].tokens
	if got[0].ID != 42 || most(got) != len(got) {
		t.Errorf("with a bias: %+v", got[0])
	}
	if got[0].Logprob > -1e-3 || got[0].Logprob < -100 {
		t.Errorf("the log-prob of a biased token is %g, want the model's own", got[0].Logprob)
	}
	for name, cut := range map[string]func(*Request){"min_p": func(r *Request) { r.MinP = 1 }, "top_k": func(r *Request) { r.TopK = 1 }} {
		hot := base
		hot.Temperature = 2
		cut(&hot)
		if got := serve(t, s, hot)["1/0"].tokens; got[30].ID != plain[30].ID || got[39].ID != plain[39].ID {
			t.Errorf("with %s only the most probable token can be drawn, but another was", name)
		}
	}
	typical := base
	typical.Temperature, typical.TypicalP, typical.Seed = 1, 1e-9, seeded(1)
	one := serve(t, s, typical)["1/0"].tokens
	typical.Seed = seeded(2)
	if two := serve(t, s, typical)["1/0"].tokens; one[39].ID != two[39].ID || one[20].ID != two[20].ID {
		t.Error("with a tiny typical_p only the most typical token can be drawn, but another was")
	}
	repeated := base
	repeated.RepetitionPenalty = 5
	answer := serve(t, s, repeated)["1/0"].tokens
	if most(answer) >= most(plain) {
		t.Errorf("with a repetition penalty a token comes %d times, without %d times", most(answer), most(plain))
	}
}

// Bounds of penalties and biases are checked before anything is computed.
func TestAdjustingBounds(t *testing.T) {
	pool := kernel.NewPool(1)
	defer pool.Close()
	s := New(pool, tinyModel(3), tinyTokenizer(t), Options{MaxContext: 128})
	nan := math.NaN()
	for key, change := range map[string]func(*Request){
		"min_p":              func(r *Request) { r.MinP = 1.1 },
		"typical_p":          func(r *Request) { r.TypicalP = -0.1 },
		"repetition_penalty": func(r *Request) { r.RepetitionPenalty = -1 },
		"frequency_penalty":  func(r *Request) { r.FrequencyPenalty = nan },
		"presence_penalty":   func(r *Request) { r.PresencePenalty = math.Inf(1) },
		"logit_bias":         func(r *Request) { r.Bias = []Bias{{tinyVocab, 1}} },
		"echo_last":          func(r *Request) { r.EchoLast = -1 },
	} {
		r := Request{ID: 1, Prompt: prompt(1, 3), TopP: 1}
		change(&r)
		var p *engine.Problem
		if err := s.Submit(r, func(Event) {}); !errors.As(err, &p) || p.Key != key {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// EchoLast shows the prompt's last tokens, each with its log-prob.
func TestEchoLast(t *testing.T) {
	pool := kernel.NewPool(1)
	defer pool.Close()
	s := New(pool, tinyModel(3), tinyTokenizer(t), Options{MaxContext: 128})
	whole := Request{ID: 1, Prompt: prompt(5, 20), MaxTokens: 2, TopP: 1, Logprobs: true, Echo: true, IgnoreEOS: true}
	all := serve(t, s, whole)["1/0"]
	for _, n := range []int{1, 7, 20, 99} {
		last := whole
		last.EchoLast = n
		got := serve(t, s, last)["1/0"]
		n = min(n, 20)
		if got.first.Echoed != n || len(got.tokens) != n+2 || got.text != all.text[len(all.text)-len(got.text):] {
			t.Fatalf("last %d: %d echoed, %q", n, got.first.Echoed, got.text)
		}
		for i, tk := range got.tokens {
			if want := all.tokens[20-n+i]; tk.ID != want.ID || tk.Logprob != want.Logprob {
				t.Errorf("last %d: token %d is %d with %g, want %d with %g", n, i, tk.ID, tk.Logprob, want.ID, want.Logprob)
			}
		}
	}
}

// Command enginebench measures the engine for `make bench`: it prints one JSON
// line with seconds or rates and the process's own peak memory.
//
//	enginebench prepare -gguf FILE -out FILE
//	enginebench step -weights FILE -groups 4 -samples 8 -prompt 256 -completion 128 -threads 2
//	enginebench scale -class 1.7b -groups 1 -samples 8 -prompt 256 -completion 128 -threads 2
//	enginebench prefill -weights FILE -context 512 -threads 2
//	enginebench decode -weights FILE -sequences 8 -context 256 -tokens 64 -threads 2
//	echo forward 1280x576x576 | enginebench gemm -threads 2
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"syscall"
	"time"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/rows"
	"github.com/firekeep/firekeep/internal/engine/sample"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
	"github.com/firekeep/firekeep/internal/engine/token"
	"github.com/firekeep/firekeep/internal/engine/train"
)

type options struct {
	gguf, out, weights, level, precision, profile, class            string
	groups, samples, prompt, completion, threads, sequences, tokens int
	context, repeat, micro                                          int
	int8                                                            bool
}

func main() {
	var o options
	f := flag.NewFlagSet("enginebench", flag.ExitOnError)
	f.StringVar(&o.gguf, "gguf", "", "model to prepare")
	f.StringVar(&o.out, "out", "", "prepared file to write")
	f.StringVar(&o.weights, "weights", "", "prepared file")
	f.StringVar(&o.level, "level", "", "kernel level, default the best that works")
	f.StringVar(&o.precision, "precision", "float32", "float32 or bfloat16; prepare: write both")
	f.StringVar(&o.profile, "profile", "", "write a CPU profile")
	f.StringVar(&o.class, "class", "1.7b", "model made of random weights")
	f.IntVar(&o.groups, "groups", 4, "prompts")
	f.IntVar(&o.samples, "samples", 8, "samples per prompt")
	f.IntVar(&o.prompt, "prompt", 256, "prompt tokens")
	f.IntVar(&o.completion, "completion", 128, "completion tokens")
	f.IntVar(&o.threads, "threads", runtime.NumCPU(), "threads")
	f.IntVar(&o.sequences, "sequences", 1, "sequences decoded at once")
	f.IntVar(&o.context, "context", 256, "prompt tokens of each sequence")
	f.BoolVar(&o.int8, "int8", false, "decode from weights of one byte")
	f.IntVar(&o.tokens, "tokens", 64, "tokens decoded per sequence")
	f.IntVar(&o.repeat, "repeat", 1, "steps measured; the median counts")
	f.IntVar(&o.micro, "micro", 0, "tokens per micro-batch, 0 = the trainer's default")
	if len(os.Args) < 2 {
		f.Usage()
		os.Exit(2)
	}
	_ = f.Parse(os.Args[2:])
	if err := run(os.Args[1], &o); err != nil {
		fmt.Fprintln(os.Stderr, "enginebench:", err)
		os.Exit(1)
	}
}

func run(what string, o *options) error {
	level, err := choose(o.level, o.precision)
	if err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	verbs := map[string]func(*options) (map[string]any, error){"prepare": prepare, "step": step, "decode": decode, "prefill": prefill, "gemm": gemm, "scale": scale}
	verb, ok := verbs[what]
	if !ok {
		return fmt.Errorf("unknown verb %q", what)
	}
	out, err := verb(o)
	if err != nil {
		return err
	}
	u, err := usage()
	if err != nil {
		return err
	}
	out["level"], out["precision"], out["peak_bytes"] = level.String(), o.precision, u.Maxrss*1024
	return json.NewEncoder(os.Stdout).Encode(out)
}

func usage() (u syscall.Rusage, err error) {
	err = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u, err
}

// processorSeconds is what all threads of this process used so far.
func processorSeconds() (float64, error) {
	u, err := usage()
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9, err
}

// choose is what the engine does at start: the best level whose self-test passes.
func choose(want, precision string) (kernel.Level, error) {
	levels := kernel.Detect()
	if precision == "bfloat16" {
		levels = kernel.DetectBF16()
		if want == "" {
			levels = levels[:len(levels)-1] // without the oracle
		}
	}
	for _, l := range levels {
		if (want == "" || l.String() == want) && kernel.SelfTest(l) == nil {
			kernel.Use(l)
			return l, nil
		}
	}
	return 0, fmt.Errorf("no kernel level %q works here in %s", want, precision)
}

func prepare(o *options) (map[string]any, error) {
	f, err := os.Open(o.gguf)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var src tensorfile.Source
	ctx := context.Background()
	if err := src.Add(ctx, "model.gguf", st.Size(), f); err != nil {
		return nil, err
	}
	out, err := os.Create(o.out)
	if err != nil {
		return nil, err
	}
	whole := bufio.NewWriterSize(out, 8<<20) // as a server writes it: in pages as large
	begin := time.Now()
	info, err := tensorfile.Prepare(ctx, &src, whole, tensorfile.Options{Name: "bench", BFloat16: o.precision == "bfloat16"})
	if err == nil {
		err = whole.Flush()
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"seconds": time.Since(begin).Seconds(), "bytes": info.Size}, out.Close()
}

func open(o *options) (*tensorfile.Prepared, *model.Model, error) {
	f, err := os.Open(o.weights)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	flags := syscall.MAP_SHARED
	if o.precision == "float32" { // in bfloat16 most of the file is not read, by the engine's child neither
		flags |= syscall.MAP_POPULATE
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, int(st.Size()), syscall.PROT_READ, flags)
	if err != nil {
		return nil, nil, err
	}
	p, err := tensorfile.OpenPrepared(data)
	if err != nil {
		return nil, nil, err
	}
	m, err := model.Open(p)
	if err == nil && o.precision == "bfloat16" {
		m.UseBF16(kernel.NewPool(o.threads), make([]uint16, m.BF16Missing()))
	}
	return p, m, err
}

// synthetic makes the token ids that bench/peer_torch.py makes.
func synthetic(o *options, vocab int) []*rows.Encoded {
	state := 12345
	next := func() int32 {
		state = (state*1103515245 + 12345) & 0x7FFFFFFF
		return int32(3 + state%(vocab-3))
	}
	var groups []*rows.Encoded
	for range o.groups {
		prompt := make([]int32, o.prompt)
		for i := range prompt {
			prompt[i] = next()
		}
		g := &rows.Encoded{Line: int64(len(groups) + 1)}
		for i := range o.samples {
			s := rows.EncodedSample{IDs: slices.Clone(prompt), Scored: make([]bool, o.prompt+o.completion), Prompt: o.prompt, Reward: float64((len(groups) + i) % 2)}
			for t := range o.completion {
				s.IDs = append(s.IDs, next())
				s.Scored[o.prompt+t] = true
			}
			g.Samples = append(g.Samples, s)
		}
		groups = append(groups, g)
	}
	return groups
}

type quiet struct{}

func (quiet) Metrics(train.Metrics) error   { return nil }
func (quiet) Mark(train.Mark) error         { return nil }
func (quiet) Progress(train.Progress) error { return nil }
func (quiet) Warning(string) error          { return nil }

// step measures a whole job of one optimiser batch, like the peer: forward,
// backward, clipping and AdamW for every sample, weights already in memory.
func step(o *options) (map[string]any, error) {
	debug.SetGCPercent(50)
	_, m, err := open(o)
	if err != nil {
		return nil, err
	}
	pool := kernel.NewPool(o.threads)
	groups := synthetic(o, m.Config.Vocab)
	spec := engine.DefaultSpec("GRPO")
	spec.LoraRank, spec.LoraAlpha, spec.LearningRate, spec.BatchSize = 16, 32, 1e-5, 1<<30
	if o.samples == 1 { // nothing to compare a sample with in its group: every group would be dead
		spec.Baseline = "batch"
	}
	var seconds []float64
	tokens := int64(0)
	for i := range o.repeat + 1 { // the first, on one group, warms up
		use := groups
		if i == 0 && o.samples > 1 {
			use = groups[:1]
		}
		t, err := train.New(pool, m, spec, train.Options{BaseName: "bench", GroupsPerEpoch: int64(len(use)), MicroTokens: o.micro})
		if err != nil {
			return nil, err
		}
		if i == 1 {
			if err := o.startProfile(); err != nil {
				return nil, err
			}
		}
		begin := time.Now()
		r, err := t.Run(context.Background(), feed(use), quiet{})
		if err != nil {
			return nil, err
		}
		if took := time.Since(begin).Seconds(); i > 0 {
			seconds, tokens = append(seconds, took), r.Tokens
		}
		t = nil
		debug.FreeOSMemory() // the next job's memory is its own
	}
	slices.Sort(seconds)
	return map[string]any{"seconds": seconds[len(seconds)/2], "all": seconds, "tokens": tokens, "gflop": usefulWork(o, &m.Config, spec.LoraRank) / 1e9}, nil
}

// startProfile begins the CPU profile that -profile asks for.
func (o *options) startProfile() error {
	if o.profile == "" {
		return nil
	}
	f, err := os.Create(o.profile)
	if err != nil {
		return err
	}
	return pprof.StartCPUProfile(f)
}

// usefulWork is the number of floating-point operations of the matrix products
// that a step needs, each prompt computed once and no unseen key: base weights
// forward and for the gradient of their input, LoRA three times each way, the
// head for scored tokens, attention with 2 products forward and 5 backward.
func usefulWork(o *options, c *engine.Config, rank int) float64 {
	rows := o.prompt + o.samples*(o.completion-1)
	pairs := o.prompt * (o.prompt + 1) / 2
	for i := 1; i < o.completion; i++ {
		pairs += o.samples * (o.prompt + i)
	}
	base, lora := 0, 0
	for _, t := range engine.Targets {
		out, in := c.Linear(t)
		base += out * in
		lora += rank * (out + in)
	}
	blocks := float64(rows)*float64(4*base+6*lora) + float64(pairs)*float64(14*c.HeadDim*c.Heads)
	return float64(o.groups) * (float64(c.Layers)*blocks + 4*float64(c.Vocab*c.Hidden)*float64(o.samples*o.completion))
}

func feed(groups []*rows.Encoded) train.Source {
	i := 0
	return func(context.Context) (train.Group, error) {
		if i == len(groups) {
			return train.Group{Last: true}, nil
		}
		i++
		return train.Group{Rows: groups[i-1], Position: int64(i - 1)}, nil
	}
}

// sampler is one of the prepared weights.
func sampler(o *options, opts sample.Options) (*sample.Sampler, error) {
	p, m, err := open(o)
	if err != nil {
		return nil, err
	}
	tok, err := token.New(p.Tokenizer())
	if err != nil {
		return nil, err
	}
	return sample.New(kernel.NewPool(o.threads), m, tok, opts), nil
}

// request is the i-th, for so many tokens; its prompt begins like no other's.
func request(o *options, i, tokens int) sample.Request {
	prompt, seed := make([]int32, o.context), int64(i)
	for t := range prompt {
		prompt[t] = int32(10 + (t*7+i)%1000)
	}
	return sample.Request{ID: uint64(i + 1), Prompt: prompt, MaxTokens: tokens, Temperature: 1, TopP: 1, Seed: &seed, IgnoreEOS: true}
}

// prefill measures how fast prompts are read: from a request to its first token.
func prefill(o *options) (map[string]any, error) {
	s, err := sampler(o, sample.Options{MaxSequences: 1, MaxContext: o.context + 8})
	if err != nil {
		return nil, err
	}
	var rates []float64
	for i := range 4 { // the first warms up
		done, begin := false, time.Now()
		if err := s.Submit(request(o, i, 1), func(e sample.Event) { done = done || e.Finish != "" }); err != nil {
			return nil, err
		}
		for !done && s.Step() {
		}
		if i > 0 {
			rates = append(rates, float64(o.context)/time.Since(begin).Seconds())
		}
	}
	slices.Sort(rates)
	return map[string]any{"tokens_per_second": rates[len(rates)/2]}, nil
}

// decode measures sequences of different prompts after their prefill.
func decode(o *options) (map[string]any, error) {
	length := o.tokens + 4*o.sequences // the first to start decode while the last are prefilled
	s, err := sampler(o, sample.Options{MaxSequences: o.sequences, MaxContext: o.context + length + 8, Int8: o.int8})
	if err != nil {
		return nil, err
	}
	started, done := 0, 0
	for i := range o.sequences {
		seen := false
		if err := s.Submit(request(o, i, length), func(e sample.Event) {
			if e.Generated > 0 && !seen {
				seen = true
				started++
			}
			if e.Finish != "" {
				done++
			}
		}); err != nil {
			return nil, err
		}
	}
	for started < o.sequences && s.Step() {
	}
	if err := o.startProfile(); err != nil {
		return nil, err
	}
	begin := time.Now()
	passes, fastest := 0, math.Inf(1)
	for last := begin; passes < o.tokens && done == 0 && s.Step(); passes++ { // full batches only
		now := time.Now()
		fastest, last = min(fastest, now.Sub(last).Seconds()), now
	}
	return map[string]any{
		"tokens_per_second": float64(passes*o.sequences) / time.Since(begin).Seconds(), "passes": passes, "fastest_ms": 1e3 * fastest,
	}, nil
}

// gemm answers each line "forward|backward MxNxK" of standard input with the
// GFLOPS of y = x Wᵀ or dx = dy W: the bench alternates between us and a peer.
func gemm(o *options) (map[string]any, error) {
	pool := kernel.NewPool(o.threads)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var way string
		var m, n, k int
		if _, err := fmt.Sscanf(lines.Text(), "%s %dx%dx%d", &way, &m, &n, &k); err != nil {
			return nil, fmt.Errorf("line %q: %w", lines.Text(), err)
		}
		w := &kernel.Packed{N: n, K: k, Data: random(kernel.PackedLen(n, k))}
		if o.precision == "bfloat16" {
			w.BF16 = make([]uint16, kernel.BF16Len(n, k))
			kernel.PackBF16(w.BF16, w.Data, n, k)
		}
		x, y := random(m*k), random(m*n)
		if way == "forward" {
			fmt.Println(best(m, n, k, func() { pool.Forward(y, n, x, k, w, m, false) }))
		} else {
			fmt.Println(best(m, n, k, func() { pool.Backward(x, k, y, n, w, m, false) }))
		}
	}
	return map[string]any{}, lines.Err()
}

// best is the fastest of the runs of 0.3 s.
func best(m, n, k int, f func()) float64 {
	f()
	top := 0.0
	for spent := 0.0; spent < 0.3; {
		begin := time.Now()
		f()
		took := time.Since(begin).Seconds()
		spent += took
		top = max(top, 2e-9*float64(m)*float64(n)*float64(k)/took)
	}
	return top
}

func random(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = rand.Float32() - 0.5
	}
	return x
}

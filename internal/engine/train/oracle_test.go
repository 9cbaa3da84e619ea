package train

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// relative is the norm of a-b over that of b.
func relative(a, b []float32) float64 {
	if len(a) != len(b) {
		return math.Inf(1)
	}
	d, n := 0.0, 0.0
	for i := range a {
		x := float64(a[i]) - float64(b[i])
		d += x * x
		n += float64(b[i]) * float64(b[i])
	}
	return math.Sqrt(d / n)
}

func largestDifference(a, b []float32) float64 {
	top := 0.0
	for i := range a {
		top = max(top, math.Abs(float64(a[i])-float64(b[i])))
	}
	return top
}

func randomIDs(r *rand.Rand, vocab, n int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(3 + r.IntN(vocab-3))
	}
	return ids
}

func ourLogits(t *testing.T, m *model.Model, a *model.Adapter, ids []int32) []float32 {
	t.Helper()
	w := model.NewWorkspace(kernel.NewPool(2), m, len(ids))
	got, err := w.Logits(context.Background(), ids, a)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func peerLogits(t *testing.T, path, adapter string, ids []int32) []float32 {
	t.Helper()
	out := filepath.Join(t.TempDir(), "logits.safetensors")
	ask(t, nil, "logits", map[string]any{"model": path, "adapter": adapter, "ids": ids, "out": out})
	return tensors(t, out)["logits"]
}

// testLogits compares base and adapted logits, and that the adapter matters.
func testLogits(t *testing.T, s subject, n int) { t.Helper(); testLogitsWithin(t, s, n, 1e-3) }

func testLogitsWithin(t *testing.T, s subject, n int, within float64) {
	t.Helper()
	ids := randomIDs(rand.New(rand.NewPCG(1, 1)), s.model.Config.Vocab, n)
	base := ourLogits(t, s.model, nil, ids)
	if d := relative(base, peerLogits(t, s.path, "", ids)); !(d < within) {
		t.Errorf("base: logits differ from transformers' by %.2g", d)
	}
	adapted := ourLogits(t, s.model, s.readAdapter(t), ids)
	if d := relative(adapted, peerLogits(t, s.path, s.adapter, ids)); !(d < within) {
		t.Errorf("adapter: logits differ from PEFT's by %.2g", d)
	}
	if move := largestDifference(base, adapted); move < 0.1 {
		t.Errorf("the adapter moves logits by %.3g only: the comparison says nothing", move)
	}
}

// 300 positions lie far beyond the 64 at which the tiny model's rope is scaled.
func TestLogitsOfHuggingFaceDirectory(t *testing.T) { testLogits(t, tinySubject(t), 300) }
func TestLogitsOfDemoGGUF(t *testing.T)             { testLogits(t, demoSubject(t), 64) }

// peerSample is a sample as oracle.py reads it.
type peerSample struct {
	IDs      []int32   `json:"ids"`
	Scored   []int     `json:"scored"`
	Reward   float64   `json:"reward"`
	Logprobs []float64 `json:"logprobs,omitempty"` // of the scored tokens
}

func forPeer(g *rows.Encoded) []peerSample {
	var out []peerSample
	for i := range g.Samples {
		s := &g.Samples[i]
		p := peerSample{IDs: s.IDs, Reward: s.Reward, Logprobs: mu(s)}
		for _, m := range s.Scored {
			n := 0
			if m {
				n = 1
			}
			p.Scored = append(p.Scored, n)
		}
		out = append(out, p)
	}
	return out
}

// randomGroup is a group of n samples with a shared prompt, completions of
// different lengths, some unscored tokens, and different rewards.
func randomGroup(r *rand.Rand, vocab, n, prompt, completion int) *rows.Encoded {
	shared := randomIDs(r, vocab, prompt)
	g := &rows.Encoded{Line: 1}
	for i := range n {
		length := completion - i%3
		s := rows.EncodedSample{IDs: append(append([]int32{}, shared...), randomIDs(r, vocab, length)...), Prompt: prompt, Reward: math.Round(8*r.Float64()) / 8}
		s.Scored = make([]bool, len(s.IDs))
		for t := prompt; t < len(s.IDs); t++ {
			s.Scored[t] = (t-prompt)%5 != 3
		}
		g.Samples = append(g.Samples, s)
	}
	g.Samples[0].Reward = 1.25 // never constant
	return g
}

// testGradients compares every LoRA gradient of a packed forest with autograd's
// of one sample at a time.
func testGradients(t *testing.T, s subject, groups []*rows.Encoded) {
	t.Helper()
	testGradientsWithin(t, s, groups, 1e-3)
}

func testGradientsWithin(t *testing.T, s subject, groups []*rows.Encoded, within float64) {
	t.Helper()
	a := s.readAdapter(t)
	g := a.ZerosLike()
	var trees []*model.Tree
	var samples []peerSample
	var number [][]int // of tree and branch
	for _, e := range groups {
		var all, numbers []int
		for i := range e.Samples {
			all, numbers = append(all, i), append(numbers, len(samples)+i)
		}
		trees, number = append(trees, model.BuildTree(e, all)), append(number, numbers)
		samples = append(samples, forPeer(e)...)
	}
	w := model.NewWorkspace(kernel.NewPool(2), s.model, 512)
	err := w.Gradients(context.Background(), trees, a, g, func(tree, branch int, lp, _, grad []float64) {
		for i := range grad {
			grad[i] = math.Sin(1 + 7*float64(number[tree][branch]) + float64(i))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "gradients.safetensors")
	ask(t, nil, "gradients", map[string]any{"model": s.path, "adapter": s.adapter, "samples": samples, "out": out})
	want, worst := tensors(t, out), 0.0
	names := a.Names()
	for i, p := range g.Params() {
		d := relative(p, want["base_model.model."+names[i]+".weight"])
		worst = max(worst, d)
		if !(d < within) {
			t.Errorf("%s: the gradient differs by %.2g", names[i], d)
		}
	}
	if len(want) != len(names) {
		t.Errorf("the peer has %d gradients, we have %d", len(want), len(names))
	}
	t.Logf("%d gradients, worst relative difference %.2g", len(names), worst)
}

func TestGradientsOfTinyModel(t *testing.T) {
	s, r := tinySubject(t), rand.New(rand.NewPCG(2, 2))
	testGradients(t, s, []*rows.Encoded{randomGroup(r, 512, 4, 70, 30), randomGroup(r, 512, 3, 9, 12), randomGroup(r, 512, 1, 5, 40)})
}

func TestGradientsOfDemoModel(t *testing.T) {
	s, r := demoSubject(t), rand.New(rand.NewPCG(2, 3))
	vocab := s.model.Config.Vocab
	testGradients(t, s, []*rows.Encoded{randomGroup(r, vocab, 3, 24, 10), randomGroup(r, vocab, 2, 8, 12)})
}

// TestTrainingCurve makes ten updates, two per epoch, so that ratios leave 1
// and clips act, with KL and with log-probs of a sampler in part of the rows.
func TestTrainingCurve(t *testing.T) {
	testCurve(t, tinySubject(t), 5e-4)
}

func TestTrainingCurveOfDemoModel(t *testing.T) {
	if os.Getenv("FIREKEEP_LONG") != "1" {
		t.Skip("FIREKEEP_LONG=1 trains the demo model too")
	}
	testCurve(t, demoSubject(t), 2e-4)
}

func testCurve(t *testing.T, s subject, rate float64) {
	r := rand.New(rand.NewPCG(4, 4))
	a := s.readAdapter(t)
	var groups []*rows.Encoded
	for range 4 {
		groups = append(groups, randomGroup(r, s.model.Config.Vocab, 4, 12, 9))
	}
	scribble(t, s, a, groups[1], r)
	spec := engine.DefaultSpec("GRPO")
	spec.LoraRank, spec.LoraAlpha, spec.LearningRate, spec.KLBeta = a.Rank, a.Alpha, rate, 0.05
	spec.Epochs, spec.BatchSizeSamples, spec.MaxContextLength = 5, 8, 64
	config, blob := s.files(t)
	trainer, err := New(kernel.NewPool(2), s.model, spec, Options{BaseName: "base", AdapterConfig: config, Adapter: blob})
	if err != nil {
		t.Fatal(err)
	}
	log := &recorder{}
	if _, err := trainer.Run(context.Background(), sourceOf(groups, spec.Epochs, 0), log); err != nil {
		t.Fatal(err)
	}

	var peer struct{ Losses, Norms, Spread, Clipped []float64 }
	var batches [][]int
	for range spec.Epochs {
		batches = append(batches, []int{0, 1}, []int{2, 3})
	}
	var groupsForPeer [][]peerSample
	for _, g := range groups {
		groupsForPeer = append(groupsForPeer, forPeer(g))
	}
	out := filepath.Join(t.TempDir(), "trained.safetensors")
	ask(t, &peer, "train", map[string]any{"model": s.path, "adapter": s.adapter, "groups": groupsForPeer, "batches": batches, "lr": rate, "kl": spec.KLBeta, "out": out})
	if len(log.metrics) != 10 || len(peer.Losses) != 10 {
		t.Fatalf("%d updates, the peer made %d", len(log.metrics), len(peer.Losses))
	}
	clipped := 0.0
	for i, m := range log.metrics {
		if math.Abs(m.Loss-peer.Losses[i]) > 1e-3*max(1, math.Abs(peer.Losses[i])) || math.Abs(m.GradNorm-peer.Norms[i]) > 5e-3*peer.Norms[i] {
			t.Errorf("update %d: loss %.6f, norm %.5f; the peer has %.6f, %.5f", i+1, m.Loss, m.GradNorm, peer.Losses[i], peer.Norms[i])
		}
		clipped += m.ClipFraction
	}
	if peer.Spread[9] < 0.05 || clipped == 0 {
		t.Errorf("ratios leave 1 by %.3f only, %.3f clipped: the comparison says little", peer.Spread[9], clipped)
	}
	want, before, change, apart := tensors(t, out), a.Params(), 0.0, 0.0
	for i, p := range trainer.adapter.Params() {
		w := want["base_model.model."+a.Names()[i]+".weight"]
		for j := range p {
			d, e := float64(w[j]-before[i][j]), float64(p[j]-w[j])
			change += d * d
			apart += e * e
		}
	}
	if d := math.Sqrt(apart / change); !(d < 0.02) {
		t.Errorf("the adapter's change differs from the peer's by %.2g of it", d)
	} else {
		t.Logf("losses %.4f .. %.4f, clipped %.3f, spread %.2f, change differs by %.2g", peer.Losses[0], peer.Losses[9], clipped, peer.Spread[9], d)
	}
}

// scribble gives a group log-probs of a sampler that differs a little from the policy.
func scribble(t *testing.T, s subject, a *model.Adapter, g *rows.Encoded, r *rand.Rand) {
	t.Helper()
	w := model.NewWorkspace(kernel.NewPool(2), s.model, 64)
	err := w.LogProbs(context.Background(), []*model.Tree{model.BuildTree(g, []int{0, 1, 2, 3})}, a, func(_, branch int, lp []float64) {
		x := &g.Samples[branch]
		x.Logprobs = make([]float64, len(x.IDs))
		n := 0
		for i := range x.IDs {
			x.Logprobs[i] = math.NaN()
			if x.Scored[i] {
				x.Logprobs[i] = lp[n] + r.NormFloat64()/2
				n++
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPEFTLoadsOurAdapter: what we write, PEFT computes with as we do.
func TestPEFTLoadsOurAdapter(t *testing.T) {
	s := tinySubject(t)
	a := s.readAdapter(t)
	for _, p := range a.Params() { // no longer PEFT's own values
		for i := range p {
			p[i] *= 1 + float32(i%7)/8
		}
	}
	dir := t.TempDir()
	writeAdapter(t, dir, a)
	ids := randomIDs(rand.New(rand.NewPCG(5, 5)), 512, 40)
	if d := relative(ourLogits(t, s.model, a, ids), peerLogits(t, s.path, dir, ids)); !(d < 1e-3) {
		t.Errorf("PEFT's logits with our adapter differ by %.2g", d)
	}
}

func writeAdapter(t *testing.T, dir string, a *model.Adapter) {
	t.Helper()
	config, err := os.Create(filepath.Join(dir, "adapter_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer config.Close()
	blob, err := os.Create(filepath.Join(dir, "adapter_model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if err := a.WritePEFT(config, blob, "base"); err != nil {
		t.Fatal(err)
	}
}

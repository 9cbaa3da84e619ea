package train

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// TestPairsAgainstPyTorch: the first gradient of every LoRA tensor, and ten
// updates of DPO and of ORPO, against autograd on one pair at a time.
func TestPairsAgainstPyTorch(t *testing.T) {
	s := tinySubject(t)
	for method, weight := range map[string]float64{"DPO": 0.2, "ORPO": 1.5} {
		t.Run(method, func(t *testing.T) { testPairs(t, s, method, weight) })
	}
}

func testPairs(t *testing.T, s subject, method string, weight float64) {
	r := rand.New(rand.NewPCG(8, 4))
	var groups []*rows.Encoded
	var forThem [][]peerSample
	for range 4 {
		g := randomGroup(r, s.model.Config.Vocab, 2, 12, 11)
		g.Samples[1].Reward = 0
		groups, forThem = append(groups, g), append(forThem, forPeer(g))
	}
	a := s.readAdapter(t)
	spec := engine.DefaultSpec(method)
	spec.LoraRank, spec.LoraAlpha, spec.LearningRate, spec.DPOBeta, spec.ORPOLambda = a.Rank, a.Alpha, 5e-4, weight, weight
	spec.Epochs, spec.BatchSizeSamples, spec.MaxContextLength = 5, 4, 64
	config, blob := s.files(t)
	// A pair per micro-batch: what one learns comes from the others' pass too.
	trainer, err := New(kernel.NewPool(2), s.model, spec, Options{BaseName: "base", AdapterConfig: config, Adapter: blob, MicroTokens: 1})
	if err != nil {
		t.Fatal(err)
	}
	log := &recorder{}
	var first [][]float32
	log.onMark = func(m Mark) error {
		if m.Update == 1 {
			for _, p := range trainer.gradient.Params() {
				first = append(first, append([]float32(nil), p...))
			}
		}
		return nil
	}
	if _, err := trainer.Run(context.Background(), sourceOf(groups, spec.Epochs, 0), log); err != nil {
		t.Fatal(err)
	}
	var batches [][]int
	for range spec.Epochs {
		batches = append(batches, []int{0, 1}, []int{2, 3})
	}
	var peer struct{ Losses, Norms, Margins []float64 }
	out, gradients := filepath.Join(t.TempDir(), "trained.safetensors"), filepath.Join(t.TempDir(), "gradients.safetensors")
	ask(t, &peer, "pairs", map[string]any{"model": s.path, "adapter": s.adapter, "method": method, "weight": weight, "groups": forThem,
		"batches": batches, "lr": spec.LearningRate, "out": out, "gradients": gradients})
	if len(log.metrics) != 10 || len(peer.Losses) != 10 {
		t.Fatalf("%d updates, the peer made %d", len(log.metrics), len(peer.Losses))
	}
	for i, m := range log.metrics {
		if math.Abs(m.Loss-peer.Losses[i]) > 1e-3*max(1, peer.Losses[i]) || math.Abs(m.PairMargin-peer.Margins[i]) > 2e-3*max(1, math.Abs(peer.Margins[i])) ||
			math.Abs(m.GradNorm-peer.Norms[i]) > 5e-3*peer.Norms[i] {
			t.Errorf("update %d: loss %.6f margin %.5f norm %.5f; the peer has %.6f, %.5f, %.5f", i+1, m.Loss, m.PairMargin, m.GradNorm, peer.Losses[i], peer.Margins[i], peer.Norms[i])
		}
	}
	if fall := peer.Losses[0] - peer.Losses[8]; fall < 0.05 {
		t.Errorf("the peer's loss falls by %.4f only: the comparison says little", fall)
	}
	scale := min(1, spec.MaxGradNorm/(peer.Norms[0]+1e-6)) // the optimiser has scaled ours in place
	unscaled, scaled := 0.0, 0.0
	want, trained := tensors(t, gradients), tensors(t, out)
	for i, p := range first {
		w := append([]float32(nil), want["base_model.model."+a.Names()[i]+".weight"]...)
		unscaled = max(unscaled, relative(p, w))
		for j := range w {
			w[j] *= float32(scale)
		}
		scaled = max(scaled, relative(p, w))
	}
	if d := min(unscaled, scaled); !(d < 1e-3) || len(first) != len(want) {
		t.Errorf("the gradients differ by %.2g", d)
	}
	for i, p := range trainer.adapter.Params() {
		if d := relative(p, trained["base_model.model."+a.Names()[i]+".weight"]); !(d < 5e-3) {
			t.Errorf("%s differs by %.2g after ten updates", a.Names()[i], d)
		}
	}
	t.Logf("%s: losses %.4f .. %.4f, margin %.3f .. %.3f", method, peer.Losses[0], peer.Losses[9], peer.Margins[0], peer.Margins[9])
}

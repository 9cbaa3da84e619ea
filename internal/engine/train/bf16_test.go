package train

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// Bounds of bfloat16 against PyTorch in float32, relative to the norm.
const (
	bf16Logits    = 2e-2
	bf16Gradients = 8e-2
)

// inBF16 runs f on every level that multiplies bfloat16 here; the scalar
// reference only where small models are computed.
func inBF16(t *testing.T, small bool, f func(t *testing.T)) {
	best := kernel.Active()
	defer kernel.Use(best)
	have := kernel.DetectBF16()
	for _, l := range []kernel.Level{kernel.LevelAMX, kernel.LevelAVX512BF16, kernel.LevelGo} {
		if l == kernel.LevelGo && !small {
			continue
		}
		t.Run(l.String(), func(t *testing.T) {
			for _, h := range have {
				if h != l {
					continue
				}
				if err := kernel.SelfTest(l); err != nil {
					t.Skip(err)
				}
				kernel.Use(l)
				f(t)
				return
			}
			t.Skipf("this processor does not have %v", l)
		})
	}
}

// rounded is s with weights of its own in bfloat16: other tests share s.
func (s subject) rounded() subject {
	m, own := *s.model, map[*kernel.Packed]*kernel.Packed{}
	clone := func(w *kernel.Packed) *kernel.Packed {
		if own[w] == nil && w != nil {
			c := *w
			own[w] = &c
		}
		return own[w]
	}
	m.Embed, m.Head, m.Layers = clone(m.Embed), clone(m.Head), slices.Clone(m.Layers)
	for l := range m.Layers {
		for i := range m.Layers[l].Linear {
			m.Layers[l].Linear[i] = clone(m.Layers[l].Linear[i])
		}
	}
	s.model = &m
	s.model.UseBF16(kernel.NewPool(2), make([]uint16, s.model.BF16Missing()))
	return s
}

func TestBF16LogitsOfHuggingFaceDirectory(t *testing.T) {
	inBF16(t, true, func(t *testing.T) { testLogitsWithin(t, tinySubject(t).rounded(), 300, bf16Logits) })
}

func TestBF16LogitsOfDemoGGUF(t *testing.T) {
	inBF16(t, false, func(t *testing.T) { testLogitsWithin(t, demoSubject(t).rounded(), 64, bf16Logits) })
}

func TestBF16GradientsOfTinyModel(t *testing.T) {
	inBF16(t, true, func(t *testing.T) {
		s, r := tinySubject(t).rounded(), rand.New(rand.NewPCG(2, 2))
		testGradientsWithin(t, s, []*rows.Encoded{randomGroup(r, 512, 4, 70, 30), randomGroup(r, 512, 3, 9, 12), randomGroup(r, 512, 1, 5, 40)}, bf16Gradients)
	})
}

func TestBF16GradientsOfDemoModel(t *testing.T) {
	inBF16(t, false, func(t *testing.T) {
		s, r := demoSubject(t).rounded(), rand.New(rand.NewPCG(2, 3))
		vocab := s.model.Config.Vocab
		testGradientsWithin(t, s, []*rows.Encoded{randomGroup(r, vocab, 3, 24, 10), randomGroup(r, vocab, 2, 8, 12)}, bf16Gradients)
	})
}

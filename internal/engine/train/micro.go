package train

import (
	"math"

	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/rl"
	"github.com/firekeep/firekeep/internal/engine/rows"
)

// liveSample is a sample that goes through the model.
type liveSample struct {
	*rows.EncodedSample
	adv   float64
	slope float64   // of a method of pairs: d loss / d lp of each scored token
	mu    []float64 // log-probs of the scored tokens under the sampler; nil without
}

// tree is a model tree with its samples, one per branch.
type tree struct {
	*model.Tree
	samples []liveSample
}

// micro is what goes through the model at once.
type micro []tree

// live says whether a sample of it carries a gradient.
func (t *Trainer) live(it *item, i int) bool {
	if scores(&it.Samples[i]) == 0 {
		return false
	}
	return !rl.Grouped(t.spec.Method) || t.spec.KLBeta > 0 || it.adv[i] != 0
}

// micros divides the live samples of a batch. A group stays one tree, however
// large: the workspace computes it in waves.
func (t *Trainer) micros(b *batch) []micro {
	var out []micro
	tokens := 0
	for i := range b.items {
		live := t.lives(&b.items[i])
		if len(live) == 0 {
			continue
		}
		tr := t.tree(&b.items[i], live)
		n := tr.Computed()
		if len(out) == 0 || tokens+n > t.microTokens {
			out = append(out, nil)
			tokens = 0
		}
		out[len(out)-1] = append(out[len(out)-1], tr)
		tokens += n
	}
	return out
}

// lives lists the samples of an item that carry a gradient.
func (t *Trainer) lives(it *item) []int {
	var live []int
	for i := it.first; i < it.end; i++ {
		if t.live(it, i) {
			live = append(live, i)
		}
	}
	return live
}

func (t *Trainer) tree(it *item, samples []int) tree {
	out := tree{Tree: model.BuildTree(it.Encoded, samples)}
	for _, i := range samples {
		s := liveSample{EncodedSample: &it.Samples[i], mu: mu(&it.Samples[i])}
		if it.adv != nil {
			s.adv = it.adv[i]
		}
		out.samples = append(out.samples, s)
	}
	return out
}

// models lists the model's trees.
func (m micro) models() []*model.Tree {
	out := make([]*model.Tree, len(m))
	for i := range m {
		out[i] = m[i].Tree
	}
	return out
}

// scores counts the scored tokens of a sample.
func scores(s *rows.EncodedSample) int {
	n := 0
	for _, scored := range s.Scored {
		if scored {
			n++
		}
	}
	return n
}

// mu returns the sampler's log-probs of the scored tokens; nil when any is
// missing, for they are never filled in.
func mu(s *rows.EncodedSample) []float64 {
	if s.Logprobs == nil {
		return nil
	}
	out := make([]float64, 0, len(s.Logprobs))
	for i, scored := range s.Scored {
		if scored {
			if math.IsNaN(s.Logprobs[i]) {
				return nil
			}
			out = append(out, s.Logprobs[i])
		}
	}
	return out
}

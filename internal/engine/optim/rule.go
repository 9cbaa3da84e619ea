package optim

import (
	"math"

	"github.com/firekeep/firekeep/internal/engine"
)

// rule holds the hyper-parameters of the update.
type rule struct {
	lr, beta1, beta2, epsilon, decay, maxNorm float64
	warmup                                    int
}

func ruleOf(s *engine.Spec) rule {
	return rule{
		lr: s.LearningRate, beta1: s.Beta1, beta2: s.Beta2, epsilon: s.Epsilon,
		decay: s.WeightDecay, maxNorm: s.MaxGradNorm, warmup: s.WarmupSteps,
	}
}

// step is the rule at one update: everything that all elements share.
type step struct {
	scale        float64 // of the gradients: the clipping of their norm
	lr           float64
	keep         float64 // factor of the decoupled decay
	beta1, beta2 float64
	bias1, bias2 float64 // 1 - beta^u
	epsilon      float64
}

// at returns update u (from 1) for gradients of the given global norm.
// A maxNorm of 0 switches clipping off.
func (r rule) at(u int64, norm float64) step {
	s := step{
		scale: 1, lr: r.lr, beta1: r.beta1, beta2: r.beta2, epsilon: r.epsilon,
		bias1: 1 - math.Pow(r.beta1, float64(u)), bias2: 1 - math.Pow(r.beta2, float64(u)),
	}
	if r.maxNorm > 0 {
		s.scale = min(1, r.maxNorm/(norm+normEpsilon))
	}
	if r.warmup > 0 {
		s.lr *= min(1, float64(u)/float64(r.warmup))
	}
	s.keep = 1 - s.lr*r.decay
	return s
}

// apply updates the weights w and the moments m, v of one tensor in place from
// its gradient g; a nil g is zero. The decay comes first, the epsilon after the
// root.
func apply[T float32 | float64](s step, w, g, m, v []T) {
	for i := range w {
		x := 0.0
		if g != nil {
			x = float64(g[i]) * s.scale
		}
		first := s.beta1*float64(m[i]) + (1-s.beta1)*x
		second := s.beta2*float64(v[i]) + (1-s.beta2)*x*x
		m[i], v[i] = T(first), T(second)
		move := first / s.bias1 / (math.Sqrt(second/s.bias2) + s.epsilon)
		w[i] = T(float64(w[i])*s.keep - s.lr*move)
	}
}

// globalNorm is the L2 norm over all tensors, summed per tensor and then over
// the tensors in order.
func globalNorm[T float32 | float64](grads [][]T) float64 {
	total := 0.0
	for _, g := range grads {
		sum := 0.0
		for _, x := range g {
			sum += float64(x) * float64(x)
		}
		total += sum
	}
	return math.Sqrt(total)
}

package kernel

import "math"

// Dot returns the sum of a[i]*b[i]; len(b) >= len(a).
func Dot(a, b []float32) float32 { return active.dot(a, b[:len(a)]) }

// Axpy adds a*x to y; len(y) >= len(x).
func Axpy(y, x []float32, a float32) { active.axpy(y[:len(x)], x, a) }

// Add adds x to y; len(y) >= len(x).
func Add(y, x []float32) { active.add(y[:len(x)], x) }

// Scale multiplies x by a.
func Scale(x []float32, a float32) { active.scale(x, a) }

// SumSquares returns the sum of x[i]^2, accumulated in float64.
func SumSquares(x []float32) float64 { return active.sumSquares(x) }

// Max returns the largest x[i], -Inf for no x, NaN if any x[i] is NaN.
func Max(x []float32) float32 { return active.max(x) }

// ExpSub sets y[i] = exp(x[i]-c) and returns the sum of y, accumulated in
// float64; y may be x. Results below the normal float32 range become zero.
func ExpSub(y, x []float32, c float32) float64 { return active.expSub(y[:len(x)], x, c) }

// SoftmaxBackward replaces scores p by probabilities exp(p[i]-lse), and the gradients
// dp of these by those of the scores, p[i] * (dp[i] - d); len(dp) >= len(p).
func SoftmaxBackward(p, dp []float32, lse, d float32) { active.softmaxBack(p, dp[:len(p)], lse, d) }

// Softmax replaces x by exp(x) / sum(exp(x)). x[i] = -Inf gives an exact zero.
func Softmax(x []float32) {
	if len(x) > 0 {
		Scale(x, float32(1/ExpSub(x, x, Max(x))))
	}
}

// LogSumExp returns log(sum(exp(x))). It leaves x alone and needs no memory.
func LogSumExp(x []float32) float64 {
	if len(x) == 0 {
		return math.Inf(-1)
	}
	c := Max(x)
	if math.IsInf(float64(c), -1) {
		return math.Inf(-1)
	}
	s := takeScratch()
	y := s.rows[:256]
	sum := 0.0
	for len(x) > 0 {
		n := min(len(x), len(y))
		sum += active.expSub(y[:n], x[:n], c)
		x = x[n:]
	}
	s.release()
	return float64(c) + math.Log(sum)
}

// RMSNorm sets y[i] = w[i] * (x[i] * inv) with inv = 1/sqrt(mean(x^2) + eps),
// and returns inv for the backward pass. y may be x.
func RMSNorm(y, x, w []float32, eps float64) (inv float32) {
	inv = float32(1 / math.Sqrt(SumSquares(x)/float64(len(x))+eps))
	active.normApply(y[:len(x)], x, w[:len(x)], inv)
	return inv
}

// RMSNormBackward adds to dx the gradient of RMSNorm's input, given the
// gradient dy of its output, its input x and the inv it returned:
//
//	dx[i] += inv * w[i]*dy[i] - x[i] * inv^3/n * sum(w*dy*x)
func RMSNormBackward(dx, dy, x, w []float32, inv float32) {
	n := len(x)
	dx, dy, w = dx[:n], dy[:n], w[:n]
	i := float64(inv)
	active.normBack(dx, dy, x, w, inv, float32(active.dot3(w, dy, x)*i*i*i/float64(n)))
}

// SiLUMul sets out[i] = silu(gate[i]) * up[i], silu(g) = g / (1 + exp(-g)).
// out may be gate or up.
func SiLUMul(out, gate, up []float32) {
	active.siluMul(out[:len(gate)], gate, up[:len(gate)])
}

// SiLUMulBackward sets the gradients of SiLUMul's inputs from that of its
// output: dup = dout * silu(gate), dgate = dout * up * silu'(gate), where
// silu'(g) = s * (1 + g*(1-s)), s = 1/(1 + exp(-g)). dgate and dup may be any
// of the inputs, but not each other.
func SiLUMulBackward(dgate, dup, dout, gate, up []float32) {
	n := len(gate)
	active.siluMulBack(dgate[:n], dup[:n], dout[:n], gate, up[:n])
}

// Rope rotates the pairs (x[i], x[i+d/2]) of one head, d = len(x), by the
// angles whose cosines and sines are cos[i], sin[i], i < d/2.
func Rope(x, cos, sin []float32) {
	h := len(x) / 2
	active.rotate(x[:h], x[h:2*h], cos[:h], sin[:h])
}

// RopeBackward is the gradient of Rope: the rotation by the opposite angles.
func RopeBackward(x, cos, sin []float32) {
	h := len(x) / 2
	active.rotateBack(x[:h], x[h:2*h], cos[:h], sin[:h])
}

package kernel

import "math"

// The scalar references: what each vector function means, and what LevelGo
// runs. Slices of one call have equal lengths.

func dotGo(a, b []float32) float32 {
	var s float32
	for i, v := range a {
		s += float32(v * b[i])
	}
	return s
}

func axpyGo(y, x []float32, a float32) {
	for i, v := range x {
		y[i] += float32(a * v)
	}
}

func addGo(y, x []float32) {
	for i, v := range x {
		y[i] += v
	}
}

func scaleGo(x []float32, a float32) {
	for i := range x {
		x[i] *= a
	}
}

func sumSquaresGo(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(float64(v) * float64(v))
	}
	return s
}

// dot3Go is the sum of a*b*c in float64, a*b rounded to float32.
func dot3Go(a, b, c []float32) float64 {
	var s float64
	for i, v := range a {
		s += float64(float64(float32(v*b[i])) * float64(c[i]))
	}
	return s
}

func normApplyGo(y, x, w []float32, inv float32) {
	for i, v := range x {
		y[i] = w[i] * float32(v*inv)
	}
}

// normBackGo: dx += inv*(w*dy) - c*x.
func normBackGo(dx, dy, x, w []float32, inv, c float32) {
	for i, v := range x {
		g := float32(inv * float32(w[i]*dy[i]))
		dx[i] += float32(g - float32(c*v))
	}
}

func sigmoid(g float32) float32 {
	return float32(1 / (1 + math.Exp(-float64(g))))
}

func siluMulGo(out, gate, up []float32) {
	for i, g := range gate {
		out[i] = float32(g*sigmoid(g)) * up[i]
	}
}

func siluMulBackGo(dgate, dup, dout, gate, up []float32) {
	for i, g := range gate {
		s, d, u := sigmoid(g), dout[i], up[i]
		silu := float32(g * s)
		// silu' = s + silu*(1-s): no overflow for any g.
		dgate[i] = float32(d*u) * float32(s+float32(silu*float32(1-s)))
		dup[i] = d * silu
	}
}

func rotateGo(lo, hi, cos, sin []float32) {
	for i, a := range lo {
		b := hi[i]
		lo[i] = float32(a*cos[i]) - float32(b*sin[i])
		hi[i] = float32(b*cos[i]) + float32(a*sin[i])
	}
}

func rotateBackGo(lo, hi, cos, sin []float32) {
	for i, a := range lo {
		b := hi[i]
		lo[i] = float32(a*cos[i]) + float32(b*sin[i])
		hi[i] = float32(b*cos[i]) - float32(a*sin[i])
	}
}

// smallestNormal is the least positive normal float32.
const smallestNormal = 0x1p-126

func expSubGo(y, x []float32, c float32) float64 {
	var sum float64
	for i, v := range x {
		e := float32(math.Exp(float64(v - c)))
		if e < smallestNormal {
			e = 0
		}
		y[i] = e
		sum += float64(e)
	}
	return sum
}

func softmaxBackGo(p, dp []float32, lse, d float32) {
	expSubGo(p, p, lse)
	for i, v := range dp {
		dp[i] = p[i] * (v - d)
	}
}

func maxGo(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		m = max(m, v)
	}
	return m
}

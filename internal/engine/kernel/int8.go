package kernel

import "math"

// Packed8 is a weight matrix W [N, K] in int8, in the panels of Packed, with a
// scale per output: W[i][k] is about Scale[i] * Data[p][k][j], i = p*Panel+j.
// Decoding reads a quarter of the bytes; what it costs is in docs/performance.md.
type Packed8 struct {
	N, K  int
	Data  []int8
	Scale []float32 // of each output, up to a whole panel
}

// Quantize rounds w to int8: an output's largest weight becomes 127.
func Quantize(w *Packed) *Packed8 {
	q := &Packed8{N: w.N, K: w.K, Data: make([]int8, PackedLen(w.N, w.K)), Scale: make([]float32, PackedLen(w.N, 1))}
	room := make([]float32, Panel*w.K)
	var panel []float32
	for i := range q.Scale {
		if i%Panel == 0 {
			panel = w.Floats(room, i/Panel)
		}
		at, top := i/Panel*Panel*w.K+i%Panel, float32(0)
		for k := range w.K {
			top = max(top, float32(math.Abs(float64(panel[k*Panel+i%Panel]))))
		}
		if top == 0 || math.IsInf(float64(top), 0) || top != top {
			continue // nothing to round, or nothing that a byte could say
		}
		q.Scale[i] = top / 127
		for k := range w.K {
			q.Data[at+k*Panel] = int8(math.RoundToEven(float64(panel[k*Panel+i%Panel]) * 127 / float64(top)))
		}
	}
	return q
}

// FastInt8 says whether the level in use multiplies by int8 weights faster than
// by float32 ones.
func FastInt8() bool { return active.fastInt8 }

// few8Func is a fewFunc of a whole depth of int8 weights: c[i, j] is
// scale[j] * sum over k of a[i*rs+k] * b[k*Panel+j], or that added to it.
type few8Func func(c []float32, ldc int, a []float32, rs int, b []int8, k, rows, cols int, scale []float32, ahead []int8, step int, acc bool)

// Panels computes the panels [p0, p1) of y[m, N] (+)= x[m, K] W^T. The sum over
// k is one chain, as everywhere; it is scaled once, at its end.
func (w *Packed8) Panels(y []float32, ldy int, x []float32, ldx, m, p0, p1 int, acc bool) {
	if m == 0 || p0 >= p1 {
		return
	}
	if w.K == 0 || p0 < 0 || p1*Panel-Panel >= w.N || ldy < w.N && m > 1 {
		panic("kernel: impossible shape of a product")
	}
	_, _, _, _ = y[(m-1)*ldy+min(p1*Panel, w.N)-1], x[(m-1)*ldx+w.K-1], w.Data[p1*Panel*w.K-1], w.Scale[p1*Panel-1]
	t := active
	rows := evenly(m, t.rows, 1)
	strips := (m + rows - 1) / rows
	for p := p0; p < p1; p++ {
		cols, at := min(Panel, w.N-p*Panel), p*w.K*Panel
		for i := 0; i < m; i += rows {
			ahead, step := at+4*t.lookAhead, Panel
			if strips > 1 {
				ahead, step = at+w.K*Panel+i/rows*w.K*Panel/strips, Panel/strips
			}
			t.few8(y[i*ldy+p*Panel:], ldy, x[i*ldx:], ldx, w.Data[at:], w.K, min(rows, m-i), cols, w.Scale[p*Panel:],
				w.Data[min(ahead, len(w.Data)-1):], step, acc)
		}
	}
}

// few8Go is the reference of few8Func.
func few8Go(c []float32, ldc int, a []float32, rs int, b []int8, k, rows, cols int, scale []float32, _ []int8, _ int, acc bool) {
	for i := range rows {
		for j := range cols {
			s := float32(0)
			for kk := range k {
				s += float32(a[i*rs+kk] * float32(b[kk*Panel+j]))
			}
			s = float32(s * scale[j]) // never fused with the sum below
			if acc {
				s += c[i*ldc+j]
			}
			c[i*ldc+j] = s
		}
	}
}

// Package kernel holds the float32 kernels of the engine. Every function has a
// scalar Go reference that is its documentation and its oracle; assembly for
// AVX2 and AVX-512 is chosen once at start by detection plus self-test.
//
// The k-order rule: each output element of a matrix product is accumulated in
// float32 by one chain of fused multiply-adds over k = 0, 1, 2, ..., so the
// result does not depend on M, on batching, on blocking or on the number of
// threads, only on the level.
//
// Matrices are row-major float32 with a leading dimension (elements between
// rows). m, n, k are rows of the result, columns of the result, depth.
package kernel

// Panel is the number of output rows of W that one packed panel holds.
const Panel = 32

// Packed is a weight matrix W [N, K] (N outputs, K inputs) in panels:
// Data[p][k][j] = W[p*Panel+j][k], p < ceil(N/Panel), rows past N are zero.
// The layout is the same for every level, so prepared files are too.
type Packed struct {
	N, K int
	Data []float32
}

// PackedLen is the length of Data for W [n, k].
func PackedLen(n, k int) int { return (n + Panel - 1) / Panel * Panel * k }

// Pack writes w [n, k] row-major into dst (length PackedLen(n, k)).
func Pack(dst, w []float32, n, k int) {
	for p := 0; p*Panel < n; p++ {
		d := dst[p*Panel*k:]
		for j := range Panel {
			row := p*Panel + j
			for i := range k {
				v := float32(0)
				if row < n {
					v = w[row*k+i]
				}
				d[i*Panel+j] = v
			}
		}
	}
}

// Row copies row i of W (K values) into dst: an embedding lookup.
func (w *Packed) Row(dst []float32, i int) {
	d := w.Data[i/Panel*Panel*w.K+i%Panel:]
	for k := range w.K {
		dst[k] = d[k*Panel]
	}
}

// Package kernel holds the kernels of the engine: float32, and products in
// bfloat16 with weights packed for them (bf16.go). Every function has a
// scalar Go reference that is its documentation and its oracle; assembly for
// AVX2 and AVX-512 is chosen once at start by detection plus self-test.
//
// Matrices are row-major float32 with a leading dimension (elements between
// rows). m, n, k are rows of the result, columns of the result, depth.
//
// # The k-order rule
//
// Every output element of every matrix product is one chain
//
//	s = old c if acc, else 0
//	for k = 0, 1, 2, ...: s = s + a[k] * (alpha * b[k])
//	c = s
//
// in float32, where b is the operand whose rows or columns become the columns
// of the result (the weights in Forward and Backward, which have no alpha), and
// alpha * b[k] is rounded once. LevelAVX2, LevelAVX512 and LevelNEON fuse the
// multiply and the add; LevelGo rounds both. Blocking over k stores and reloads s, which is
// exact, so a result depends on the level only, never on m, on the batch, on
// blocking, on alignment or on the number of threads; and two levels differ by
// at most 2 k eps sum|a||alpha b|, eps = 2^-24, the usual bound of a chain.
// Vector functions obey the same contract: their bits depend on the level, the
// values and the length. LevelNEON gives the bits of LevelAVX2 in every kernel.
package kernel

// Panel is the number of output rows of W that one packed panel holds.
const Panel = 32

// Packed is a weight matrix W [N, K] (N outputs, K inputs) in panels:
// Data[p][k][j] = W[p*Panel+j][k], p < ceil(N/Panel), rows past N are zero.
// The layout is the same for every level, so prepared files are too.
type Packed struct {
	N, K int
	Data []float32
	// Coding says how Data holds the weights, if not as above: see coded.go.
	Coding Coding
	// BF16 holds the same weights rounded to bfloat16; see bf16.go. Where it is
	// set, Forward and Backward multiply in bfloat16 and leave Data alone.
	BF16 []uint16
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
	if w.Coding.Kind == Plain {
		for k, d := 0, w.Data[w.at(i/Panel, 0)+i%Panel:]; k < w.K; k++ {
			dst[k] = d[k*Panel]
		}
		return
	}
	s := takeScratch()
	for k := 0; k < w.K; k += Panel {
		n := min(Panel, w.K-k)
		w.Expand(s.square[:], i/Panel, k, n)
		for kk := range n {
			dst[k+kk] = s.square[kk*Panel+i%Panel]
		}
	}
	s.release()
}

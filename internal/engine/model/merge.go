package model

import (
	"slices"
	"strconv"
	"strings"

	"github.com/firekeep/firekeep/internal/engine"
)

// Addend returns what merges the adapter into a matrix that prepared weights call
// name ("layers.0.q_proj"): a function that turns row i of W into row i of
// W + Alpha/Rank * B*A. nil = the adapter leaves the matrix as it is. A row is
// summed in float64, product by product so that hosts agree on the bits, and rounded
// once. One goroutine at a time may call the
// functions of a name.
func (a *Adapter) Addend(name string) func(row []float32, i int) {
	A, B := a.matrices(name)
	if A == nil {
		return nil
	}
	scale, width := a.Alpha/float64(a.Rank), len(A)/a.Rank
	sum := make([]float64, width)
	return func(row []float32, i int) {
		for k, v := range row {
			sum[k] = float64(v)
		}
		b, r := B[i*a.Rank:(i+1)*a.Rank], 0
		for ; r+4 <= a.Rank; r += 4 {
			addFour(sum, A[r*width:], scale, b[r:])
		}
		for ; r < a.Rank; r++ {
			f := scale * float64(b[r])
			for k, v := range A[r*width : (r+1)*width] {
				sum[k] += float64(f * float64(v))
			}
		}
		for k := range row {
			row[k] = float32(sum[k])
		}
	}
}

// addFour adds four rows of A, times scale and their values of b, in their order; a
// sum is read and written once for all of them.
func addFour(sum []float64, A []float32, scale float64, b []float32) {
	n := len(sum)
	f0, f1, f2, f3 := scale*float64(b[0]), scale*float64(b[1]), scale*float64(b[2]), scale*float64(b[3])
	a0, a1, a2, a3 := A[:n], A[n:][:n], A[2*n:][:n], A[3*n:][:n]
	for k, s := range sum {
		s += float64(f0 * float64(a0[k]))
		s += float64(f1 * float64(a1[k]))
		s += float64(f2 * float64(a2[k]))
		sum[k] = s + float64(f3*float64(a3[k]))
	}
}

// matrices are A and B of the matrix with a prepared name, nil without them.
func (a *Adapter) matrices(name string) (A, B []float32) {
	rest, ok := strings.CutPrefix(name, "layers.")
	number, target, dotted := strings.Cut(rest, ".")
	l, err := strconv.Atoi(number)
	t := slices.Index(engine.Targets, target)
	if !ok || !dotted || err != nil || l < 0 || l >= len(a.Layers) || t < 0 {
		return nil, nil
	}
	return a.Layers[l].A[t], a.Layers[l].B[t]
}

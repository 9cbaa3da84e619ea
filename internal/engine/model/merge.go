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
// summed in float64 and rounded once. One goroutine at a time may call the
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
		for r, b := range B[i*a.Rank : (i+1)*a.Rank] {
			f := scale * float64(b)
			for k, v := range A[r*width : (r+1)*width] {
				sum[k] += f * float64(v)
			}
		}
		for k := range row {
			row[k] = float32(sum[k])
		}
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

package tensorfile

import (
	"context"
	"io"

	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// Merge writes prepared weights anew, with matrices changed: add returns what
// changes row i of a matrix, or nil where it stays. source is the digest of what
// the result is made from. Like Prepare it holds one panel of 32 rows in memory.
func Merge(ctx context.Context, p *Prepared, source string, add func(name string) func(row []float32, i int), w io.Writer, opt Options) (Info, error) {
	c := &checkpoint{config: p.header.Config, tokenizer: p.Tokenizer(), template: p.header.Template, object: "merged weights"}
	c.weight = func(name string) (weight, bool) {
		e, ok := p.table[name]
		if !ok {
			return weight{stored: name}, false
		}
		return p.weight(e, add(name)), true
	}
	return c.write(ctx, source, w, opt)
}

// weight reads a tensor row by row, with each row of a matrix changed by add.
func (p *Prepared) weight(e tableEntry, add func(row []float32, i int)) weight {
	data := p.floats(e)
	if e.N == 0 {
		return weight{stored: e.Name, shape: []int{e.K}, row: func(dst []float32, _ int) { copy(dst, data) }}
	}
	matrix := kernel.Packed{N: e.N, K: e.K, Data: data, Coding: e.Coding}
	w := weight{stored: e.Name, shape: []int{e.N, e.K}}
	if add == nil {
		w.coding, w.packed = e.Coding, data
	}
	panel, have := make([]float32, kernel.Panel*e.K), -1
	w.row = func(dst []float32, i int) {
		if p := i / kernel.Panel; p != have {
			matrix.Expand(panel, p, 0, e.K)
			have = p
		}
		for k := range dst {
			dst[k] = panel[k*kernel.Panel+i%kernel.Panel]
		}
		if add != nil {
			add(dst, i)
		}
	}
	return w
}

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
	s := &shared{have: -1} // tensors are written one after another
	c.weight = func(name string) (weight, bool) {
		e, ok := p.table[name]
		if !ok {
			return weight{stored: name}, false
		}
		return p.weight(e, add(name), s), true
	}
	return c.write(ctx, source, w, opt)
}

// shared is the panel that all matrices of a merge are read through.
type shared struct {
	panel []float32
	of    string // the matrix
	have  int    // its panel
}

// weight reads a tensor row by row, with each row of a matrix changed by add.
func (p *Prepared) weight(e tableEntry, add func(row []float32, i int), s *shared) weight {
	data := p.floats(e)
	if e.N == 0 {
		return weight{stored: e.Name, shape: []int{e.K}, row: func(dst []float32, _ int) { copy(dst, data) }}
	}
	matrix := kernel.Packed{N: e.N, K: e.K, Data: data, Coding: e.Coding}
	w := weight{stored: e.Name, shape: []int{e.N, e.K}}
	if add == nil {
		w.coding, w.packed = e.Coding, data
	}
	w.row = func(dst []float32, i int) {
		if p := i / kernel.Panel; p != s.have || s.of != e.Name {
			if n := kernel.Panel * e.K; cap(s.panel) < n {
				s.panel = make([]float32, n)
			} else {
				s.panel = s.panel[:n]
			}
			matrix.Expand(s.panel, p, 0, e.K)
			s.have, s.of = p, e.Name
		}
		for k := range dst {
			dst[k] = s.panel[k*kernel.Panel+i%kernel.Panel]
		}
		if add != nil {
			add(dst, i)
		}
	}
	return w
}

package model

import "github.com/firekeep/firekeep/internal/engine/kernel"

// Every head of a group and every block of queries multiplies with the same keys
// and values, so a layer's are arranged once per stage, in panels that float32
// products read in place (kernel.GemmPanels): those of the trunk, if segments see
// it, and of every segment. The products in bfloat16 arrange their own.
//
// Keys have slots. A run of n keys begins at a slot that is a multiple of Panel,
// and has n of them and the rest of its last panel.
type keyPanels struct {
	slots int       // of all runs
	data  []float32 // per key head: keys turned, values turned or not, and with gradients keys
	grad  bool
}

// slot is where the keys of the index-th segment begin, row being its first: far
// enough behind those of the segment before.
func slot(row, index int) int { return (row/kernel.Panel + index) * kernel.Panel }

// panelsOf is the number of panels that cover n.
func panelsOf(n int) int { return (n + kernel.Panel - 1) / kernel.Panel }

// turnedDepth is the depth of a panel of turned rows: a head's dimension in whole
// blocks of 16, as turning writes them.
func turnedDepth(dim int) int { return (dim + 15) &^ 15 }

// turned and upright return a key head's part of p in an order of panels, from a
// slot on.
func (p *keyPanels) turned(part, kv, slot, dim int) []float32 {
	return p.part(part, kv, dim)[slot*turnedDepth(dim):]
}

func (p *keyPanels) upright(part, kv, slot, dim int) []float32 {
	return p.part(part, kv, dim)[slot*panelsOf(dim)*kernel.Panel:]
}

func (p *keyPanels) part(part, kv, dim int) []float32 {
	size := p.slots * panelsOf(dim) * kernel.Panel
	return p.data[(kv*3+part)*size:][:size]
}

// Parts of a key head's panels.
const (
	turnedKeys = iota
	valuePanels
	uprightKeys
)

// arrange sets the panels of layer l's keys and values: for the forward, or for the
// backward.
func (w *Workspace) arrange(l int, s *acts, grad bool) {
	c, p, f := &w.model.Config, &w.panels, &w.forest
	p.grad, p.slots = grad, slot(len(f.tokens), len(f.segments))
	if w.seesTrunk() {
		p.slots += panelsOf(len(w.trunk.forest.tokens)) * kernel.Panel
	}
	if n := 3 * c.KVHeads * p.slots * panelsOf(c.HeadDim) * kernel.Panel; len(p.data) < n {
		p.data = kernel.Memory[float32](n)
	}
	w.each(p.slots/kernel.Panel, 1, arrangePanels, op{s: s, l: l})
}

// seesTrunk says whether segments of the stage continue the trunk.
func (w *Workspace) seesTrunk() bool {
	f := &w.forest
	return len(f.segments) > 0 && f.segments[0].prompt == theTrunk
}

func arrangePanels(w *Workspace, o *op, _, lo, hi int) {
	lo, hi = lo*kernel.Panel, hi*kernel.Panel
	if w.seesTrunk() {
		w.arrangeRun(w.prefix(o.l, o.s, theTrunk), lo, hi)
	}
	for i := range w.forest.segments {
		w.arrangeRun(w.own(o.s, i), lo, hi)
	}
}

// arrangeRun arranges what of a run of keys lies in the slots [lo, hi).
func (w *Workspace) arrangeRun(k keys, lo, hi int) {
	c := &w.model.Config
	for at := max(lo, k.slot); at < min(hi, k.slot+k.n); at += kernel.Panel {
		n := min(kernel.Panel, k.slot+k.n-at)
		for kv := range c.KVHeads {
			w.arrangePanel(k, kv, at, n)
		}
	}
}

// arrangePanel arranges n keys of one head from a slot on.
func (w *Workspace) arrangePanel(k keys, kv, at, n int) {
	c, p := &w.model.Config, &w.panels
	dim, ld, i := c.HeadDim, c.KVHeads*c.HeadDim, at-k.slot
	from := (k.row+i)*ld + kv*dim
	scale := c.ScoreScale()
	kernel.PanelsOfRows(p.turned(turnedKeys, kv, at, dim), k.k[from:], ld, n, dim, scale)
	if !p.grad {
		kernel.PanelsOfDepth(p.upright(valuePanels, kv, k.slot, dim)[i*kernel.Panel:], k.n, k.v[from:], ld, n, dim, 1)
		return
	}
	kernel.PanelsOfRows(p.turned(valuePanels, kv, at, dim), k.v[from:], ld, n, dim, 1)
	kernel.PanelsOfDepth(p.upright(uprightKeys, kv, k.slot, dim)[i*kernel.Panel:], k.n, k.k[from:], ld, n, dim, scale)
}

package sample

import (
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// The program of a pass. Each function below is a member's part of one or more
// stages and ends with a Wait. Members divide the rows, or the panels of the
// weights: then each weight is read by one thread, once, for all rows. What one
// member computes of a value never depends on how many there are.

// program computes the whole pass.
func (p *pass) program(t *kernel.Team, me int) {
	p.scratch[me].ahead.begin(0, me, t.Size())
	for l := range p.model.Layers {
		layer := &p.model.Layers[l]
		p.normalize(t, me, layer.AttnNorm)
		p.project(t, me, l, inputAttention, p.norm, p.ldH, false, p.q, p.k, p.v)
		p.storeRows(t, me, l)
		p.attend(t, me, l)
		p.scratch[me].ahead.begin(l+1, me, t.Size())
		p.join(t, me, l, inputOutput, p.o, p.ldQ, layer.AttnPost)

		p.normalize(t, me, layer.MLPNorm)
		p.gateUp(t, me, l)
		p.join(t, me, l, inputDown, p.gate, p.ldI, layer.MLPPost)
	}
	p.head(t, me)
}

// normalize sets the rows of p.norm.
func (p *pass) normalize(t *kernel.Team, me int, weight []float32) {
	if me == 0 {
		p.next.Store(0) // nobody is in attention now
	}
	h, eps := p.model.Config.Hidden, p.model.Config.NormEps
	lo, hi := t.Share(me, p.rows)
	for r := lo; r < hi; r++ {
		kernel.RMSNorm(p.norm[r*p.ldH:r*p.ldH+h], p.x[r*h:(r+1)*h], weight, eps)
	}
	t.Wait()
}

// project computes the targets that read input i of layer l, x with rows ldx
// apart, with each run's adapter; acc adds to what ys hold. The panels of all
// targets are one stage.
func (p *pass) project(t *kernel.Team, me, l, i int, x []float32, ldx int, acc bool, ys ...[]float32) {
	p.lowRank(t, me, l, i, x, ldx)
	panels := 0
	for _, target := range inputs[i] {
		panels += panelsOf(p.model.Layers[l].Linear[target])
	}
	lo, hi := t.Share(me, panels)
	for j, target := range inputs[i] {
		w := p.model.Layers[l].Linear[target]
		n := panelsOf(w)
		p.panels(me, l, target, x, ldx, ys[j], w.N, max(lo, 0), min(hi, n), acc)
		lo, hi = lo-n, hi-n
	}
	t.Wait()
}

// join adds to the stream what the linear layer of input i makes of x, through
// the norm post where the model has one.
func (p *pass) join(t *kernel.Team, me, l, i int, x []float32, ldx int, post []float32) {
	if post == nil {
		p.project(t, me, l, i, x, ldx, true, p.x)
		return
	}
	p.project(t, me, l, i, x, ldx, false, p.post)
	h, eps := p.model.Config.Hidden, p.model.Config.NormEps
	lo, hi := t.Share(me, p.rows)
	for r := lo; r < hi; r++ {
		y := p.post[r*h : (r+1)*h]
		kernel.RMSNorm(y, y, post, eps)
		kernel.Add(p.x[r*h:(r+1)*h], y)
	}
	t.Wait()
}

// gateUp computes both halves of the MLP's first product and the activation: a
// member that has panels of the one has those of the other.
func (p *pass) gateUp(t *kernel.Team, me, l int) {
	p.lowRank(t, me, l, inputMLP, p.norm, p.ldH)
	gate, up := inputs[inputMLP][0], inputs[inputMLP][1]
	lo, hi := t.Share(me, panelsOf(p.model.Layers[l].Linear[gate]))
	p.panels(me, l, gate, p.norm, p.ldH, p.gate, p.ldI, lo, hi, false)
	p.panels(me, l, up, p.norm, p.ldH, p.up, p.ldI, lo, hi, false)
	mul := kernel.SiLUMul
	if p.model.Config.Activation == engine.ActivationGELU {
		mul = kernel.GELUMul
	}
	if j0, j1 := lo*kernel.Panel, min(hi*kernel.Panel, p.model.Config.Inter); j0 < j1 {
		for r := range p.rows {
			g := p.gate[r*p.ldI+j0 : r*p.ldI+j1]
			mul(g, g, p.up[r*p.ldI+j0:r*p.ldI+j1])
		}
	}
	t.Wait()
}

// panels computes the panels [p0, p1) of one target for all rows: y (+)= x Wᵀ,
// then + bias, then + low Bᵀ for the runs whose adapter has it.
func (p *pass) panels(me, l, target int, x []float32, ldx int, y []float32, ldy, p0, p1 int, acc bool) {
	if p0 >= p1 {
		return
	}
	w, bias := p.model.Layers[l].Linear[target], p.model.Layers[l].Bias[target]
	w.PanelsAhead(y, ldy, x, ldx, p.exact, p0, p1, acc, &p.scratch[me].ahead.Ahead)
	if p.exact < p.rows {
		p.int8.linear[l][target].Panels(y[p.exact*ldy:], ldy, x[p.exact*ldx:], ldx, p.rows-p.exact, p0, p1, acc)
	}
	if bias != nil {
		j0, j1 := p0*kernel.Panel, min(p1*kernel.Panel, w.N)
		for r := range p.rows {
			kernel.Add(y[r*ldy+j0:r*ldy+j1], bias[j0:j1])
		}
	}
	for _, r := range p.runs {
		if r.adapter == nil {
			continue
		}
		lora := &r.adapter.layers[l]
		if b := lora.b[target]; b != nil {
			b.Panels(y[r.lo*ldy:], ldy, p.low[r.lo*p.widest+lora.off[target]:], p.widest, r.hi-r.lo, p0, p1, true)
		}
	}
}

// lowRank sets p.low = x Aᵀ for the runs with an adapter: few panels, taken in
// turn. A pass without adapters has no such stage.
func (p *pass) lowRank(t *kernel.Team, me, l, i int, x []float32, ldx int) {
	if p.widest == 0 {
		return
	}
	unit := 0
	for _, r := range p.runs {
		if r.adapter == nil || r.adapter.layers[l].a[i] == nil {
			continue
		}
		a := r.adapter.layers[l].a[i]
		for panel := range panelsOf(a) {
			if unit++; unit%t.Size() == me {
				a.Panels(p.low[r.lo*p.widest:], p.widest, x[r.lo*ldx:], ldx, r.hi-r.lo, panel, panel+1, false)
			}
		}
	}
	t.Wait()
}

// panelsOf is the number of panels of w.
func panelsOf(w *kernel.Packed) int { return (w.N + kernel.Panel - 1) / kernel.Panel }

// storeRows turns queries and keys into what attention compares and writes
// keys and values to the cache.
func (p *pass) storeRows(t *kernel.Team, me, l int) {
	c, layer := &p.model.Config, &p.model.Layers[l]
	qw, vw := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	rotary := p.rotary.Of(l)
	lo, hi := t.Share(me, p.rows)
	for r := lo; r < hi; r++ {
		var cos, sin []float32
		if rotary != nil {
			cos, sin = rotary.At(int(p.position[r]))
		}
		q, k := p.q[r*qw:(r+1)*qw], p.k[r*vw:(r+1)*vw]
		p.heads(q, layer.QNorm, cos, sin)
		p.heads(k, layer.KNorm, cos, sin)
		p.cache.store(p.home[r].block, l, p.home[r].slot, k, p.v[r*vw:(r+1)*vw])
	}
	t.Wait()
}

// heads normalises and rotates each head of x; a nil weight or angle leaves
// that out.
func (p *pass) heads(x, weight, cos, sin []float32) {
	d := p.model.Config.HeadDim
	for ; len(x) > 0; x = x[d:] {
		if weight != nil {
			kernel.RMSNorm(x[:d], x[:d], weight, p.model.Config.NormEps)
		}
		if cos != nil {
			kernel.Rope(x[:d], cos, sin)
		}
	}
}

// head computes the wanted logits and has them visited, headRows at a time.
func (p *pass) head(t *kernel.Team, me int) {
	c := &p.model.Config
	for first := 0; first < len(p.wanted); first += headRows {
		rows := p.wanted[first:min(first+headRows, len(p.wanted))]
		lo, hi := t.Share(me, len(rows))
		for i := lo; i < hi; i++ {
			r := p.spans[rows[i].span].row + rows[i].index
			kernel.RMSNorm(p.norm[i*p.ldH:i*p.ldH+c.Hidden], p.x[r*c.Hidden:(r+1)*c.Hidden], p.model.Norm, c.NormEps)
		}
		t.Wait()
		p0, p1 := t.Share(me, panelsOf(p.model.Head))
		exact := 0
		for exact < len(rows) && p.spans[rows[exact].span].exact {
			exact++
		}
		p.model.Head.Panels(p.logits, p.ldV, p.norm, p.ldH, exact, p0, p1, false)
		if exact < len(rows) {
			p.int8.head.Panels(p.logits[exact*p.ldV:], p.ldV, p.norm[exact*p.ldH:], p.ldH, len(rows)-exact, p0, p1, false)
		}
		t.Wait()
		for i := lo; i < hi; i++ {
			p.visit(me, rows[i], p.logits[i*p.ldV:i*p.ldV+c.Vocab])
		}
		t.Wait()
	}
}

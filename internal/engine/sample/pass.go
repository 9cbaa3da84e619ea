package sample

import (
	"sync/atomic"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
)

// span is a run of tokens of one sequence that a pass computes: one token when
// decoding, a chunk of a prompt otherwise. Its keys and values are written to
// table, which has room for them.
type span struct {
	adapter *adapter // nil = base
	tokens  []int32
	pos     int      // position of tokens[0]
	table   []*block // blocks from position 0
	shared  int      // leading blocks of table that all spans of the family have
	family  *request
	want    int // logits are wanted of tokens[want:]
	row     int // of tokens[0] in the pass
}

// pass computes spans through the model. Every value is a function of the
// span's own tokens, blocks and adapter: matrix products follow the kernels'
// k-order rule, attention runs per query over its keys in fixed order.
type pass struct {
	pool   *kernel.Pool
	model  *model.Model
	cache  *cache
	rotary *model.Rotaries

	spans    []span
	rows     int
	runs     []run
	clusters []cluster
	position []int32 // of each row
	home     []home  // where each row's key and value go

	x, norm, o []float32 // [rows, H], [rows, H], [rows, Q]
	q, k, v    []float32 // [rows, Q], [rows, V], [rows, V]
	gate, up   []float32 // [rows, I]
	low        []float32 // [rows, widest]
	logits     []float32 // [headRows, Vocab]
	wanted     []wanted

	// Parameters of the parts that run on the pool, and the parts, bound once
	// so that a pass allocates nothing.
	layer                                               int
	weight                                              []float32
	next                                                atomic.Int64
	first                                               int
	normPart, postPart, storePart, siluPart, attendPart func(worker, lo, hi int)
	scratch                                             []attention // per worker
}

// run is a range of rows with one adapter.
type run struct {
	adapter *adapter
	lo, hi  int
}

type home struct {
	block *block
	slot  int
}

// wanted is a row whose logits go to a span's visit.
type wanted struct{ span, index int }

// headRows is the number of rows whose logits are held at once.
const headRows = 32

func newPass(pool *kernel.Pool, m *model.Model, c *cache, positions int) *pass {
	p := &pass{pool: pool, model: m, cache: c, rotary: model.NewRotaries(&m.Config, positions)}
	p.normPart, p.postPart, p.storePart, p.siluPart, p.attendPart = p.normRows, p.postRows, p.storeRows, p.siluRows, p.attendRows
	return p
}

// begin clears the pass for new spans.
func (p *pass) begin() {
	clear(p.spans)
	p.spans, p.rows = p.spans[:0], 0
}

func (p *pass) add(s span) {
	s.row = p.rows
	p.rows += len(s.tokens)
	p.spans = append(p.spans, s)
}

// compute runs the spans, which the caller ordered by adapter, and visits the
// wanted logits in order. The logits are valid during the visit.
func (p *pass) compute(visit func(rows []wanted, logits []float32)) {
	c := &p.model.Config
	p.layOut()
	for l := range p.model.Layers {
		p.layer = l
		layer := &p.model.Layers[l]
		p.rmsNorm(layer.AttnNorm)
		p.linear(inputAttention, p.norm, false, p.q, p.k, p.v)
		p.pool.Do(p.rows, grain(c.Heads*c.HeadDim), p.storePart)
		p.attend()
		p.join(inputOutput, p.o, layer.AttnPost)

		p.rmsNorm(layer.MLPNorm)
		p.linear(inputMLP, p.norm, false, p.gate, p.up)
		p.pool.Do(p.rows, grain(4*c.Inter), p.siluPart)
		p.join(inputDown, p.gate, layer.MLPPost)
	}
	p.head(visit)
}

// grain is the number of rows of the given width that are worth a thread.
func grain(width int) int { return max(1, 8192/width) }

// layOut sizes the buffers, embeds the tokens and finds the work of the pass.
func (p *pass) layOut() {
	c := &p.model.Config
	p.runs, p.wanted, p.position, p.home = p.runs[:0], p.wanted[:0], p.position[:0], p.home[:0]
	widest := 0
	grow(&p.x, p.rows*c.Hidden)
	for i := range p.spans {
		s := &p.spans[i]
		if n := len(p.runs); n > 0 && p.runs[n-1].adapter == s.adapter {
			p.runs[n-1].hi += len(s.tokens)
		} else {
			p.runs = append(p.runs, run{s.adapter, s.row, s.row + len(s.tokens)})
			if s.adapter != nil {
				widest = max(widest, s.adapter.widest)
			}
		}
		for j, id := range s.tokens {
			row, pos := s.row+j, s.pos+j
			p.model.EmbedRow(p.x[row*c.Hidden:(row+1)*c.Hidden], id)
			p.position = append(p.position, int32(pos))
			p.home = append(p.home, home{s.table[pos/blockTokens], pos % blockTokens})
			if j >= s.want {
				p.wanted = append(p.wanted, wanted{i, j})
			}
		}
	}
	grow(&p.norm, p.rows*c.Hidden)
	grow(&p.o, p.rows*c.Heads*c.HeadDim)
	grow(&p.q, p.rows*c.Heads*c.HeadDim)
	grow(&p.k, p.rows*c.KVHeads*c.HeadDim)
	grow(&p.v, p.rows*c.KVHeads*c.HeadDim)
	grow(&p.gate, p.rows*c.Inter)
	grow(&p.up, p.rows*c.Inter)
	grow(&p.low, p.rows*widest)
	p.cluster()
}

// linear computes the targets that read input i of the layer, x [rows, in],
// with each run's adapter; acc adds to what ys hold.
func (p *pass) linear(i int, x []float32, acc bool, ys ...[]float32) {
	layer := &p.model.Layers[p.layer]
	for j, t := range inputs[i] {
		w := layer.Linear[t]
		p.pool.Forward(ys[j], w.N, x, w.K, w, p.rows, acc)
		if bias := layer.Bias[t]; bias != nil {
			for r := range p.rows {
				kernel.Add(ys[j][r*w.N:(r+1)*w.N], bias)
			}
		}
	}
	for _, r := range p.runs {
		if r.adapter == nil || r.adapter.layers[p.layer].a[i] == nil {
			continue
		}
		lora, n := &r.adapter.layers[p.layer], r.hi-r.lo
		a := lora.a[i]
		p.pool.Forward(p.low, a.N, x[r.lo*a.K:], a.K, a, n, false)
		for j, t := range inputs[i] {
			if b := lora.b[t]; b != nil {
				p.pool.Forward(ys[j][r.lo*b.N:], b.N, p.low[lora.off[t]:], a.N, b, n, true)
			}
		}
	}
}

// join adds to the stream what the linear layer of input i makes of x, through
// the norm post where the model has one.
func (p *pass) join(i int, x, post []float32) {
	if post == nil {
		p.linear(i, x, true, p.x)
		return
	}
	p.linear(i, x, false, p.norm)
	p.weight = post
	p.pool.Do(p.rows, grain(p.model.Config.Hidden), p.postPart)
}

// postRows adds the normalised rows of p.norm to the stream.
func (p *pass) postRows(_, lo, hi int) {
	h, eps := p.model.Config.Hidden, p.model.Config.NormEps
	for r := lo; r < hi; r++ {
		y := p.norm[r*h : (r+1)*h]
		kernel.RMSNorm(y, y, p.weight, eps)
		kernel.Add(p.x[r*h:(r+1)*h], y)
	}
}

func (p *pass) rmsNorm(weight []float32) {
	p.weight = weight
	p.pool.Do(p.rows, grain(p.model.Config.Hidden), p.normPart)
}

func (p *pass) normRows(_, lo, hi int) {
	h, eps := p.model.Config.Hidden, p.model.Config.NormEps
	for r := lo; r < hi; r++ {
		kernel.RMSNorm(p.norm[r*h:(r+1)*h], p.x[r*h:(r+1)*h], p.weight, eps)
	}
}

func (p *pass) siluRows(_, lo, hi int) {
	w, mul := p.model.Config.Inter, kernel.SiLUMul
	if p.model.Config.Activation == engine.ActivationGELU {
		mul = kernel.GELUMul
	}
	mul(p.gate[lo*w:hi*w], p.gate[lo*w:hi*w], p.up[lo*w:hi*w])
}

// storeRows turns queries and keys into what attention compares and writes
// keys and values to the cache.
func (p *pass) storeRows(_, lo, hi int) {
	c, layer := &p.model.Config, &p.model.Layers[p.layer]
	qw, vw := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	rotary := p.rotary.Of(p.layer)
	for r := lo; r < hi; r++ {
		var cos, sin []float32
		if rotary != nil {
			cos, sin = rotary.At(int(p.position[r]))
		}
		q, k := p.q[r*qw:(r+1)*qw], p.k[r*vw:(r+1)*vw]
		p.heads(q, layer.QNorm, cos, sin)
		p.heads(k, layer.KNorm, cos, sin)
		p.cache.store(p.home[r].block, p.layer, p.home[r].slot, k, p.v[r*vw:(r+1)*vw])
	}
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

// head computes the wanted logits, headRows at a time.
func (p *pass) head(visit func(rows []wanted, logits []float32)) {
	c := &p.model.Config
	for lo := 0; lo < len(p.wanted); lo += headRows {
		rows := p.wanted[lo:min(lo+headRows, len(p.wanted))]
		grow(&p.logits, len(rows)*c.Vocab)
		for i, w := range rows {
			r := p.spans[w.span].row + w.index
			kernel.RMSNorm(p.norm[i*c.Hidden:(i+1)*c.Hidden], p.x[r*c.Hidden:(r+1)*c.Hidden], p.model.Norm, c.NormEps)
		}
		p.pool.Forward(p.logits, c.Vocab, p.norm, c.Hidden, p.model.Head, len(rows), false)
		visit(rows, p.logits)
	}
}

// grow makes s hold n values, keeping its memory where it can. The content is
// undefined.
func grow(s *[]float32, n int) {
	if cap(*s) < n {
		*s = make([]float32, n)
	}
	*s = (*s)[:n]
}

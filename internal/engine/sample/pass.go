package sample

import (
	"sync/atomic"

	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
)

// span is a run of tokens of one sequence that a pass computes: one token when
// decoding, a chunk of a prompt otherwise. Its keys and values are written to
// table, which has room for them.
type span struct {
	lineage
	tokens []int32
	pos    int      // position of tokens[0]
	table  []*block // blocks from position 0
	shared int      // leading blocks of table that all spans of the family have
	family *request
	want   int // logits are wanted of tokens[want:]
	row    int // of tokens[0] in the pass
}

// pass computes spans through the model. Every value is a function of the
// span's own tokens, blocks and adapter: matrix products follow the kernels'
// k-order rule, attention runs per query over its keys in fixed order.
//
// All threads run the same program (see stages.go) and wait for each other
// between its stages.
type pass struct {
	pool   *kernel.Pool
	model  *model.Model
	int8   *int8Weights // nil = none
	cache  *cache
	rotary *model.Rotaries
	team   *kernel.Team
	visit  visitor

	spans    []span
	rows     int
	exact    int // leading rows that are computed in full precision
	runs     []run
	clusters []cluster
	position []int32 // of each row
	home     []home  // where each row's key and value go
	wanted   []wanted

	// The rows' values. What products read has rows ldH, ldQ, ldI and widest
	// apart, the rest lies close.
	x, norm, o         []float32 // [rows, H], [rows, ldH], [rows, ldQ]
	q, k, v            []float32 // [rows, Q], [rows, V], [rows, V]
	gate, up           []float32 // [rows, ldI]
	post               []float32 // [rows, H], of models with norms behind attention and MLP
	low                []float32 // [rows, widest]
	logits             []float32 // [headRows, ldV]
	ldH, ldQ, ldI, ldV int
	widest             int // the most low-rank values of an input of this pass; 0 = no adapters

	next    atomic.Int64 // unit of attention that nobody has taken
	scratch []attention  // per member
}

// visitor is called for every wanted row, on any member of the team, while its
// logits are valid.
type visitor func(member int, row wanted, logits []float32)

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

func newPass(pool *kernel.Pool, m *model.Model, c *cache, positions int, visit visitor) *pass {
	p := &pass{pool: pool, model: m, cache: c, rotary: model.NewRotaries(&m.Config, positions), visit: visit}
	p.team = kernel.NewTeam(p.program)
	p.ldH, p.ldQ = apart(m.Config.Hidden), apart(m.Config.Heads*m.Config.HeadDim)
	p.ldI, p.ldV = apart(m.Config.Inter), apart(m.Config.Vocab)
	return p
}

// apart is the distance of rows of n values whose columns do not fall on the
// same few sets of a first-level cache, which repeat every 4 KiB.
func apart(n int) int {
	const page, line = 1024, 16
	if (n+line)%page <= 2*line {
		return n + 2*line
	}
	return n
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

// compute runs the spans, which the caller ordered by adapter, and has the
// wanted rows visited.
func (p *pass) compute() {
	p.layOut()
	for len(p.scratch) < p.pool.Threads() {
		p.scratch = append(p.scratch, attention{ahead: newUpcoming(p)})
	}
	p.pool.Together(p.team)
}

// layOut sizes the buffers, embeds the tokens and finds the work of the pass.
func (p *pass) layOut() {
	c := &p.model.Config
	p.runs, p.wanted, p.position, p.home = p.runs[:0], p.wanted[:0], p.position[:0], p.home[:0]
	p.widest, p.exact = 0, 0
	grow(&p.x, p.rows*c.Hidden)
	for i := range p.spans {
		s := &p.spans[i]
		if n := len(p.runs); n > 0 && p.runs[n-1].adapter == s.adapter {
			p.runs[n-1].hi += len(s.tokens)
		} else {
			p.runs = append(p.runs, run{s.adapter, s.row, s.row + len(s.tokens)})
			if s.adapter != nil {
				p.widest = max(p.widest, s.adapter.widest)
			}
		}
		if s.exact {
			p.exact = s.row + len(s.tokens)
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
	grow(&p.norm, max(p.rows, min(headRows, len(p.wanted)))*p.ldH)
	grow(&p.o, p.rows*p.ldQ)
	grow(&p.q, p.rows*c.Heads*c.HeadDim)
	grow(&p.k, p.rows*c.KVHeads*c.HeadDim)
	grow(&p.v, p.rows*c.KVHeads*c.HeadDim)
	grow(&p.gate, p.rows*p.ldI)
	grow(&p.up, p.rows*p.ldI)
	grow(&p.low, p.rows*p.widest)
	if c.PostNorms {
		grow(&p.post, p.rows*c.Hidden)
	}
	grow(&p.logits, min(headRows, len(p.wanted))*p.ldV)
	p.cluster()
}

// grow makes s hold n values, keeping its memory where it can. The content is
// undefined.
func grow(s *[]float32, n int) {
	if cap(*s) < n {
		*s = make([]float32, n)
	}
	*s = (*s)[:n]
}

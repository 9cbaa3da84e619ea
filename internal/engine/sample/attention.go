package sample

import "github.com/firekeep/firekeep/internal/engine/kernel"

// cluster is a set of rows that attend to the same leading blocks, so that
// these are read once for all of them. How rows are clustered changes speed
// only: each row's scores, softmax and weighted sum are the same alone.
type cluster struct {
	rows   []clusterRow
	shared int // blocks that all rows read; row.table holds them too
	keys   int // the most keys a row sees
}

type clusterRow struct {
	row, keys int // keys: how many positions the row sees, its own included
	table     []*block
}

// attention is one worker's memory: the rows of a cluster times the query
// heads of one KV head.
type attention struct {
	q, o   []float32 // [rows*group, HeadDim]
	scores []float32 // [rows*group, keys rounded up to blocks]
	wide   []float32 // keys or values of a block in bfloat16
	ahead  *upcoming
}

// clusterScores bounds the scores of a cluster (512 KiB): they stay in the
// second-level cache.
const clusterScores = 1 << 17

// cluster groups the rows of the pass.
func (p *pass) cluster() {
	used := 0
	next := func() *cluster {
		if used == len(p.clusters) {
			p.clusters = append(p.clusters, cluster{})
		}
		c := &p.clusters[used]
		used++
		c.rows, c.shared, c.keys = c.rows[:0], 0, 0
		return c
	}
	group := p.model.Config.Heads / p.model.Config.KVHeads
	var c *cluster
	var family *request
	for i := range p.spans {
		s := &p.spans[i]
		if len(s.tokens) > 1 {
			family = nil
			for j := 0; j < len(s.tokens); {
				n := min(chunkRows(group, s.pos+len(s.tokens)), len(s.tokens)-j)
				c = next()
				for end := j + n; j < end; j++ {
					c.rows = append(c.rows, clusterRow{s.row + j, s.pos + j + 1, s.table})
				}
				c.keys = s.pos + j
				c.shared = blocksFor(c.keys)
			}
			continue
		}
		keys := s.pos + 1
		if family == nil || s.family != family || s.shared == 0 || len(c.rows) >= chunkRows(group, max(c.keys, keys)) {
			c, family = next(), s.family
			c.shared = s.shared
		}
		c.rows = append(c.rows, clusterRow{s.row, keys, s.table})
		c.keys, c.shared = max(c.keys, keys), min(c.shared, s.shared)
	}
	p.clusters = p.clusters[:used]
}

// chunkRows is the number of rows of a cluster with the given number of keys.
func chunkRows(group, keys int) int {
	return max(2, min(32, clusterScores/(group*blocksFor(keys)*blockTokens)))
}

// attend computes p.o from p.q and the cache. Units of work are taken one by
// one because contexts differ in length.
func (p *pass) attend(t *kernel.Team, me, l int) {
	heads := int64(p.model.Config.KVHeads)
	units := int64(len(p.clusters)) * heads
	for unit := p.next.Add(1) - 1; unit < units; unit = p.next.Add(1) - 1 {
		p.attendCluster(&p.scratch[me], &p.clusters[unit/heads], l, int(unit%heads))
	}
	t.Wait()
}

// attendCluster computes the query heads of one KV head for the rows of c.
func (p *pass) attendCluster(s *attention, c *cluster, layer, head int) {
	cfg := &p.model.Config
	d, group := cfg.HeadDim, cfg.Heads/cfg.KVHeads
	width, m := blocksFor(c.keys)*blockTokens, len(c.rows)*group
	grow(&s.q, m*d)
	grow(&s.o, m*d)
	grow(&s.scores, m*width)
	scale, window := cfg.ScoreScale(), cfg.Kind(layer).Window
	for i, r := range c.rows {
		q := s.q[i*group*d : (i+1)*group*d]
		copy(q, p.q[(r.row*cfg.Heads+head*group)*d:])
		kernel.Scale(q, scale)
	}

	first := c.rows[0].table
	for b := range c.shared {
		p.score(s, s.scores, width, s.q, m, first, b, layer, head)
	}
	for i, r := range c.rows {
		for b := c.shared; b < blocksFor(r.keys); b++ {
			p.score(s, s.scores[i*group*width:], width, s.q[i*group*d:], group, r.table, b, layer, head)
		}
		for j := i * group; j < (i+1)*group; j++ {
			first := 0 // key that the row sees
			if window > 0 {
				first = max(0, r.keys-window)
			}
			clear(s.scores[j*width : j*width+first])
			kernel.Softmax(s.scores[j*width+first : j*width+r.keys])
			clear(s.scores[j*width+r.keys : (j+1)*width])
		}
	}

	for b := range c.shared {
		p.weigh(s, s.o, s.scores, width, m, c.keys, first, b, layer, head)
	}
	for i, r := range c.rows {
		for b := c.shared; b < blocksFor(r.keys); b++ {
			p.weigh(s, s.o[i*group*d:], s.scores[i*group*width:], width, group, r.keys, r.table, b, layer, head)
		}
		copy(p.o[r.row*p.ldQ+head*group*d:], s.o[i*group*d:(i+1)*group*d])
	}
}

// score compares m queries with the keys of block b of table. While a block is
// computed, the one behind it is asked for, behind the last one's keys the first
// one's values.
func (p *pass) score(s *attention, scores []float32, width int, q []float32, m int, table []*block, b, layer, head int) {
	d, at := p.model.Config.HeadDim, p.cache.keysAt(layer, head)
	next, behind := b+1, at
	if next == len(table) {
		next, behind = 0, p.cache.valuesAt(layer, head)
	}
	keys, ahead := p.cache.read(&s.wide, table[b], at, table[next], behind)
	kernel.Few(scores[b*blockTokens:], width, q, d, keys, blockTokens, m, blockTokens, d, ahead, false)
}

// weigh adds the values of block b of table, of a sequence of so many keys, by
// the scores of m queries.
func (p *pass) weigh(s *attention, o, scores []float32, width, m, keys int, table []*block, b, layer, head int) {
	d, at := p.model.Config.HeadDim, p.cache.valuesAt(layer, head)
	values, ahead := p.cache.read(&s.wide, table[b], at, table[min(b+1, len(table)-1)], at)
	depth := min(blockTokens, keys-b*blockTokens)
	kernel.Few(o, d, scores[b*blockTokens:], width, values, d, m, d, depth, ahead, b > 0)
}

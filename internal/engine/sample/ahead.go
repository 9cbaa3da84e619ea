package sample

import "github.com/firekeep/firekeep/internal/engine/kernel"

// upcoming is what attention of the next layer reads, as far as the caches can hold
// it: products with coded weights leave memory idle, and attention is little but
// reading. Each member of a team asks for a share; attention takes units as they
// come, so what is asked for lies in a cache that they share.
type upcoming struct {
	kernel.Ahead
	pass                   *pass
	layer, member, members int
	cluster, row, block    int // the next block
	unit                   int // blocks so far
}

// aheadBytes bounds what all members together ask for. A guest of a host that shares its
// outer cache finds less of it left when attention comes: it would be read twice.
const aheadBytes = 4 << 20

func newUpcoming(p *pass) *upcoming {
	u := &upcoming{pass: p}
	u.Next = u.next
	return u
}

// begin turns to a layer; behind the last one there is nothing to ask for.
func (u *upcoming) begin(layer, member, members int) {
	u.layer, u.member, u.members = layer, member, members
	u.cluster, u.row, u.block, u.unit = 0, 0, 0, 0
	u.Reset()
}

// next returns keys and values of the next block that is the member's.
func (u *upcoming) next() []float32 {
	p := u.pass
	if u.layer == len(p.model.Layers) || p.cache.halved { // several rows in bfloat16 read no codes
		return nil
	}
	for u.cluster < len(p.clusters) && u.unit*p.cache.layLen*p.cache.width() < aheadBytes {
		c := &p.clusters[u.cluster]
		r := &c.rows[u.row]
		first := 0
		if u.row > 0 {
			first = c.shared
		}
		b := first + u.block
		if b >= blocksFor(r.keys) {
			u.block = 0
			if u.row++; u.row == len(c.rows) {
				u.row, u.cluster = 0, u.cluster+1
			}
			continue
		}
		u.block++
		if u.unit++; u.unit%u.members == u.member {
			at := p.cache.keysAt(u.layer, 0)
			return r.table[b].data[at : at+p.cache.layLen]
		}
	}
	return nil
}

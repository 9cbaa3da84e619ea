package sample

import (
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/model"
)

// What members ask for ahead is each block that the next layer's attention reads, once:
// shared ones with the first row, and nothing behind the last layer.
func TestUpcoming(t *testing.T) {
	p := &pass{model: &model.Model{Layers: make([]model.Layer, 2)}, cache: newCache(&engine.Config{Layers: 2, KVHeads: 1, HeadDim: 2}, 1<<20, false)}
	table := func(n int) (blocks []*block) {
		for range n {
			blocks = append(blocks, p.cache.take())
		}
		return blocks
	}
	prompt := table(2)
	family := cluster{shared: 2, rows: []clusterRow{{0, 70, append(prompt[:2:2], table(1)...)}, {1, 97, append(prompt[:2:2], table(2)...)}}}
	alone := cluster{rows: []clusterRow{{2, 33, table(2)}}}
	p.clusters = []cluster{family, alone}
	want := map[*float32]bool{}
	for _, c := range p.clusters {
		for _, r := range c.rows {
			for _, b := range r.table {
				want[&b.data[p.cache.keysAt(1, 0)]] = true
			}
		}
	}
	const members = 3
	seen := map[*float32]bool{}
	for me := range members {
		u := newUpcoming(p)
		u.begin(1, me, members)
		for piece := u.Next(); piece != nil; piece = u.Next() {
			if at := &piece[0]; !want[at] || seen[at] || len(piece) != p.cache.layLen {
				t.Fatalf("member %d asks for %d values that nobody reads, or again", me, len(piece))
			}
			seen[&piece[0]] = true
		}
		if u.begin(2, me, members); u.Next() != nil {
			t.Error("something is asked for behind the last layer")
		}
	}
	if len(seen) != len(want) || len(want) != 7 {
		t.Errorf("%d of %d blocks are asked for", len(seen), len(want))
	}
}

package sample

import (
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// blockTokens is the number of positions in a block: a panel, so that a
// block's keys are one panel of the kernels' right operand.
const blockTokens = kernel.Panel

// block holds the keys and values of 32 consecutive positions of one sequence
// in all layers. Blocks of a prompt are shared by reference; only a block with
// one reference is written to.
//
// Per layer and KV head: keys [HeadDim][32] (one column per position), then
// values [32][HeadDim]. A panel of slack lies behind the last.
type block struct {
	data []float32
	refs int
	kept bool // one of refs is the tree's of prefixes
}

// cache hands out blocks. It makes them as they are needed, never more than
// limit, and reuses them.
type cache struct {
	limit, made     int
	free            []*block
	prefixes        *prefixes
	kvHeads, dim    int
	headLen, layLen int // floats per (layer, KV head), per layer
	blockLen        int
}

func newCache(c *engine.Config, bytes int64) *cache {
	k := &cache{kvHeads: c.KVHeads, dim: c.HeadDim, prefixes: newPrefixes()}
	k.headLen = 2 * c.HeadDim * blockTokens
	k.layLen = k.headLen * c.KVHeads
	k.blockLen = k.layLen * c.Layers
	k.limit = int(bytes / int64(4*k.blockLen))
	return k
}

// available is the number of blocks that take can still hand out.
func (c *cache) available() int { return len(c.free) + c.limit - c.made + c.prefixes.idle }

// take returns a block with one reference; its content is undefined. The caller
// has made sure that one is available.
func (c *cache) take() *block {
	if n := len(c.free); n > 0 {
		b := c.free[n-1]
		c.free = c.free[:n-1]
		b.refs = 1
		return b
	}
	if c.made == c.limit {
		b := c.evict()
		b.refs = 1
		return b
	}
	c.made++
	return &block{data: make([]float32, c.blockLen+kernel.Panel), refs: 1}
}

// release drops one reference of each block.
func (c *cache) release(blocks []*block) {
	for _, b := range blocks {
		switch b.refs--; {
		case b.refs == 0:
			c.free = append(c.free, b)
		case b.refs == 1 && b.kept:
			c.prefixes.idle++
		}
	}
}

// share adds one reference to each block.
func (c *cache) share(blocks []*block) {
	for _, b := range blocks {
		if b.refs == 1 && b.kept {
			c.prefixes.idle--
		}
		b.refs++
	}
}

// copyOf returns a block with the content of b.
func (c *cache) copyOf(b *block) *block {
	d := c.take()
	copy(d.data, b.data)
	return d
}

// keys and values return one head's part of a block. A product reads a row of
// values in whole panels, so the slice has a panel more.
func (c *cache) keys(b *block, layer, head int) []float32 {
	off := layer*c.layLen + head*c.headLen
	return b.data[off : off+c.headLen/2 : off+c.headLen/2]
}

func (c *cache) values(b *block, layer, head int) []float32 {
	off := layer*c.layLen + head*c.headLen + c.headLen/2
	return b.data[off : off+c.headLen/2+kernel.Panel]
}

// store writes the key and value of one position: k and v are [kvHeads, dim].
func (c *cache) store(b *block, layer, slot int, k, v []float32) {
	for h := range c.kvHeads {
		keys := c.keys(b, layer, h)
		for i, x := range k[h*c.dim : (h+1)*c.dim] {
			keys[i*blockTokens+slot] = x
		}
		copy(c.values(b, layer, h)[slot*c.dim:], v[h*c.dim:(h+1)*c.dim])
	}
}

// blocksFor is the number of blocks that n positions fill.
func blocksFor(n int) int { return (n + blockTokens - 1) / blockTokens }

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
// values [32][HeadDim]. A panel of slack lies behind the last. In bfloat16
// precision they are rounded to it, as the trainer rounds them too.
type block struct {
	data []float32
	half []uint16 // in place of data
	refs int
	kept bool // one of refs is the tree's of prefixes
}

// cache hands out blocks. It makes them as they are needed, never more than
// limit, and reuses them.
type cache struct {
	limit, made     int
	free            []*block
	slab            block // for blocks that are not made yet
	prefixes        *prefixes
	kvHeads, dim    int
	headLen, layLen int // values per (layer, KV head), per layer
	blockLen        int
	halved          bool // blocks are bfloat16
}

func newCache(c *engine.Config, bytes int64, halved bool) *cache {
	k := &cache{halved: halved, kvHeads: c.KVHeads, dim: c.HeadDim, prefixes: newPrefixes()}
	k.headLen = 2 * c.HeadDim * blockTokens
	k.layLen = k.headLen * c.KVHeads
	k.blockLen = k.layLen * c.Layers
	k.limit = int(bytes / int64(k.width()*k.blockLen))
	return k
}

// width is the bytes of a value.
func (c *cache) width() int {
	if c.halved {
		return 2
	}
	return 4
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
	return c.makeBlock()
}

// slabBytes bounds the memory that is asked for at once: many large pages.
const slabBytes = 64 << 20

func (c *cache) makeBlock() *block {
	n := c.blockLen + kernel.Panel
	b := &block{refs: 1}
	if len(c.slab.data)+len(c.slab.half) < n {
		several := n * min(c.limit-c.made, max(1, slabBytes/(c.width()*n)))
		if c.halved {
			c.slab.half = kernel.Memory[uint16](several)
		} else {
			c.slab.data = kernel.Memory[float32](several)
		}
	}
	if c.halved {
		b.half, c.slab.half = c.slab.half[:n:n], c.slab.half[n:]
	} else {
		b.data, c.slab.data = c.slab.data[:n:n], c.slab.data[n:]
	}
	c.made++
	return b
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
	copy(d.half, b.half)
	return d
}

// keysAt and valuesAt are where one head's part of a block begins.
func (c *cache) keysAt(layer, head int) int   { return layer*c.layLen + head*c.headLen }
func (c *cache) valuesAt(layer, head int) int { return c.keysAt(layer, head) + c.headLen/2 }

// read returns one head's keys or values in float32, those at off: in place, or
// widened into memory of the caller. A product reads a row of values in whole
// panels, so the slice has a panel more. ahead is read next.
func (c *cache) read(wide *[]float32, b *block, off int, ahead *block, next int) (part, behind []float32) {
	n := c.headLen / 2
	if !c.halved {
		return b.data[off : off+n+kernel.Panel], ahead.data[next : next+n]
	}
	grow(wide, n+kernel.Panel)
	kernel.WidenBF16((*wide)[:n], b.half[off:off+n], ahead.half[next:next+n])
	return *wide, nil
}

// store writes the key and value of one position: k and v are [kvHeads, dim].
// It rounds them where the blocks are bfloat16.
func (c *cache) store(b *block, layer, slot int, k, v []float32) {
	if c.halved {
		kernel.ThroughBF16(k)
		kernel.ThroughBF16(v)
	}
	for h := range c.kvHeads {
		key, value := k[h*c.dim:(h+1)*c.dim], v[h*c.dim:(h+1)*c.dim]
		keys, values := c.keysAt(layer, h), c.valuesAt(layer, h)+slot*c.dim
		if c.halved {
			for i, x := range key {
				b.half[keys+i*blockTokens+slot] = kernel.StoredBF16(x)
			}
			for i, x := range value {
				b.half[values+i] = kernel.StoredBF16(x)
			}
			continue
		}
		for i, x := range key {
			b.data[keys+i*blockTokens+slot] = x
		}
		copy(b.data[values:], value)
	}
}

// blocksFor is the number of blocks that n positions fill.
func blocksFor(n int) int { return (n + blockTokens - 1) / blockTokens }

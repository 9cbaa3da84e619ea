package sample

import "slices"

// prefixes keeps the full blocks of what was computed, so that a later request
// that begins with the same tokens does not compute them again. It is a tree:
// below the root of an adapter (the base is one too) each node is a block, found
// by its 32 tokens behind those of its ancestors. Keys and values are a function
// of the lineage and these tokens alone, so a shared block changes no answer;
// tokens are compared, not hashed.
//
// The tree holds one reference of each of its blocks. A block that nobody else
// holds is idle: it counts as available, and the one that was longest without
// use is evicted when memory is short. Whoever uses a block uses its ancestors,
// so below an idle block all are idle.
type prefixes struct {
	roots map[lineage]*node
	// used is the head of a ring of all nodes, the last used first. A parent comes
	// before its children.
	used node
	size int // nodes
	idle int // nodes whose block nobody else holds
}

type node struct {
	parent         *node
	tokens         [blockTokens]int32
	block          *block
	children       []*node
	newer, earlier *node // in the ring
}

func newPrefixes() *prefixes {
	p := &prefixes{roots: map[lineage]*node{}}
	p.used.newer, p.used.earlier = &p.used, &p.used
	return p
}

// child finds the node behind n that holds the given 32 tokens.
func (n *node) child(tokens []int32) *node {
	for _, c := range n.children {
		if slices.Equal(c.tokens[:], tokens) {
			return c
		}
	}
	return nil
}

// find returns the blocks of the longest known start of tokens, at most most of
// them, with a reference each.
func (c *cache) find(a lineage, tokens []int32, most int) []*block {
	n := c.prefixes.roots[a]
	if n == nil {
		return nil
	}
	var found []*block
	for len(found) < most {
		at := len(found) * blockTokens
		next := n.child(tokens[at : at+blockTokens])
		if next == nil {
			break
		}
		n = next
		found = append(found, n.block)
	}
	c.share(found)
	c.prefixes.touch(n)
	return found
}

// keep takes the full blocks of table, which hold tokens, into the tree. Where
// the tree has a block with these tokens already, table gets that one in place
// of its own, so that it holds the ancestors of what it adds.
func (c *cache) keep(a lineage, tokens []int32, table []*block) {
	full := min(len(tokens)/blockTokens, len(table))
	if full == 0 {
		return
	}
	p := c.prefixes
	n := p.roots[a]
	if n == nil {
		n = &node{}
		p.roots[a] = n
	}
	for i := range full {
		part := tokens[i*blockTokens : (i+1)*blockTokens]
		next := n.child(part)
		if next == nil {
			next = &node{parent: n, block: table[i]}
			copy(next.tokens[:], part)
			n.children = append(n.children, next)
			p.link(next)
			p.size++
			next.block.kept = true
			next.block.refs++
		} else if own := table[i : i+1]; own[0] != next.block {
			c.release(own)
			own[0] = next.block
			c.share(own)
		}
		n = next
	}
	p.touch(n)
}

// touch moves n and its ancestors to the front of the ring, the root's child
// first.
func (p *prefixes) touch(n *node) {
	for ; n != nil && n.block != nil; n = n.parent {
		n.unlink()
		p.link(n)
	}
}

func (p *prefixes) link(n *node) {
	n.newer, n.earlier = &p.used, p.used.earlier
	p.used.earlier.newer = n
	p.used.earlier = n
}

func (n *node) unlink() {
	n.newer.earlier, n.earlier.newer = n.earlier, n.newer
}

// evict takes the idle block that was longest without use out of the tree.
func (c *cache) evict() *block {
	for n := c.prefixes.used.newer; n != &c.prefixes.used; n = n.newer {
		if n.block.refs == 1 {
			c.drop(n)
			return n.block
		}
	}
	panic("sample: no idle block to evict")
}

// drop takes a node without children out of the tree. Its block is the caller's.
func (c *cache) drop(n *node) {
	p := c.prefixes
	if len(n.children) > 0 {
		panic("sample: a block with others behind it is evicted")
	}
	i := slices.Index(n.parent.children, n)
	n.parent.children = slices.Delete(n.parent.children, i, i+1)
	n.unlink()
	p.size--
	if n.block.refs--; n.block.refs == 0 {
		p.idle--
	}
	n.block.kept = false
}

// forget drops all that was computed with an adapter. What others hold stays
// theirs.
func (c *cache) forget(a *adapter) {
	for from, root := range c.prefixes.roots {
		if from.adapter == a {
			delete(c.prefixes.roots, from)
			c.forgetBelow(root)
		}
	}
}

func (c *cache) forgetBelow(n *node) {
	for len(n.children) > 0 {
		last := n.children[len(n.children)-1]
		c.forgetBelow(last)
		c.drop(last)
		if last.block.refs == 0 {
			c.free = append(c.free, last.block)
		}
	}
}

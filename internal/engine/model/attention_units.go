package model

import (
	"runtime"
	"sync/atomic"
)

// Heads rarely divide evenly among threads, and threads are not equally fast: the
// work of attention is divided into units, which threads take one after another. Forward
// a unit is one head of a piece, a few blocks of a segment's queries.
//
// Backward, one head of a tree is a chain: its pieces add to the same gradients of
// keys and values in order. A unit is a chain. Of the last ones, which would leave
// threads without work, it is a piece: they are taken in turns, and each waits for the
// piece before, which is nearly always over.

// piece is a stretch [first, end) of the queries of a segment.
type piece struct{ segment, first, end int }

// pieceQueries is about the most queries of a piece.
const pieceQueries = 128

// units hands out the numbers of units.
type units struct {
	taken atomic.Int64
	all   int

	// Backward: chains that are units, chains behind them whose pieces are, and of
	// every chain the pieces that are over.
	whole, divided int
	done           []atomic.Int32
}

// begin hands out all units from now on. It makes room for the scores of any of them:
// which thread takes which is not known before.
func (w *Workspace) begin(all int) {
	w.units.taken.Store(0)
	w.units.all = all
	most := 0
	for i := range w.forest.segments {
		n := w.width(i)
		most = max(most, queryBlock(n)*n)
	}
	for i := range w.pool.Threads() {
		if s := &w.workers[i]; len(s.probs) < most {
			s.probs, s.grads = make([]float32, most), make([]float32, most)
		}
	}
}

// take returns the number of a unit, unless all are taken.
func (u *units) take() (n int, ok bool) {
	n = int(u.taken.Add(1) - 1)
	return n, n < u.all
}

// width is the number of keys that the last query of a segment sees.
func (w *Workspace) width(segment int) int {
	g := &w.forest.segments[segment]
	switch g.prompt {
	case nothing:
		return g.n
	case theTrunk:
		return len(w.trunk.forest.tokens) + g.n
	}
	return w.forest.segments[g.prompt].n + g.n
}

// stretch is the number of queries of a segment's pieces.
func (w *Workspace) stretch(segment int) int {
	block := queryBlock(w.width(segment))
	return max(1, pieceQueries/block) * block
}

// piecesOf is the number of pieces of the segments [first, end).
func (w *Workspace) piecesOf(first, end int) int {
	n := 0
	for i := first; i < end; i++ {
		stretch := w.stretch(i)
		n += (w.forest.segments[i].n + stretch - 1) / stretch
	}
	return n
}

// piece returns the n-th piece from a segment on.
func (w *Workspace) piece(segment, n int) piece {
	for {
		stretch, queries := w.stretch(segment), w.forest.segments[segment].n
		if n*stretch < queries {
			return piece{segment, n * stretch, min((n+1)*stretch, queries)}
		}
		n -= (queries + stretch - 1) / stretch
		segment++
	}
}

// unit returns the head and the piece of a unit of the forward: all pieces of a head of
// a segment follow each other.
func (w *Workspace) unit(n int) (head int, p piece) {
	for segment := 0; ; segment++ {
		pieces := w.piecesOf(segment, segment+1)
		if all := pieces * w.model.Config.Heads; n >= all {
			n -= all
			continue
		}
		return n / pieces, w.piece(segment, n%pieces)
	}
}

// beginBackward hands out the units of the backward.
func (w *Workspace) beginBackward() {
	u, threads, chains, most := &w.units, w.pool.Threads(), len(w.forest.trees)*w.model.Config.Heads, 0
	u.divided = 0
	if rest := chains % threads; rest > 0 && chains > threads {
		u.divided = threads + rest
	}
	u.whole = chains - u.divided
	for i := range w.forest.trees {
		most = max(most, w.piecesOfTree(i))
	}
	if len(u.done) < chains {
		u.done = make([]atomic.Int32, chains)
	}
	for i := range u.done {
		u.done[i].Store(0)
	}
	w.begin(u.whole + u.divided*most)
}

// unitBackward returns the chain of a unit and its pieces, which may be none.
func (w *Workspace) unitBackward(n int) (chain, first, end int) {
	u := &w.units
	if n < u.whole {
		return n, 0, w.piecesOfTree(n / w.model.Config.Heads)
	}
	n -= u.whole
	chain, first = u.whole+n%u.divided, n/u.divided
	return chain, first, min(first+1, w.piecesOfTree(chain/w.model.Config.Heads))
}

// piecesOfTree is the number of pieces of a tree: of its branches, then of its prompt.
func (w *Workspace) piecesOfTree(tree int) int {
	t := &w.forest.trees[tree]
	return w.piecesOf(t.first, max(t.end, t.prompt+1))
}

// await returns once n pieces of a chain are over.
func (u *units) await(chain, n int) {
	for int(u.done[chain].Load()) < n {
		runtime.Gosched()
	}
}

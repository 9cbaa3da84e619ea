package model

import (
	"context"
	"runtime"

	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// A pass does not hold all of its trees at once. Small trees are computed
// together, as many as wholeTokens. A larger one is computed prompt first: the
// prompt (its trunk) leaves keys and values for its branches, which follow in
// waves of about waveTokens tokens, forward, through the head and backward;
// each adds to the gradients of the trunk's keys, values and last row. Then the
// trunk's own backward follows. Nothing is computed twice, and memory holds the
// trunk and one wave, however many samples a group has.
//
// No byte depends on this division. Rows are independent but for attention,
// whose chains over keys begin at the prompt's; the chains of gradients over
// rows go through the branches of a tree in order and end with its prompt, in
// whatever stage these are (kernel's k-order rule).

// set is what shares a plan: whole trees [first, end), or one tree behind a trunk.
type set struct {
	first, end   int
	apart        bool
	trunk, wave  int // tokens of the trunk, and of the largest stage otherwise
	kept, shared int // blocks that keep only their input: of the trunk, of waves
}

// waveTokens is about how many tokens of branches are computed at once.
func (w *Workspace) waveTokens() int {
	if w.WaveTokens > 0 {
		return w.WaveTokens
	}
	return min(4096, max(256, 128*w.pool.Threads()))
}

// divide plans the sets of a pass and makes room for the largest.
func (w *Workspace) divide(trees []*Tree, a *Adapter, grad bool) {
	w.sets = w.sets[:0]
	most := w.waveTokens()
	for i, t := range trees {
		n := t.Computed()
		if n > 2*most && len(t.Branches) > 0 {
			w.sets = append(w.sets, set{first: i, end: i + 1, apart: true, trunk: len(t.Prompt), wave: largestWave(t, most)})
			continue
		}
		last := len(w.sets) - 1
		if last < 0 || w.sets[last].apart || w.sets[last].wave+n > 2*most {
			w.sets = append(w.sets, set{first: i})
			last++
		}
		w.sets[last].end = i + 1
		w.sets[last].wave += n
	}
	need := 0
	for i := range w.sets {
		s := &w.sets[i]
		s.kept, s.shared = w.recompute(a, s.trunk, s.wave)
		need = max(need, w.measure(s, a, grad))
	}
	w.arena.reserve(need)
}

// measure is the number of values that a set needs.
func (w *Workspace) measure(s *set, a *Adapter, grad bool) int {
	w.arena.counting = true
	defer func() { w.arena.counting = false }()
	w.arena.used = 0
	trunk, wave := carver{w, a, s.trunk, grad, true}, carver{w, a, s.wave, grad, false}
	if s.apart {
		trunk.stage(&w.trunk, s.kept)
	}
	mark := w.arena.used
	trunk.scratch()
	most := w.arena.used
	w.arena.used = mark
	wave.stage(&w.stage, s.shared)
	wave.scratch()
	return max(most, w.arena.used)
}

// nextWave returns the end of the wave of branches that begins with first.
func nextWave(t *Tree, first, most int) (end, tokens int) {
	for end = first; end < len(t.Branches); end++ {
		n := t.Branches[end].inputs()
		if tokens > 0 && tokens+n > most {
			break
		}
		tokens += n
	}
	return end, tokens
}

func largestWave(t *Tree, most int) int {
	largest := 0
	for first := 0; first < len(t.Branches); {
		end, tokens := nextWave(t, first, most)
		first, largest = end, max(largest, tokens)
	}
	return largest
}

// pass is what a pass is asked for: log-probs for visit, or with grad the
// gradients of loss, added to g.
type pass struct {
	ctx   context.Context
	trees []*Tree
	a, g  *Adapter
	grad  bool
	loss  LossFunc
	visit func(tree, branch int, lp []float64)
}

func (w *Workspace) run(p *pass) error {
	defer runtime.KeepAlive(w) // its arena goes with it
	if err := w.check(p.trees); err != nil {
		return err
	}
	w.half = w.rounds() && kernel.DenseBF16()
	w.divide(p.trees, p.a, p.grad)
	for i := range w.sets {
		s := &w.sets[i]
		w.arena.used = 0
		if !s.apart {
			w.forest.reset()
			for t := s.first; t < s.end; t++ {
				w.forest.whole(t, p.trees[t])
			}
			if err := w.wave(p, s); err != nil {
				return err
			}
			continue
		}
		if err := w.apart(p, s); err != nil {
			return err
		}
	}
	return nil
}

// apart computes a tree prompt first.
func (w *Workspace) apart(p *pass, s *set) error {
	tree := p.trees[s.first]
	w.forest.reset()
	w.forest.prompt(tree)
	v := carver{w, p.a, s.trunk, p.grad, true}
	v.stage(&w.stage, s.kept)
	mark := w.arena.used
	w.scratch = v.scratch()
	if err := w.forward(p); err != nil {
		return err
	}
	if p.grad {
		clear(w.dx)
		for l := range w.layers {
			clear(w.layers[l].dkq)
			clear(w.layers[l].dvq)
		}
	}
	w.stage, w.trunk = w.trunk, w.stage
	for first := 0; first < len(tree.Branches); {
		end, _ := nextWave(tree, first, w.waveTokens())
		w.forest.reset()
		w.forest.branches(s.first, tree, first, end)
		w.arena.used = mark
		if err := w.wave(p, s); err != nil {
			w.stage, w.trunk = w.trunk, w.stage
			return err
		}
		first = end
	}
	w.stage, w.trunk = w.trunk, w.stage
	if !p.grad {
		return nil
	}
	w.arena.used = mark
	w.scratch = v.scratch()
	return w.backward(p)
}

// wave computes a stage that has branches: forward, head, backward.
func (w *Workspace) wave(p *pass, s *set) error {
	v := carver{w, p.a, len(w.forest.tokens), p.grad, false}
	v.stage(&w.stage, s.shared)
	w.scratch = v.scratch()
	w.prepareHead(p.grad)
	if err := w.forward(p); err != nil {
		return err
	}
	if p.grad {
		clear(w.dx)
	}
	if err := w.score(p); err != nil || !p.grad {
		return err
	}
	return w.backward(p)
}

// forward runs the blocks of a stage; it leaves the last one's output in w.out.
func (w *Workspace) forward(p *pass) error {
	if len(w.forest.tokens) == 0 {
		return nil
	}
	h := w.model.Config.Hidden
	for row, id := range w.forest.tokens {
		w.model.EmbedRow(w.layers[0].x1[row*h:(row+1)*h], id)
	}
	for l := range w.layers {
		if err := w.between(p.ctx); err != nil {
			return err
		}
		next := w.out
		if l+1 < len(w.layers) {
			next = w.layers[l+1].x1
		}
		w.forwardBlock(l, p.a, &w.layers[l], next)
	}
	return nil
}

// backward runs the blocks of a stage backwards, from w.dx.
func (w *Workspace) backward(p *pass) error {
	if len(w.forest.tokens) == 0 {
		return nil
	}
	for l := len(w.layers) - 1; l >= 0; l-- {
		if err := w.between(p.ctx); err != nil {
			return err
		}
		s := &w.layers[l]
		// The acts that blocks share still are those of the last one of them.
		if l < w.kept-1 {
			w.forwardBlock(l, p.a, s, nil)
		}
		w.backwardBlock(l, p.a, p.g, s, l == 0)
	}
	return nil
}

// between is called between layers.
func (w *Workspace) between(ctx context.Context) error {
	if w.Between != nil {
		w.Between()
	}
	return ctx.Err()
}

package model

import (
	"math"

	"github.com/firekeep/firekeep/internal/engine/kernel"
)

// headBytes bounds the logits that are held at once. In bfloat16 products are so
// fast that reading the head's weights takes as long, so more rows share them.
const (
	headBytes     = 32 << 20
	headBytesHalf = 64 << 20
)

// headBuffers holds a chunk of scored tokens: their hidden states and logits.
type headBuffers struct {
	limit         int       // most rows, 0 = as headBytes says
	rows          int       // capacity
	x, norm, dx   []float32 // [rows, H] final stream, normalised (then its gradient), gradient of x
	inv           []float32 // [rows]
	logits        []float32 // [rows, Vocab]; with gradients: exp(logit - max), then d logit
	lp, entropy   []float64 // of every scored token of the micro-batch
	grad          []float64 // d loss / d lp
	sum           []float64 // [rows] sum of exp(logit - max)
	exps          [maxWorkers][]float32
	gradsOfLogits bool
}

// prepareHead sizes the buffers for the micro-batch.
func (w *Workspace) prepareHead(grad bool) {
	h, c := &w.head, &w.model.Config
	scored := len(w.forest.scoreRows)
	limit := h.limit
	if bytes := headBytes; limit == 0 {
		if w.rounds() {
			bytes = headBytesHalf
		}
		limit = max(1, bytes/4/c.Vocab)
	}
	rows := min(scored, limit)
	if rows > h.rows {
		h.rows = rows
		h.x, h.norm, h.dx = make([]float32, rows*c.Hidden), make([]float32, rows*c.Hidden), make([]float32, rows*c.Hidden)
		h.inv = make([]float32, rows)
		h.logits, h.sum = kernel.Memory[float32](rows*c.Vocab), make([]float64, rows)
	}
	h.lp, h.entropy, h.grad = resize(h.lp, scored), resize(h.entropy, scored), resize(h.grad, scored)
	h.gradsOfLogits = grad
}

// score runs the head over a stage: runs of samples whose scored tokens fit into
// the buffers, and single samples that do not fit. Gradients go to w.dx and,
// for the row of a trunk, to w.trunk.dx.
func (w *Workspace) score(p *pass) error {
	for all := w.forest.samples; len(all) > 0; {
		n := 1
		for n < len(all) && all[n].hi-all[0].lo <= w.head.rows {
			n++
		}
		w.scoreSamples(p, all[:n])
		if err := p.ctx.Err(); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

func (w *Workspace) scoreSamples(p *pass, samples []sampleSpan) {
	h := &w.head
	first, end := samples[0].lo, samples[len(samples)-1].hi
	for lo := first; lo < end; lo += h.rows {
		w.scoreTokens(lo, min(end, lo+h.rows))
	}
	if !p.grad {
		for _, s := range samples {
			p.visit(s.tree, s.branch, h.lp[s.lo:s.hi])
		}
		return
	}
	for _, s := range samples {
		p.loss(s.tree, s.branch, h.lp[s.lo:s.hi], h.entropy[s.lo:s.hi], h.grad[s.lo:s.hi])
	}
	for lo := first; lo < end; lo += h.rows {
		hi := min(end, lo+h.rows)
		if end-first > h.rows { // a sample longer than the buffers: only the last piece is still there
			w.scoreTokens(lo, hi)
		}
		w.backwardTokens(lo, hi)
	}
}

// stream returns a row of the final stream and of its gradient.
func (w *Workspace) stream(row int32) (x, dx []float32) {
	h, s := w.model.Config.Hidden, &w.stage
	if row < 0 {
		row, s = ^row, &w.trunk
	}
	at := int(row) * h
	if s.dx != nil {
		dx = s.dx[at : at+h]
	}
	return s.out[at : at+h], dx
}

// scoreTokens computes lp and entropy of the scored tokens lo..hi. With
// gradients it leaves exp(logit - max) in logits and their sums in sum.
func (w *Workspace) scoreTokens(lo, hi int) {
	h, c, n := &w.head, &w.model.Config, hi-lo
	for i, row := range w.forest.scoreRows[lo:hi] {
		x, _ := w.stream(row)
		copy(h.x[i*c.Hidden:(i+1)*c.Hidden], x)
	}
	w.rmsNorm(h.norm, h.x, w.model.Norm, h.inv, n)
	w.pool.Forward(h.logits, c.Vocab, h.norm, c.Hidden, w.model.Head, n, false)
	w.each(n, 1, scoreRows, op{n: lo})
}

func scoreRows(w *Workspace, o *op, worker, first, end int) {
	h, c, lo := &w.head, &w.model.Config, o.n
	if len(h.exps[worker]) < c.Vocab {
		h.exps[worker] = make([]float32, c.Vocab)
	}
	exps := h.exps[worker][:c.Vocab]
	for i := first; i < end; i++ {
		row := h.logits[i*c.Vocab : (i+1)*c.Vocab]
		target := float64(row[w.forest.scoreTargets[lo+i]])
		top := kernel.Max(row)
		sum := kernel.ExpSub(exps, row, top)
		lse := float64(top) + math.Log(sum)
		h.lp[lo+i] = target - lse
		h.entropy[lo+i] = lse - float64(kernel.Dot(exps, row))/sum
		if h.gradsOfLogits {
			copy(row, exps)
			h.sum[i] = sum
		}
	}
}

// backwardTokens adds the gradient of the final stream for the scored tokens
// lo..hi to w.dx, from h.grad and what scoreTokens left for the same run:
// d logit = g (onehot - softmax).
func (w *Workspace) backwardTokens(lo, hi int) {
	h, c, n := &w.head, &w.model.Config, hi-lo
	w.each(n, 1, logitGradients, op{n: lo})
	w.pool.Backward(h.norm, c.Hidden, h.logits, c.Vocab, w.model.Head, n, false)
	clear(h.dx[:n*c.Hidden])
	w.rmsNormBackward(h.dx, h.norm, h.x, w.model.Norm, h.inv, n)
	for i, row := range w.forest.scoreRows[lo:hi] { // rows repeat where branches share the prompt's last token
		_, dx := w.stream(row)
		kernel.Add(dx, h.dx[i*c.Hidden:(i+1)*c.Hidden])
	}
}

func logitGradients(w *Workspace, o *op, _, first, end int) {
	h, c, lo := &w.head, &w.model.Config, o.n
	for i := first; i < end; i++ {
		row, g := h.logits[i*c.Vocab:(i+1)*c.Vocab], h.grad[lo+i]
		kernel.Scale(row, float32(-g/h.sum[i]))
		row[w.forest.scoreTargets[lo+i]] += float32(g)
	}
}

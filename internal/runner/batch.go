package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"iter"
	"log/slog"
	"math"
	"runtime/debug"
	"sync"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
	"github.com/firekeep/firekeep/internal/wire"
)

// Rows of a batch are sampled batchWindow at a time. Windows make parts: a part
// ends with the window in which it has partRows rows or partBytes of answers.
// Where parts end depends on rows and answers alone, so that an attempt which
// repeats a part makes the same one.
const (
	batchWindow = 64
	batchAsked  = 32 // rows of a window that are sampled at once
	partRows    = 256
	partBytes   = 32 << 20
	maxAnswer   = 16 << 20 // bytes of one row's answer
)

// batchRun is one attempt at a batch inference job.
//
// Finished parts are resume points: sealed in the home bucket, or, for rows of the
// customer's bucket, there, with only their digests at home. The dataset of answers
// names them all in the transaction that ends the job, so nobody sees some of
// them. An attempt goes on behind the last part of its predecessor.
type batchRun struct {
	*attempt
	spec  job.BatchSpec
	model control.BatchModel
	src   *source
	// to and back are the customer's bucket, to write and to read, nil where the
	// answers are sealed.
	to, back objstore.Bucket
	at       objstore.URL

	parts    []part
	progress store.Progress
	mu       sync.Mutex // guards progress
	told     time.Time
}

// batch answers the rows of a dataset of requests.
func (a *attempt) batch() error {
	b := &batchRun{attempt: a}
	if err := json.Unmarshal(a.job.Spec, &b.spec); err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the job's description cannot be read")
	}
	d, objects, err := a.DB.DatasetByUID(a.ctx, b.spec.DatasetUID)
	if err != nil {
		return err
	}
	if b.src, err = a.source(a.ctx, d, objects); err != nil {
		return err
	}
	if err := b.findModel(); err != nil {
		return err
	}
	if err := b.openBucket(); err != nil {
		return err
	}
	if err := b.resume(); err != nil {
		return err
	}
	if err := a.advance(rft.StateRunning); err != nil {
		return err
	}
	if err := b.run(); err != nil {
		return err
	}
	if err := a.advance(rft.StateWriting); err != nil {
		return err
	}
	return b.publish()
}

// findModel finds the very model that the job was created with.
func (b *batchRun) findModel() error {
	m, err := b.DB.ModelByUID(b.ctx, b.spec.ModelUID)
	if err != nil {
		return err
	}
	if m.State != store.StateReady || m.Digest != b.spec.ModelDigest {
		return rft.Errorf(rft.KindFailedPrecondition, "%s is not the model any more that the job was created with", b.spec.Model)
	}
	b.model, err = control.NewBatchModel(b.ctx, b.DB, b.Router, b.job.Account, m, b.job.UID)
	b.model.Defaults = b.spec.Defaults
	return err
}

// resume takes up the parts of earlier attempts. One that does not open is made
// again, and those behind it.
func (b *batchRun) resume() error {
	n := store.Requests{Total: b.src.index.Groups}
	points, err := b.DB.ResumePoints(b.ctx, b.job.UID)
	if err != nil {
		return err
	}
	for i, point := range points {
		p, err := b.openPart(point)
		if rft.KindOf(err) == rft.KindDataLoss || err == nil && (p.Number != i || p.From != n.Answered+n.Failed) {
			break
		}
		if err != nil {
			return err
		}
		b.parts = append(b.parts, p)
		n.Add(p.Counts)
	}
	b.progress = store.Progress{Requests: &n}
	b.setPercent()
	return nil
}

func (b *batchRun) setPercent() {
	n := b.progress.Requests
	b.progress.Percent = int(min(99, 100*(n.Answered+n.Failed)/max(n.Total, 1)))
}

// run samples the rows that no part holds yet.
func (b *batchRun) run() error {
	done := b.progress.Requests
	var window []batchRow
	p := part{Number: len(b.parts), From: done.Answered + done.Failed}
	for row, err := range b.rows(p.From) {
		if err != nil {
			return err
		}
		if window = append(window, row); len(window) < batchWindow {
			continue
		}
		if err := b.window(&p, window); err != nil {
			return err
		}
		if window = window[:0]; p.full() {
			if p, err = b.commit(p); err != nil {
				return err
			}
		}
	}
	if err := b.window(&p, window); err != nil || p.Counts.Answered+p.Counts.Failed == 0 {
		return err
	}
	_, err := b.commit(p)
	return err
}

// batchRow is one request.
type batchRow struct {
	number int64 // from 0, in the dataset
	object string
	line   int64
	raw    []byte
}

// rows yields the rows from number on, a chunk in memory at a time.
func (b *batchRun) rows(from int64) iter.Seq2[batchRow, error] {
	return func(yield func(batchRow, error) bool) {
		for k, c := range b.src.index.Chunks {
			if c.Before+c.Groups <= from {
				continue
			}
			w := b.src.load(b.ctx, 0, 0, []int{k})
			if w.err != nil {
				yield(batchRow{}, w.err)
				return
			}
			for i, r := range c.Ranges() {
				row := batchRow{number: c.Before + int64(i), object: b.src.names[r.Object], line: r.Line}
				start := r.Offset - c.Offset
				row.raw = w.bytes[0][start : start+r.Length]
				if row.number >= from && !yield(row, nil) {
					return
				}
			}
		}
	}
}

// window samples some rows at once and adds their answers in order.
func (b *batchRun) window(p *part, rows []batchRow) error {
	ctx, cancel := context.WithCancelCause(b.ctx)
	defer cancel(nil)
	answers := make([]answer, len(rows))
	free := make(chan struct{}, b.Router.Share(batchAsked))
	var work sync.WaitGroup
	for i := range rows {
		free <- struct{}{}
		work.Go(func() {
			defer func() { <-free }()
			if err := b.contained(func() (err error) { answers[i], err = b.answer(ctx, rows[i]); return err }); err != nil {
				cancel(err)
				return
			}
			b.tell(answers[i].counts)
		})
	}
	work.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, a := range answers {
		p.add(a)
	}
	return nil
}

// contained makes a panic over one row the job's failure and not the server's.
func (b *batchRun) contained(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			b.Log.Error("panic over a row", slog.String("uid", b.job.UID), slog.String("stack", string(debug.Stack())))
			err = rft.Errorf(rft.KindInternal, "internal error")
		}
	}()
	return f()
}

// answer is the line of a row in one of the two files.
type answer struct {
	line   []byte
	failed bool
	counts store.Requests
}

// answer samples a row. What is wrong with the row is its answer; an error is
// about the job.
func (b *batchRun) answer(ctx context.Context, row batchRow) (answer, error) {
	var fields map[string]json.RawMessage // exact names: those that were validated
	if err := json.Unmarshal(bytes.TrimSpace(row.raw), &fields); err != nil {
		return answer{}, rft.Wrap(rft.KindDataLoss, err, "%s: line %d is not the row any more that was validated", row.object, row.line)
	}
	w := api.BatchAnswer{CustomID: fields["custom_id"]}
	a := answer{}
	var err error
	if w.Response, a.counts, err = b.sample(ctx, row, fields["body"]); err == nil {
		if a.line, err = api.Marshal(w); err == nil && len(a.line) > maxAnswer {
			err = rft.Errorf(rft.KindInvalidArgument, "the answer is longer than %d MiB", maxAnswer>>20)
		}
	}
	switch {
	case err == nil:
		a.counts.Answered = 1
	case !ofRow(err) || ctx.Err() != nil:
		return a, err
	default:
		w.Response, w.Error = nil, control.RowError(err)
		w.Error.Line = row.line
		a.failed, a.counts.Failed = true, 1
		if a.line, err = api.Marshal(w); err != nil {
			return a, rft.Wrap(rft.KindInternal, err, "an answer cannot be written")
		}
	}
	a.line = append(bytes.TrimRight(a.line, "\n"), '\n')
	return a, nil
}

// ofRow reports whether an error is about a row, and not about the job.
func ofRow(err error) bool {
	switch rft.KindOf(err) {
	case rft.KindInvalidArgument, rft.KindOutOfRange, rft.KindUnimplemented:
		return true
	}
	return false
}

// sample asks the model. The answer depends on row and job alone: a request that
// names no seed gets one of its place, and what tells of other requests or of the
// clock is left out. An attempt after a crash thus writes the same bytes.
func (b *batchRun) sample(ctx context.Context, row batchRow, body json.RawMessage) (*api.Completion, store.Requests, error) {
	var n store.Requests
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, n, control.BodyError(err)
	}
	s, err := b.model.Request(fields)
	if err != nil {
		return nil, n, err
	}
	s.SeedUnlessGiven(b.seed(row))
	for {
		out := control.NewRendering(s, true, fmt.Sprintf("cmpl-%s-%d", b.job.UID, row.number), b.job.Created)
		err := s.Run(ctx, func(e wire.SampleEvent) error { return out.Add(e) })
		var busy *serving.Busy
		if rft.KindOf(err) == rft.KindResourceExhausted && errors.As(err, &busy) {
			if err := wait(ctx, busy.After); err != nil {
				return nil, n, err
			}
			continue
		}
		if err != nil {
			return nil, n, err
		}
		c := out.Answer()
		n.InputTokens, n.OutputTokens = int64(c.Usage.PromptTokens), int64(c.Usage.CompletionTokens)
		if d := c.Usage.PromptTokensDetails; d != nil {
			n.CachedTokens, c.Usage.PromptTokensDetails = int64(d.CachedTokens), nil
		}
		return &c, n, nil
	}
}

// seed is that of a row which names none: another for each job and row.
func (b *batchRun) seed(row batchRow) int64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d", b.job.UID, row.number)
	return int64(h.Sum64() >> 1)
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// tell counts an answer and stores the counts at most once a second.
func (b *batchRun) tell(n store.Requests) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.progress.Requests.Add(n)
	b.setPercent()
	if time.Since(b.told) < time.Second {
		return
	}
	b.told = time.Now()
	// Only a sign of life: a lease that is lost is found by who writes a part.
	_ = b.report()
}

// report stores the progress. b.mu is held, or nothing is being sampled.
func (b *batchRun) report() error {
	p, n := b.progress, *b.progress.Requests
	p.Requests = &n
	return b.DB.Report(b.ctx, b.job.UID, b.lease.Fence(), &p)
}

// commit keeps a part and returns the next, empty one.
func (b *batchRun) commit(p part) (part, error) {
	if err := b.place(&p); err != nil {
		return p, err
	}
	mark, err := json.Marshal(map[string]int64{"from": p.From, "rows": p.rows()})
	if err != nil {
		return p, rft.Wrap(rft.KindInternal, err, "a part cannot be described")
	}
	files, err := p.files(b.spec.OutputURL == "")
	if err != nil {
		return p, err
	}
	point := store.ResumePoint{Update: int64(p.Number), Mark: mark, Artifact: catalog.ResumePrefix(b.account, b.job.UID, b.lease.Fence(), int64(p.Number))}
	manifest := catalog.Manifest{Kind: "batch-part", Subject: b.job.UID, Job: b.job.UID, Base: b.model.Target.BaseDigest}
	if point, err = b.addPoint(point, manifest, files, math.MaxInt32); err != nil {
		return p, err
	}
	p.point, p.results, p.failures = point, nil, nil
	b.parts = append(b.parts, p)
	return part{Number: p.Number + 1, From: p.From + p.rows()}, b.report()
}

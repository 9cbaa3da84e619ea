package child

import (
	"errors"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/sample"
	"github.com/firekeep/firekeep/internal/wire"
)

// sampling serves requests. Its fields belong to the goroutine of run, which
// owns the sampler; inbox belongs to the goroutine of receive.
type sampling struct {
	w       *worker
	text    *text
	model   *model.Model
	sampler *sample.Sampler

	inbox  chan job
	latest uint64 // highest request that was looked at
	// early holds cancels that overtook their request.
	early []uint64
	live  map[uint64]*answering
	tried *wire.Ack // an adapter's, not sent yet
	err   error     // of sending
}

// answering is a request in work.
type answering struct {
	left    int  // completions that are not finished
	wantIDs bool // the prompt's ids are asked for
}

// job is what receive hands over: a request, or a change of adapters.
type job struct {
	request *sample.Request
	id      uint64
	refused error // why the request cannot be served
	change  *wire.AdapterChange
	adapter *model.Adapter
}

// sample serves requests until the connection ends.
func (w *worker) sample(t wire.SampleTask, weights wire.Weights) (any, error) {
	p, m, err := w.openWeights(weights)
	if err != nil {
		return nil, err
	}
	tok, err := w.tokenizer(p)
	if err != nil {
		return nil, err
	}
	if err := w.proven(); err != nil {
		return nil, err
	}
	txt := newText(tok, p)
	s := &sampling{w: w, text: txt, model: m, inbox: make(chan job), live: map[uint64]*answering{}}
	s.sampler = sample.New(w.pool, m, txt.tokenizer, sample.Options{MaxSequences: t.MaxSequences, MaxContext: t.MaxContext, CacheBytes: t.CacheBytes,
		Int8: t.Int8 && kernel.FastInt8()})
	received := make(chan error, 1)
	go func() {
		received <- w.contained(s.receive)
		w.stop(nil)
	}()
	if err := w.conn.Send(w.ctx, wire.Ack{}); err != nil { // ready
		return nil, err
	}
	err = s.run()
	w.stop(err)
	return nil, errors.Join(<-received, err)
}

// run makes passes while there is work, and takes jobs between them.
func (s *sampling) run() error {
	busy := false
	for s.err == nil {
		if !busy {
			select {
			case j := <-s.inbox:
				s.do(j)
			case <-s.w.wake:
			case <-s.w.ctx.Done():
				return nil
			}
		}
		s.drain()
		s.revoke()
		s.w.followThreads()
		busy = s.sampler.Step()
		s.told()
	}
	return s.err
}

// told answers for an adapter that was tried in the pass that is over.
func (s *sampling) told() {
	if s.tried == nil {
		return
	}
	if s.tried.Error != "" {
		s.sampler.RemoveAdapter(s.tried.ID)
	}
	s.send(*s.tried)
	s.tried = nil
}

// drain takes every job that waits.
func (s *sampling) drain() {
	for {
		select {
		case j := <-s.inbox:
			s.do(j)
		default:
			return
		}
	}
}

func (s *sampling) do(j job) {
	if j.change != nil {
		s.change(j)
		return
	}
	s.latest = j.id
	if i := slices.Index(s.early, j.id); i >= 0 {
		s.early = slices.Delete(s.early, i, i+1)
		return
	}
	if j.refused == nil {
		j.refused = s.sampler.Submit(*j.request, s.emit)
	}
	if j.refused != nil {
		s.send(fault(j.id, j.refused))
		return
	}
	s.live[j.id] = &answering{left: max(j.request.N, 1), wantIDs: j.request.Echo || j.request.Logprobs}
}

// revoke cancels the requests whose cancels have come since the last pass.
// Numbers of requests rise, so a cancel above the latest overtook its request;
// others that are not live came too late.
func (s *sampling) revoke() {
	s.w.mu.Lock()
	ids := s.w.revoked
	s.w.revoked = nil
	s.w.mu.Unlock()
	for _, id := range ids {
		if id > s.latest {
			s.early = append(s.early, id)
		} else if s.live[id] != nil {
			delete(s.live, id)
			s.sampler.Cancel(id)
		}
	}
}

func (s *sampling) change(j job) {
	ack := wire.Ack{ID: j.change.ID}
	err := j.refused
	switch {
	case err != nil:
	case j.change.Unload:
		if !s.sampler.RemoveAdapter(j.change.ID) { // the broker means another one, which would stay
			err = &engine.Problem{Rule: "adapter-id", Message: "no adapter of this id is loaded"}
		}
	default:
		if err = s.sampler.AddAdapter(j.change.ID, j.adapter); err == nil && j.change.Canary > 0 {
			err = s.try(j.change)
			if err == nil {
				return // the ack comes with the canary
			}
		}
	}
	if err != nil {
		ack.Error = fault(0, err).Message
	}
	s.send(ack)
}

// canaryRequest is the id of the request that tries an adapter. The broker's
// count from 1 and are JSON numbers, so none of them reaches it.
const canaryRequest = math.MaxUint64

// try scores the canary under an adapter that was just added, as a request among
// the others: nothing that is decoded waits for it, and it takes the way that
// every answer takes. The ack follows when it is computed.
func (s *sampling) try(c *wire.AdapterChange) error {
	ack := wire.Ack{ID: c.ID}
	n := min(c.Canary, s.model.Config.MaxPositions)
	q := sample.Request{ID: canaryRequest, Adapter: c.ID, Prompt: engine.CanaryIDs(s.model.Config.Vocab, n), MaxTokens: -1, TopP: 1, Echo: true, Logprobs: true}
	err := s.sampler.Submit(q, func(e sample.Event) {
		for _, t := range e.Tokens {
			ack.Canary = append(ack.Canary, finite(t.Logprob))
		}
		switch {
		case e.Finish == "":
			return
		case e.Finish == sample.FinishFailed || len(ack.Canary) != n:
			ack.Error, ack.Canary = "the adapter's log-probs cannot be computed", nil
			if e.Problem != nil {
				ack.Error = e.Problem.Message
			}
		default:
			ack.Canary = ack.Canary[1:] // nothing stands before the first
		}
		s.tried = &ack
	})
	if err != nil {
		s.sampler.RemoveAdapter(c.ID)
	}
	return err
}

// send keeps the first error: the connection is gone then, and so is the task.
func (s *sampling) send(m any) {
	if err := s.w.conn.Send(s.w.ctx, m); err != nil && s.err == nil {
		s.err = err
	}
}

// emit sends what a pass produced for a completion. A completion that failed
// takes its request with it.
func (s *sampling) emit(e sample.Event) {
	a := s.live[e.ID]
	switch {
	case a == nil:
		return // cancelled: nobody reads
	case e.Finish == sample.FinishFailed:
		delete(s.live, e.ID)
		s.sampler.Cancel(e.ID)
		err := error(&engine.Problem{Rule: "sampling-failed", Message: "the completion could not be computed"})
		if e.Problem != nil {
			err = e.Problem
		}
		s.send(fault(e.ID, err))
		return
	case e.Finish != "":
		if a.left--; a.left == 0 {
			delete(s.live, e.ID)
		}
	}
	if !a.wantIDs {
		e.Prompt = nil
	}
	for _, m := range eventMessages(e) {
		s.send(m)
	}
}

// Bounds of one message, so that it fits into a frame with all alternatives.
const (
	eventTokens = 256
	eventIDs    = 64 << 10
)

// eventMessages splits an event into messages that fit into frames: an echoed
// prompt can be long. The first carries the text, the last the finish.
func eventMessages(e sample.Event) []wire.SampleEvent {
	var out []wire.SampleEvent
	text, tokens, ids := e.Text, e.Tokens, e.Prompt
	for first := true; first || len(tokens) > 0 || len(ids) > 0 || len(text) > 0; first = false {
		m := wire.SampleEvent{ID: e.ID, Index: e.Index, Generated: e.Generated}
		if first {
			m.PromptTokens, m.CachedTokens = e.PromptTokens, e.CachedTokens
		}
		m.Text, text = cutText(text)
		n := min(len(ids), eventIDs)
		m.Prompt, ids = ids[:n:n], ids[n:]
		n = min(len(tokens), eventTokens)
		for _, t := range tokens[:n] {
			m.Tokens = append(m.Tokens, tokenMessage(t))
		}
		m.Echoed = min(e.Echoed, n)
		tokens, e.Echoed = tokens[n:], e.Echoed-m.Echoed
		out = append(out, m)
	}
	out[len(out)-1].Finish = string(e.Finish)
	return out
}

// cutText cuts at a character's boundary; escaping makes a byte six at worst.
func cutText(s string) (head, rest string) {
	const most = 64 << 10
	if len(s) <= most {
		return s, ""
	}
	n := most
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], s[n:]
}

func tokenMessage(t sample.Token) wire.SampleToken {
	m := wire.SampleToken{ID: t.ID, Text: t.Text, Bytes: t.Bytes, Logprob: finite(t.Logprob), Sampling: finite(t.Sampling)}
	for _, a := range t.Top {
		m.Top = append(m.Top, wire.TopToken{ID: a.ID, Text: a.Text, Bytes: a.Bytes, Logprob: finite(a.Logprob)})
	}
	return m
}

// lowest stands for minus infinity, which JSON lacks.
const lowest = -1e30

func finite(x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return min(max(x, lowest), -lowest)
}

// receive turns messages into jobs: text becomes tokens and files become
// adapters here, beside the passes.
func (s *sampling) receive() error {
	var config, tensors []byte
	for {
		m, err := s.w.conn.Receive(s.w.ctx)
		if err != nil {
			return err
		}
		var j job
		switch m := m.(type) {
		case *wire.Inbound:
			switch m.Name {
			case "adapter-config":
				config, err = readBlob(m)
			case "adapter":
				tensors, err = readBlob(m)
			default:
				err = unexpected(m)
			}
			if err != nil {
				return err
			}
			continue
		case wire.AdapterChange:
			j = job{change: &m}
			if !m.Unload {
				j.adapter, j.refused = model.ReadPEFT(&s.model.Config, config, tensors)
				config, tensors = nil, nil
			}
		case wire.SampleRequest:
			j = s.requestJob(m)
		default:
			return unexpected(m)
		}
		select {
		case s.inbox <- j:
		case <-s.w.ctx.Done():
			return nil
		}
	}
}

func (s *sampling) requestJob(m wire.SampleRequest) job {
	j := job{id: m.ID}
	prompt, err := s.text.prompt(m)
	if err != nil {
		j.refused = err
		return j
	}
	j.request = &sample.Request{ID: m.ID, Caller: m.Caller, Adapter: m.Adapter, Prompt: prompt, N: m.N, MaxTokens: m.MaxTokens,
		Temperature: m.Temperature, TopP: m.TopP, TopK: m.TopK, Seed: m.Seed, Stop: m.Stop, IgnoreEOS: m.IgnoreEOS,
		Logprobs: m.Logprobs, TopLogprobs: m.TopLogprobs, Echo: m.Echo, EchoLast: m.EchoLast, Truncate: m.Truncate,
		MinP: m.MinP, TypicalP: m.TypicalP, RepetitionPenalty: m.RepetitionPenalty, FrequencyPenalty: m.FrequencyPenalty, PresencePenalty: m.PresencePenalty}
	for _, b := range m.Bias {
		j.request.Bias = append(j.request.Bias, sample.Bias{ID: b.ID, Value: b.Value})
	}
	return j
}

package server

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

func chat(rq *request) error     { return sample(rq, true) }
func complete(rq *request) error { return sample(rq, false) }

// sample serves both inference operations, streaming or not.
func sample(rq *request, isChat bool) error {
	var r api.CompletionRequest
	rq.note(func(u *use) { u.body = reflect.TypeOf(r) })
	body, err := rq.readBody(maxInference)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return control.BodyError(err)
	}
	var s *control.Sampling
	if isChat {
		s, err = rq.s.control.Chat(rq.ctx(), rq.caller, &r)
	} else {
		s, err = rq.s.control.Complete(rq.ctx(), rq.caller, &r)
	}
	if err != nil {
		return err
	}
	out := control.NewRendering(s, isChat, "cmpl-"+rq.id, time.Now())
	ctx, cancel := context.WithCancelCause(rq.ctx())
	defer cancel(nil)
	if r.Stream {
		err = rq.stream(ctx, s, out)
	} else {
		err = rq.whole(ctx, s, out)
	}
	rq.s.metrics.tokens(out.Usage())
	return err
}

// checkpointHeader says which weights an answer is of.
const checkpointHeader = "Firekeep-Checkpoint"

// whole answers once all completions are there. Clients of the contract give up
// a request, and send it again, when no byte came for 60 s; so an answer that
// takes long is begun early, with spaces, which JSON may begin with.
func (rq *request) whole(ctx context.Context, s *control.Sampling, out *control.Rendering) error {
	h := rq.w.Header()
	h.Set(checkpointHeader, s.Checkpoint())
	awake := rq.keepAwake(ctx)
	err := s.Run(ctx, out.Add)
	if begun := awake(); err != nil && begun {
		// The status says 200 by now: only a cut connection tells of the failure.
		rq.s.logFailure(rq, err)
		panic(http.ErrAbortHandler)
	}
	if err != nil {
		h.Del(checkpointHeader) // nothing answered
		return err
	}
	prompt, _ := out.Usage()
	h.Set("Fireworks-Prompt-Tokens", strconv.Itoa(prompt))
	h.Set("Fireworks-Server-Time-To-First-Token", out.FirstTokenSeconds())
	rq.writeJSON(http.StatusOK, out.Answer())
	return nil
}

// keepAwake writes a space whenever nothing was written for the server's quiet
// time, until stop is called, which says whether the answer has begun.
func (rq *request) keepAwake(ctx context.Context) (stop func() (begun bool)) {
	begun := false
	rc := http.NewResponseController(rq.w)
	end := rq.beat(ctx, func() error {
		if !begun {
			begun = true
			rq.w.Header().Set("Content-Type", "application/json")
			rq.w.WriteHeader(http.StatusOK)
		}
		_ = rc.SetWriteDeadline(time.Now().Add(writeStall))
		if _, err := rq.w.Write([]byte(" ")); err != nil {
			return err // the request's context ends too
		}
		return rc.Flush()
	})
	return func() bool {
		end()
		return begun
	}
}

// beat calls f every quiet time of the server until f fails, ctx ends or stop is
// called. stop waits for a call that is under way.
func (rq *request) beat(ctx context.Context, f func() error) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(rq.s.quiet)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if f() != nil {
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// events writes server-sent events. Nothing is written before the first of them,
// or before the client was left waiting for the server's quiet time: until then
// the HTTP status is open.
type events struct {
	rq         *request
	rc         *http.ResponseController
	checkpoint string

	mu    sync.Mutex
	begun bool
	last  time.Time // something was written
}

func (o *events) write(text []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writeLocked(text)
}

func (o *events) writeLocked(text []byte) error {
	if !o.begun {
		o.begun = true
		h := o.rq.w.Header()
		h.Set("Content-Type", "text/event-stream")
		h.Set("X-Accel-Buffering", "no")
		h.Set(checkpointHeader, o.checkpoint)
		o.rq.w.WriteHeader(http.StatusOK)
	}
	_ = o.rc.SetWriteDeadline(time.Now().Add(writeStall))
	if _, err := o.rq.w.Write(text); err != nil {
		return rft.Wrap(rft.KindCancelled, err, "the client went away")
	}
	o.last = time.Now()
	return o.rc.Flush()
}

func (o *events) send(v any) error {
	b, err := api.Marshal(v)
	if err != nil {
		return err
	}
	return o.write(append(append([]byte("data: "), b...), "\n\n"...))
}

// awake writes a comment, which clients skip, where nothing was written for the
// server's quiet time.
func (o *events) awake() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if time.Since(o.last) < o.rq.s.quiet {
		return nil
	}
	return o.writeLocked([]byte(": still here\n\n"))
}

// stream answers with server-sent events. A request that cannot start fails with
// its real status; what fails behind it is seen as an event and a cut connection.
func (rq *request) stream(ctx context.Context, s *control.Sampling, out *control.Rendering) error {
	o := &events{rq: rq, rc: http.NewResponseController(rq.w), checkpoint: s.Checkpoint(), last: time.Now()}
	stop := rq.beat(ctx, o.awake)
	err := s.Run(ctx, func(e wire.SampleEvent) error {
		for _, c := range out.Chunk(e) {
			if err := o.send(c); err != nil {
				return err
			}
		}
		return nil
	})
	stop()
	if err != nil {
		if !o.begun {
			return err
		}
		return rq.breakStream(o.send, err)
	}
	return o.write([]byte("data: [DONE]\n\n"))
}

// breakStream makes an error behind the status visible: an error event for
// clients that look for one, then a cut connection for those that do not.
func (rq *request) breakStream(send func(any) error, err error) error {
	rq.s.logFailure(rq, err)
	if rft.KindOf(err) != rft.KindCancelled {
		_ = send(rq.inferenceError(rft.KindOf(err).HTTPStatus(), err))
	}
	panic(http.ErrAbortHandler)
}

func listServed(rq *request) error {
	v, err := rq.s.control.ListServed(rq.ctx(), rq.caller)
	return rq.reply(v, err)
}

func getServed(rq *request) error {
	v, err := rq.s.control.GetServed(rq.ctx(), rq.caller, rq.params["model"])
	return rq.reply(v, err)
}

func getServedByName(rq *request) error {
	ref := rft.Name{Account: rq.params["account"], Collection: rft.Models, ID: rq.params["model"]}.String()
	v, err := rq.s.control.GetServed(rq.ctx(), rq.caller, ref)
	return rq.reply(v, err)
}

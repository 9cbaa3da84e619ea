package broker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"slices"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// Blob is bytes that a child made, with the digest computed on this side.
type Blob struct {
	Data   []byte
	SHA256 string // hex
}

// Open reads the blob from its beginning.
func (b Blob) Open() io.Reader { return bytes.NewReader(b.Data) }

// State is an adapter with its optimiser state: the content of a resume point
// and of a checkpoint.
type State struct {
	Config    Blob // adapter_config.json
	Adapter   Blob // adapter_model.safetensors
	Optimizer Blob // safetensors
}

// TrainInput is what a step starts from. Task's HasAdapter and HasMoments are
// set from the blobs, Canary from what the engine can; Threads and Level come from Options.
type TrainInput struct {
	Task wire.TrainTask
	// Model is the base's architecture: it bounds what the child may send.
	Model engine.Config
	// The incoming LoRA, or on resume the resume point's state; nil starts fresh.
	Config, Adapter, Optimizer []byte
	// Original is the adapter that the job began with (safetensors), on resume
	// of a job that began with one; else nil.
	Original []byte
	// Feed sends the groups in training order, from its own goroutine. Its error
	// ends the session and is returned. It must return when ctx ends.
	Feed func(ctx context.Context, f *Feed) error
}

// Feed takes the groups of a step.
type Feed struct {
	ctx  context.Context
	conn *wire.Conn
}

// Group sends one group; it blocks while the child has enough to do.
func (f *Feed) Group(g wire.Group) error { return sending(f.conn.Send(f.ctx, g)) }

// EndEpoch ends an epoch; last says that none follows.
func (f *Feed) EndEpoch(epoch int, last bool) error {
	return sending(f.conn.Send(f.ctx, wire.EpochEnd{Epoch: epoch, Last: last}))
}

// TrainSink receives what a step reports, one call at a time. A nil function
// ignores; an error ends the session and is returned.
type TrainSink struct {
	Metrics  func(wire.Metrics) error
	Progress func(wire.Progress) error
	Warning  func(wire.Warning) error
	// Mark gets each resume point. The step goes on meanwhile; the next report
	// waits until Mark returns.
	Mark func(wire.Mark, State) error
	// Coming gets each blob of the result by its name in the protocol when it begins.
	// Its content can be written elsewhere while it comes, and fails when the rest
	// does not come.
	Coming func(name string, content io.WriterTo) error
	// Part gets what of the result is here, so that it can be stored while the rest
	// comes and is tried: nothing when training is over, then with one blob more each
	// time. Train returns all of it. It is not called for engines that do not
	// announce their result.
	Part func(State) error
}

// Train runs a reinforcement step and returns its result. The child is ending then;
// after an error it is gone.
func (c *Child) Train(ctx context.Context, in TrainInput, sink TrainSink) (wire.TrainDone, State, error) {
	in.Task.HasAdapter, in.Task.HasMoments = in.Adapter != nil, in.Optimizer != nil
	in.Task.HasOriginal = in.Original != nil
	if !in.Task.Evaluate && c.can(wire.CapabilityCanary) {
		in.Task.Canary = engine.CanaryTokens
	}
	t := &training{sink: sink, limits: stateLimits(in.Model, in.Task.Spec)}
	s := &session{child: c, task: wire.Task{Kind: "train", Train: &in.Task}, handle: t.handle}
	s.feed = func(ctx context.Context) error {
		if err := c.sendState(ctx, in); err != nil {
			return err
		}
		return in.Feed(ctx, &Feed{ctx, c.conn})
	}
	var done wire.TrainDone
	if err := s.run(ctx, &done); err != nil {
		return wire.TrainDone{}, State{}, err
	}
	state, ok := t.take()
	err := checkCanary(done.Canary, in.Task.Canary)
	if m := done.Mark; m != nil && !possible(*m) {
		err = rft.Errorf(rft.KindInternal, "the engine reported a resume point that cannot be")
	}
	if !ok {
		err = rft.Errorf(rft.KindInternal, "the engine finished without sending the adapter")
	}
	if err != nil {
		c.Close()
		return wire.TrainDone{}, State{}, err
	}
	return done, state, nil
}

// checkCanary refuses a canary that was not asked for or cannot be one.
func checkCanary(c *engine.Canary, asked int) error {
	if c == nil || c.Sequence == engine.CanarySequence && len(c.Logprobs) > 0 && c.Tokens() <= asked && engine.LogProbs(c.Logprobs) {
		return nil
	}
	return rft.Errorf(rft.KindInternal, "the engine reported a canary that cannot be")
}

func (c *Child) sendState(ctx context.Context, in TrainInput) error {
	streams := []struct {
		name string
		data []byte
	}{{"adapter-config", in.Config}, {"adapter", in.Adapter}, {"optimizer", in.Optimizer}, {"incoming-adapter", in.Original}}
	for _, st := range streams {
		if st.data == nil {
			continue
		}
		if err := c.sendBytes(ctx, st.name, st.data); err != nil {
			return err
		}
	}
	return nil
}

func (c *Child) sendBytes(ctx context.Context, name string, data []byte) error {
	return sending(c.conn.SendStream(ctx, wire.Open{Name: name, Size: int64(len(data))}, bytes.NewReader(data)))
}

// training collects what a step sends.
type training struct {
	sink   TrainSink
	limits map[string]int64
	blobs  map[string]Blob
	final  bool // what comes is the result
}

func (t *training) handle(m any) error {
	switch m := m.(type) {
	case *wire.Inbound:
		return t.readBlob(m)
	case wire.Mark:
		state, ok := t.take()
		if !ok || t.final || !possible(m) {
			return unexpected(m)
		}
		return report2(t.sink.Mark, m, state)
	case wire.Metrics:
		return report(t.sink.Metrics, m)
	case wire.Progress:
		if m.Stage == wire.StageWrite {
			return t.begin()
		}
		return report(t.sink.Progress, m)
	case wire.Warning:
		m.Message = clip(m.Message)
		return report(t.sink.Warning, m)
	}
	return unexpected(m)
}

// possible reports whether there can be such a resume point.
func possible(m wire.Mark) bool { return m.Update >= 0 && m.Position >= 0 }

// begin is the beginning of the result.
func (t *training) begin() error {
	if t.final || t.blobs != nil {
		return unexpected(wire.Progress{})
	}
	t.final = true
	return report(t.sink.Part, State{})
}

func report[M any](f func(M) error, m M) error {
	if f == nil {
		return nil
	}
	return taking(f(m))
}

func report2(f func(wire.Mark, State) error, m wire.Mark, s State) error {
	if f == nil {
		return nil
	}
	return taking(f(m, s))
}

// readBlob reads one stream into memory, up to what it may have.
func (t *training) readBlob(in *wire.Inbound) error {
	limit, known := t.limits[in.Name]
	if _, again := t.blobs[in.Name]; !known || again {
		return unexpected(in)
	}
	size := in.Size
	switch {
	case size > limit:
		return tooMuch(in, limit)
	case size < 0: // about its limit, and untouched memory costs nothing
		size = limit
	}
	blob, digest := newArriving(size), sha256.New()
	if t.final && t.sink.Coming != nil {
		if err := taking(t.sink.Coming(in.Name, blob)); err != nil {
			return err
		}
	}
	_, err := copyOut(io.MultiWriter(blob, digest), in, func() int64 { return limit })
	blob.end(err)
	if err != nil {
		return err
	}
	if t.blobs == nil {
		t.blobs = map[string]Blob{}
	}
	t.blobs[in.Name] = Blob{Data: blob.data, SHA256: hex.EncodeToString(digest.Sum(nil))}
	if !t.final {
		return nil
	}
	return report(t.sink.Part, t.state())
}

// state is what came since the last take.
func (t *training) state() State {
	return State{Config: t.blobs["adapter-config"], Adapter: t.blobs["adapter"], Optimizer: t.blobs["optimizer"]}
}

// take returns the three blobs that came since the last call.
func (t *training) take() (State, bool) {
	s := t.state()
	whole := len(t.blobs) == 3
	t.blobs = nil
	return s, whole
}

// stateLimits bounds the blobs of a step: the values of the adapter, and twice
// as many moments, with room for names.
func stateLimits(m engine.Config, spec engine.Spec) map[string]int64 {
	values, tensors := int64(0), int64(0)
	for _, target := range engine.Targets {
		if slices.Contains(spec.LoraTargets, target) {
			out, in := m.Linear(target)
			values += int64(m.Layers) * int64(spec.LoraRank) * int64(out+in)
			tensors += 2 * int64(m.Layers)
		}
	}
	room := 64<<10 + 512*tensors
	return map[string]int64{"adapter-config": 1 << 20, "adapter": 4*values + room, "optimizer": 8*values + 2*room}
}

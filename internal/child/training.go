package child

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"runtime"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/kernel"
	"github.com/firekeep/firekeep/internal/engine/train"
	"github.com/firekeep/firekeep/internal/wire"
)

// train runs a reinforcement step.
func (w *worker) train(t wire.TrainTask, weights wire.Weights) (any, error) {
	p, m, err := w.openWeights(weights)
	if err != nil {
		return nil, err
	}
	o, err := w.receiveState(t)
	if err != nil {
		return nil, err
	}
	trainer, err := train.New(w.pool, m, t.Spec, o)
	if err != nil {
		return nil, err
	}
	tok, err := w.tokenizer(p)
	if err != nil {
		return nil, err
	}
	encode, err := newEncoder(tok, p, &t.Spec)
	if err != nil {
		return nil, err
	}
	if err := w.proven(); err != nil {
		return nil, err
	}
	w.onThreads(trainer.SetThreads)
	s := &step{w: w, trainer: trainer, encode: encode, warned: map[string]bool{}}
	result, err := trainer.Run(w.ctx, s.next, s)
	if err != nil {
		return nil, err
	}
	if err := w.conn.Send(w.ctx, wire.Progress{Stage: wire.StageWrite, Fraction: 1}); err != nil {
		return nil, err
	}
	canary, err := s.finish(t.Canary)
	if err != nil {
		return nil, err
	}
	mark := wire.Mark(result.Mark)
	return wire.TrainDone{Updates: result.Updates, Samples: result.Samples, Tokens: result.Tokens, NoSignal: result.NoSignal,
		Message: result.Message, Level: kernel.Active().String(), Precision: w.precision(), Report: result.Report, Canary: canary, Mark: &mark}, nil
}

// onThreads lets a task that runs take thread counts as they come.
func (w *worker) onThreads(set func(n int)) {
	follow := func(n int) {
		n = min(max(n, 1), maxThreads)
		runtime.GOMAXPROCS(n + 1)
		set(n)
	}
	w.follow.Store(&follow)
	follow(int(w.wanted.Load()))
}

// receiveState receives what the step starts from.
func (w *worker) receiveState(t wire.TrainTask) (train.Options, error) {
	o := train.Options{BaseName: t.BaseName, GroupsPerEpoch: t.GroupsPerEpoch, Evaluate: t.Evaluate}
	if w.memory > 0 {
		o.MaxBytes = w.memory / 2 // the rest is for LoRA and its moments, rows, logits
	}
	if t.Resume != nil {
		mark := train.Mark(*t.Resume)
		o.Resume = &mark
	}
	for _, blob := range []struct {
		sent bool
		name string
		to   *[]byte
	}{
		{t.HasAdapter, "adapter-config", &o.AdapterConfig}, {t.HasAdapter, "adapter", &o.Adapter},
		{t.HasMoments, "optimizer", &o.Optimizer}, {t.HasOriginal, "incoming-adapter", &o.Original},
	} {
		if !blob.sent {
			continue
		}
		data, err := w.blob(blob.name)
		if err != nil {
			return o, err
		}
		*blob.to = data
	}
	return o, nil
}

// step connects a trainer with the broker: groups come in, events go out.
type step struct {
	w       *worker
	trainer *train.Trainer
	encode  *encoder
	warned  map[string]bool
}

// next receives the next group or the end of an epoch.
func (s *step) next(ctx context.Context) (train.Group, error) {
	for {
		m, err := s.w.conn.Receive(ctx)
		if err != nil {
			return train.Group{}, err
		}
		switch m := m.(type) {
		case wire.Group:
			group, err := s.encode.group(m)
			return train.Group{Rows: group, Position: m.Position}, err
		case wire.EpochEnd:
			return train.Group{Epoch: m.Epoch, Last: m.Last}, nil
		default:
			return train.Group{}, unexpected(m)
		}
	}
}

// Metrics implements train.Events.
func (s *step) Metrics(m train.Metrics) error {
	out := wire.Metrics(m)
	keepFinite(&out)
	return s.w.conn.Send(s.w.ctx, out)
}

// Progress implements train.Events.
func (s *step) Progress(p train.Progress) error {
	return s.w.conn.Send(s.w.ctx, wire.Progress{Stage: p.Stage, Fraction: finite(p.Fraction), ETASeconds: p.ETA.Seconds()})
}

// Warning implements train.Events. A sentence is said once.
func (s *step) Warning(message string) error {
	if s.warned[message] {
		return nil
	}
	s.warned[message] = true
	return s.w.conn.Send(s.w.ctx, wire.Warning{Message: message})
}

// Mark implements train.Events.
func (s *step) Mark(m train.Mark) error {
	if err := s.sendState(); err != nil {
		return err
	}
	return s.w.conn.Send(s.w.ctx, wire.Mark(m))
}

// finish sends the result and computes its canary meanwhile: both only read the
// weights.
func (s *step) finish(tokens int) (*engine.Canary, error) {
	sent := make(chan error, 1)
	go func() { sent <- s.w.contained(s.sendState) }()
	canary, err := s.trainer.Canary(s.w.ctx, tokens)
	return canary, errors.Join(<-sent, err)
}

// sendState sends adapter and optimiser state as three streams, those first that an
// engine for serving waits for.
func (s *step) sendState() error {
	var config bytes.Buffer
	err := s.stream("adapter", func(out io.Writer) error { return s.trainer.WriteAdapter(&config, out) })
	if err != nil {
		return err
	}
	if err := s.w.send(s.w.ctx, "adapter-config", config.Bytes()); err != nil {
		return err
	}
	return s.stream("optimizer", s.trainer.WriteOptimizer)
}

// stream sends what write writes; nothing is held in memory.
func (s *step) stream(name string, write func(io.Writer) error) error {
	out, err := s.w.conn.OpenStream(s.w.ctx, wire.Open{Name: name, Size: -1})
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(out, 256<<10)
	if err := write(buffered); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return out.Close()
}

// keepFinite makes the numbers of a report fit into JSON.
func keepFinite(m *wire.Metrics) {
	v := reflect.ValueOf(m).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Float64 {
			f.SetFloat(finite(f.Float()))
		}
	}
}

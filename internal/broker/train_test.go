package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/e2e/tiny"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/wire"
)

// tinyModel is a model of random weights, imported once from its Hugging Face
// directory.
var tinyModel struct {
	sync.Once
	done wire.ImportDone
	file *os.File
	err  error
}

func tinyWeights(t *testing.T) (*broker.Weights, wire.ImportDone) {
	t.Helper()
	m := &tinyModel
	m.Do(func() {
		dir := t.TempDir()
		if m.err = tiny.Write(dir, tiny.Default, 1); m.err != nil {
			return
		}
		names, _ := os.ReadDir(dir)
		var list []broker.File
		for _, n := range names {
			b, err := os.ReadFile(filepath.Join(dir, n.Name()))
			m.err = errors.Join(m.err, err)
			list = append(list, file(n.Name(), b))
		}
		var err error
		m.file, err = os.CreateTemp("", "firekeep-tiny")
		if m.err = errors.Join(m.err, err); m.err != nil {
			return
		}
		os.Remove(m.file.Name())
		c := start(t, broker.Options{Name: "import"})
		if m.done, m.err = c.Import(t.Context(), wire.ImportTask{Name: "tiny", Expects: len(list)}, files(list...), m.file); m.err == nil {
			m.file, m.err = onlyToRead(m.file)
		}
	})
	if m.err != nil {
		t.Fatalf("tiny model: %v", m.err)
	}
	return &broker.Weights{File: m.file, Size: m.done.Size, Digest: m.done.SHA256}, m.done
}

// stepInput is a step over groups rows, two per batch.
func stepInput(groups int) broker.TrainInput {
	spec := engine.DefaultSpec("GRPO")
	spec.LoraRank, spec.LoraAlpha, spec.LearningRate = 4, 8, 1e-2
	spec.Epochs, spec.BatchSizeSamples, spec.MaxContextLength, spec.ResumeEvery = 2, 6, 256, 2
	in := broker.TrainInput{Task: wire.TrainTask{Spec: spec, BaseName: "tiny", GroupsPerEpoch: int64(groups), Format: "RL"}, Model: tinyModel.done.Config}
	in.Feed = feedFrom(groups, spec.Epochs, 0, nil)
	return in
}

// feedFrom sends the groups from position on; before each group it calls hook.
func feedFrom(groups, epochs int, position int64, hook func(position int64)) func(context.Context, *broker.Feed) error {
	return func(_ context.Context, f *broker.Feed) error {
		for e := range epochs {
			for i := range groups {
				at := int64(e*groups + i)
				if at < position {
					continue
				}
				if hook != nil {
					hook(at)
				}
				text := row(fmt.Sprintf("question %d", i), 0, 1, float64(i%3)/2)
				if err := f.Group(wire.Group{Position: at, Line: int64(i + 1), Rows: []byte(text)}); err != nil {
					return err
				}
			}
			if int64((e+1)*groups) < position { // at the mark of an epoch's last batch its end is still to come
				continue
			}
			if err := f.EndEpoch(e, e == epochs-1); err != nil {
				return err
			}
		}
		return nil
	}
}

type recorded struct {
	metrics []wire.Metrics
	marks   []wire.Mark
	states  []broker.State
	parts   []broker.State // of the result
	coming  sync.WaitGroup
	came    [3]bytes.Buffer // config, adapter, optimiser state of the result
	cut     atomic.Int32    // those that did not come whole
}

func (r *recorded) sink() broker.TrainSink {
	return broker.TrainSink{
		Metrics: func(m wire.Metrics) error { r.metrics = append(r.metrics, m); return nil },
		Part:    func(s broker.State) error { r.parts = append(r.parts, s); return nil },
		Coming: func(name string, content io.WriterTo) error {
			to := &r.came[slices.Index([]string{"adapter-config", "adapter", "optimizer"}, name)]
			r.coming.Go(func() {
				if _, err := content.WriteTo(to); err != nil {
					r.cut.Add(1)
				}
			})
			return nil
		},
		Mark: func(m wire.Mark, s broker.State) error {
			r.marks, r.states = append(r.marks, m), append(r.states, s)
			return nil
		},
	}
}

func train(t *testing.T, o broker.Options, in broker.TrainInput) (wire.TrainDone, broker.State, *recorded) {
	t.Helper()
	o.Name = "step"
	r := &recorded{}
	done, state, err := start(t, o).Train(t.Context(), in, r.sink())
	if err != nil {
		t.Fatalf("train: %v (%v)", err, cause(err))
	}
	return done, state, r
}

func same(a, b broker.State) bool {
	return bytes.Equal(a.Adapter.Data, b.Adapter.Data) && bytes.Equal(a.Optimizer.Data, b.Optimizer.Data) && bytes.Equal(a.Config.Data, b.Config.Data)
}

// TestTrain: a step in a real child reports, marks and ends; the weights by
// stream, other thread counts from the start or in the middle, and going on
// from a resume point give the same bytes.
func TestTrain(t *testing.T) {
	w, _ := tinyWeights(t)
	const groups = 6
	done, want, r := train(t, broker.Options{Weights: w, Threads: 1}, stepInput(groups))
	if done.Updates == 0 || int64(len(r.metrics)) < done.Updates || len(r.marks) < 2 || done.Level == "" || done.NoSignal {
		t.Fatalf("%+v, %d metrics, %d marks", done, len(r.metrics), len(r.marks))
	}
	if m := r.metrics[0]; m.Update != 1 || m.Samples != 6 || m.Groups != 2 || m.RewardMax != 1 || m.Loss == 0 && m.GradNorm == 0 {
		t.Errorf("first metrics %+v", m)
	}
	if m := done.Mark; m == nil || m.Position != 2*groups || r.marks[len(r.marks)-1].Update >= m.Update {
		t.Fatalf("the result belongs to the mark %+v, behind %+v", m, r.marks)
	}
	if len(r.parts) != 4 || r.parts[0].Adapter.SHA256+r.parts[0].Optimizer.SHA256+r.parts[0].Config.SHA256 != "" || !same(r.parts[3], want) {
		t.Errorf("the result came in %d parts", len(r.parts))
	}
	r.coming.Wait()
	if r.cut.Load() > 0 || !same(broker.State{Config: broker.Blob{Data: r.came[0].Bytes()}, Adapter: broker.Blob{Data: r.came[1].Bytes()}, Optimizer: broker.Blob{Data: r.came[2].Bytes()}}, want) {
		t.Error("what came in pieces is not the result")
	}
	r.marks, r.states = append(r.marks, *done.Mark), append(r.states, want)
	if len(want.Adapter.SHA256) != 64 || want.Adapter.SHA256 == r.states[0].Adapter.SHA256 {
		t.Errorf("the adapter did not move after the first mark")
	}

	t.Run("weights by stream", func(t *testing.T) {
		streamed := *w
		streamed.Stream = true
		if _, got, _ := train(t, broker.Options{Weights: &streamed, Threads: 1}, stepInput(groups)); !same(got, want) {
			t.Error("other bytes")
		}
	})
	t.Run("two threads", func(t *testing.T) {
		if _, got, _ := train(t, broker.Options{Weights: w, Threads: 2}, stepInput(groups)); !same(got, want) {
			t.Error("other bytes")
		}
	})
	t.Run("threads change", func(t *testing.T) {
		c := start(t, broker.Options{Name: "step", Weights: w, Threads: 1})
		in := stepInput(groups)
		in.Feed = feedFrom(groups, 2, 0, func(at int64) { c.SetThreads(1 + int(at)%3) })
		_, got, err := c.Train(t.Context(), in, broker.TrainSink{})
		if err != nil || !same(got, want) {
			t.Errorf("other bytes, %v", err)
		}
	})
	t.Run("resume", func(t *testing.T) {
		for i, m := range r.marks {
			in := stepInput(groups)
			in.Task.Resume = &m
			in.Config, in.Adapter, in.Optimizer = r.states[i].Config.Data, r.states[i].Adapter.Data, r.states[i].Optimizer.Data
			in.Feed = feedFrom(groups, 2, m.Position, nil)
			again, got, _ := train(t, broker.Options{Weights: w, Threads: 2}, in)
			if !same(got, want) || again.Updates != done.Updates || again.Tokens != done.Tokens {
				t.Errorf("from update %d: other bytes, or %+v instead of %+v", m.Update, again, done)
			}
		}
	})
	t.Run("bad row", func(t *testing.T) {
		in := stepInput(groups)
		in.Feed = func(_ context.Context, f *broker.Feed) error {
			return errors.Join(f.Group(wire.Group{Line: 8, Rows: []byte(`{"samples":[{"messages":"secret"}]}`)}), f.EndEpoch(0, true))
		}
		_, _, err := start(t, broker.Options{Weights: w}).Train(t.Context(), in, broker.TrainSink{})
		var p *engine.Problem
		if rft.KindOf(err) != rft.KindInvalidArgument || !errors.As(err, &p) || p.Line != 8 || bytes.Contains([]byte(err.Error()), []byte("secret")) {
			t.Errorf("%v", err)
		}
	})
	t.Run("unknown level", func(t *testing.T) {
		h := host(t)
		if _, err := h.Start(t.Context(), broker.Options{Weights: w, Level: "abacus"}); rft.KindOf(err) != rft.KindFailedPrecondition {
			t.Errorf("%v", err)
		}
	})
}

// TestKilledStep: a child that is killed, or cancelled, in the middle of a step
// ends the session with the right kind, and what was marked before is whole.
func TestKilledStep(t *testing.T) {
	w, _ := tinyWeights(t)
	for name, end := range map[string]struct {
		how  func(c *broker.Child, cancel func())
		kind rft.Kind
	}{
		"killed":    {func(c *broker.Child, _ func()) { _ = syscall.Kill(c.Pid(), syscall.SIGKILL) }, rft.KindUnavailable},
		"cancelled": {func(_ *broker.Child, cancel func()) { cancel() }, rft.KindCancelled},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			h := host(t)
			h.Grace = time.Hour // a cancelled engine ends by itself, nobody kills it
			c, err := h.Start(ctx, broker.Options{Name: "step", Weights: w})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			in := stepInput(1 << 20) // would take hours
			r := &recorded{}
			sink := r.sink()
			mark := sink.Mark
			sink.Mark = func(m wire.Mark, s broker.State) error {
				defer end.how(c, cancel)
				return mark(m, s)
			}
			_, _, err = c.Train(ctx, in, sink)
			if rft.KindOf(err) != end.kind {
				t.Fatalf("%v: %v", rft.KindOf(err), err)
			}
			select {
			case <-c.Gone():
			default:
				t.Error("the child lives on")
			}
			if len(r.states) == 0 || len(r.states[0].Adapter.Data) == 0 {
				t.Error("no resume point")
			}
		})
	}
}

// TestForcedLevel: a step may ask for a lesser level than the best, to continue
// a job that began on it, and says which one it used.
func TestForcedLevel(t *testing.T) {
	w, _ := tinyWeights(t)
	in := stepInput(2)
	done, _, _ := train(t, broker.Options{Weights: w, Threads: 2, Level: "go"}, in)
	if done.Level != "go" {
		t.Errorf("computed on %s", done.Level)
	}
}

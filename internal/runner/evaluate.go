package runner

import (
	"context"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/store"
	"github.com/firekeep/firekeep/internal/wire"
)

// evaluate computes the loss of the new adapter on the rows that were held out, in
// a child of its own: the one that trained never saw them.
func (s *stepRun) evaluate(trained wire.TrainDone, st broker.State) error {
	if s.spec.EvalUID == "" {
		return nil
	}
	s.ending.Wait() // two children at once take twice the memory
	data, objects, err := s.DB.DatasetByUID(s.ctx, s.spec.EvalUID)
	if err != nil {
		return err
	}
	src, err := s.source(s.ctx, data, objects)
	if err != nil {
		return err
	}
	weights, err := s.Catalog.Weights(s.ctx, s.base)
	if err != nil {
		return err
	}
	defer weights.Close()
	o := s.stepOptions(weights)
	o.Level, o.Precision = s.ran.Level, s.ran.Precision
	child, err := s.Host.Start(s.ctx, o)
	if err != nil {
		return err
	}
	defer child.Close()
	if s.Shares != nil {
		defer s.Shares.Step(child)()
	}
	in := broker.TrainInput{Model: s.model, Config: st.Config.Data, Adapter: st.Adapter.Data, Original: s.input.Original}
	if s.input.Task.Resume == nil {
		in.Original = s.input.Adapter // what the job began with
	}
	spec := s.spec.Train
	spec.Epochs = 1
	in.Task = wire.TrainTask{Spec: spec, BaseName: s.model.Name, Format: data.Format, Evaluate: true, GroupsPerEpoch: src.index.Groups}
	ord := order{index: src.index, seed: spec.Seed, epochs: 1}
	in.Feed = func(ctx context.Context, f *broker.Feed) error { return src.feed(ctx, ord, 0, f) }
	done, _, err := child.Train(s.ctx, in, broker.TrainSink{Progress: s.sign})
	if err != nil {
		return nameObject(err, src.names)
	}
	s.evaluation = done.Report
	return s.report(nil, store.Event{Kind: store.EventEvaluation, Update: trained.Updates, Data: done.Report})
}

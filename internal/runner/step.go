package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
	"github.com/firekeep/firekeep/internal/wire"
)

// keepPoints is how many resume points a job keeps: the last, and one more in
// case that does not open.
const keepPoints = 2

// salvageTime bounds how long a job that ends without its checkpoint keeps its state.
const salvageTime = 20 * time.Second

// stepRun is one attempt at a step.
type stepRun struct {
	*attempt
	spec job.StepSpec
	// trainer is the name of the keep-alive trainer whose step it is, "" = none.
	trainer string
	base    store.Model
	model   engine.Config
	data    store.Dataset
	input   broker.TrainInput
	from    cursorStart

	objects  []store.Object
	incoming *incoming // the LoRA that the step continues, nil = none
	sandbox  sandbox.Report
	ran      broker.Choice

	evaluation json.RawMessage // train.Report of the held-out rows, nil = none

	// out is the checkpoint in the making, written and statements the drafts of its
	// files and of what is signed about it; nil before training is over.
	out                 store.Model
	written, statements *catalog.Draft
	shown               bool           // a row may name them
	forgo               func()         // what a sampling child has of it ahead; nil = nothing
	ending              sync.WaitGroup // of the child that trained

	mu       sync.Mutex
	progress store.Progress
	told     time.Time // of the last progress that was stored
	groups   int64     // of all epochs
}

// cursorStart says where the attempt begins.
type cursorStart struct {
	position int64
	level    string // kernel level of the resume point, "" = none
	// precision is that of the resume point.
	precision string
}

// step runs a reinforcement step from its last resume point to its checkpoint.
func (a *attempt) step() error {
	s := &stepRun{attempt: a}
	if err := json.Unmarshal(a.job.Spec, &s.spec); err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the job's description cannot be read")
	}
	if err := s.continueTrainer(); err != nil {
		return err
	}
	var err error
	if s.data, s.objects, err = a.DB.DatasetByUID(a.ctx, s.spec.DatasetUID); err != nil {
		return err
	}
	if err := s.loadBase(); err != nil {
		return err
	}
	src, err := a.source(a.ctx, s.data, s.objects)
	if err != nil {
		return err
	}
	s.spent.end("dataset")
	if err := s.startingState(); err != nil {
		return err
	}
	s.spent.end("adapter")
	defer s.ending.Wait()
	defer s.abandon()
	done, state, err := s.train(src)
	if err != nil {
		return err
	}
	return s.finish(done, state)
}

// finish makes the checkpoint of a state. Where something takes long or fails
// before the checkpoint is there, the state becomes a resume point: nothing is
// trained twice for it.
func (s *stepRun) finish(done wire.TrainDone, state broker.State) error {
	if done.NoSignal && s.spec.Train.OnNoSignal == "fail" {
		return rft.Errorf(rft.KindFailedPrecondition, "%s", noSignal(done))
	}
	if s.spec.EvalUID != "" {
		if err := s.keep(done, state); err != nil {
			return err
		}
		done.Mark = nil
	}
	err := s.evaluate(done, state)
	if err == nil {
		err = s.commit(done, state)
	}
	if err != nil {
		s.salvage(done, state)
	}
	return err
}

// salvage keeps a state that no checkpoint was made of, also of a job that is being
// stopped. Who lost the lease or the key writes nothing more.
func (s *stepRun) salvage(done wire.TrainDone, state broker.State) {
	if cause := context.Cause(s.ctx); s.lease.Lost() || custody.IsRefusal(cause) || custody.IsOutage(cause) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), salvageTime)
	defer cancel()
	s.ctx = ctx
	if err := s.keep(done, state); err != nil {
		s.Log.Warn("the end of a training is not kept and will be computed again", "job", s.job.Name(), "error", err)
	}
}

// keep makes the last state a resume point, where it is none yet.
func (s *stepRun) keep(done wire.TrainDone, state broker.State) error {
	if from := s.input.Task.Resume; done.Mark == nil || from != nil && from.Update == done.Mark.Update {
		return nil
	}
	return s.mark(*done.Mark, state)
}

// continueTrainer makes a step of a trainer begin where the one before it ended.
// Steps of a trainer run one after another, so every attempt at this one finds the
// same beginning.
func (s *stepRun) continueTrainer() error {
	if s.job.Kind != store.JobTrain {
		return nil
	}
	p, err := s.DB.JobByUID(s.ctx, s.job.Trainer)
	if err != nil {
		return err
	}
	s.trainer = p.Name()
	state, err := p.TrainerState()
	if err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the state of %s cannot be read", p.Name())
	}
	if state.ModelUID != "" {
		s.spec.WarmStartFrom, s.spec.WarmUID = state.Model, state.ModelUID
	}
	return nil
}

// loadBase reads the row of the base and its architecture.
func (s *stepRun) loadBase() error {
	var err error
	if s.base, err = s.DB.ModelByUID(s.ctx, s.spec.BaseUID); err != nil {
		return err
	}
	if err := json.Unmarshal(s.base.Config, &s.model); err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the configuration of %s cannot be read", s.base.Name())
	}
	return nil
}

// startingState fills in what the step begins with: the newest resume point
// that opens, else the LoRA that it continues, else nothing.
func (s *stepRun) startingState() error {
	s.input = broker.TrainInput{Model: s.model}
	s.input.Task = wire.TrainTask{Spec: s.spec.Train, BaseName: s.model.Name, Format: s.data.Format}
	var original *catalog.Artifact
	if s.spec.WarmUID != "" {
		m, err := s.DB.ModelByUID(s.ctx, s.spec.WarmUID)
		if err != nil {
			return err
		}
		if original, err = s.Catalog.Checkpoint(s.ctx, m); err != nil {
			return err
		}
		s.incoming = &incoming{model: m, adapter: original.SHA256(catalog.FileAdapter)}
	}
	resumed, err := s.resume(original)
	if err != nil || resumed || original == nil {
		return err
	}
	return s.read(original, original.Has(catalog.FileOptimizer))
}

// read takes the incoming state from an artefact.
func (s *stepRun) read(a *catalog.Artifact, moments bool) (err error) {
	if s.input.Config, err = a.Read(s.ctx, catalog.FileConfig); err != nil {
		return err
	}
	if s.input.Adapter, err = a.Read(s.ctx, catalog.FileAdapter); err != nil || !moments {
		return err
	}
	s.input.Optimizer, err = a.Read(s.ctx, catalog.FileOptimizer)
	return err
}

// resume takes up the newest resume point that opens. One that does not is
// reported and passed over: the one before it is only some updates older.
func (s *stepRun) resume(original *catalog.Artifact) (bool, error) {
	points, err := s.DB.ResumePoints(s.ctx, s.job.UID)
	if err != nil {
		return false, err
	}
	for i := len(points) - 1; i >= 0; i-- {
		p := points[i]
		fresh := s.input
		err := s.takeUp(p, original)
		switch rft.KindOf(err) {
		case "":
			data, _ := json.Marshal(map[string]any{"update": p.Update, "attempt": s.job.Attempt, "position": s.from.position})
			return true, s.report(nil, store.Event{Kind: store.EventResume, Update: p.Update, Data: data})
		case rft.KindDataLoss:
			s.input = fresh // what did open of it must not be trained on from the beginning
			data, _ := json.Marshal(map[string]string{"message": "a resume point does not open and is passed over: " + rft.PublicMessage(err)})
			if err := s.report(nil, store.Event{Kind: store.EventWarning, Update: p.Update, Data: data}); err != nil {
				return false, err
			}
		default:
			return false, err
		}
	}
	return false, nil
}

func (s *stepRun) takeUp(p store.ResumePoint, original *catalog.Artifact) error {
	a, err := s.Catalog.Vault().Open(s.ctx, p.Artifact, p.Digest)
	if err != nil {
		return err
	}
	var mark wire.Mark
	if err := json.Unmarshal(p.Mark, &mark); err != nil || mark.Position < 0 {
		return rft.Wrap(rft.KindDataLoss, err, "the mark of a resume point cannot be read")
	}
	if err := s.read(a, true); err != nil {
		return err
	}
	if original != nil {
		if s.input.Original, err = original.Read(s.ctx, catalog.FileAdapter); err != nil {
			return err
		}
	}
	s.input.Task.Resume = &mark
	s.from = cursorStart{position: mark.Position, level: a.Manifest.Level, precision: a.Manifest.Precision}
	return nil
}

// train runs the child.
func (s *stepRun) train(src *source) (wire.TrainDone, broker.State, error) {
	fail := func(err error) (wire.TrainDone, broker.State, error) { return wire.TrainDone{}, broker.State{}, err }
	weights, err := s.Catalog.Weights(s.ctx, s.base)
	if err != nil {
		return fail(err)
	}
	end := weights.Close // behind the end of the child that maps them, which the result need not wait for
	defer func() { s.ending.Go(end) }()
	s.spent.end("weights")
	o := s.stepOptions(weights)
	choice, err := s.choose()
	if err != nil {
		return fail(err)
	}
	o.Level, o.Precision = choice.Level, choice.Precision
	child, err := s.Host.Start(s.ctx, o)
	if err != nil {
		return fail(err)
	}
	end = func() {
		_ = child.Close()
		weights.Close()
	}
	s.spent.end("child")
	s.sandbox = child.Report()
	if s.Shares != nil {
		defer s.Shares.Step(child)()
	}
	ord := order{index: src.index, seed: s.spec.Train.Seed, epochs: s.spec.Train.Epochs}
	s.groups = src.index.Groups * int64(ord.epochs)
	s.input.Task.GroupsPerEpoch = src.index.Groups
	s.input.Feed = func(ctx context.Context, f *broker.Feed) error { return src.feed(ctx, ord, s.from.position, f) }
	if err := s.advance(rft.StateRunning); err != nil {
		return fail(err)
	}
	s.ran = choice
	if err := s.warnOfPrecision(); err != nil {
		return fail(err)
	}
	s.spent.end("begin")
	done, state, err := child.Train(s.ctx, s.input, broker.TrainSink{
		Metrics:  s.metrics,
		Progress: s.sign,
		Warning:  s.warning,
		Mark:     func(m wire.Mark, st broker.State) error { return s.mark(m, st) },
		Coming:   s.coming,
		Part:     s.part,
	})
	s.spent.end("state")
	return done, state, nameObject(err, src.names)
}

// stepOptions describe a child that computes the step, within the limits of host
// and job.
func (s *stepRun) stepOptions(w *catalog.Weights) broker.Options {
	o := s.options("step", w)
	if most := s.spec.MemoryBytes; most > 0 && (o.MemoryBytes == 0 || most < o.MemoryBytes) {
		o.MemoryBytes = most
	}
	return o
}

// choose says what the child computes on. The rest of a job must give the same
// bytes as its beginning.
func (s *stepRun) choose() (broker.Choice, error) {
	if s.from.level != "" && !s.spec.AllowKernelChange {
		c := broker.Choice{Level: s.from.level, Precision: s.from.precision, Reason: "that of the resume point"}
		if c.Precision == "" { // from before there was another
			c.Precision = broker.Float32
		}
		return c, nil
	}
	precision := s.spec.Precision
	if precision == "" {
		precision = s.Precision
	}
	return s.Host.Isolated(s.Isolation).Choose(s.ctx, s.Level, precision)
}

// warnOfPrecision says when rollouts that this host samples are not computed as
// the step is.
func (s *stepRun) warnOfPrecision() error {
	chats, err := s.Host.Isolated(s.Isolation).Choose(s.ctx, s.Level, s.Precision)
	if err != nil || chats.Precision == s.ran.Precision {
		return err
	}
	return s.warning(wire.Warning{Message: fmt.Sprintf("this step computes in %s and chats on this host in %s: log-probs of rollouts sampled here differ a little from the trainer's, which tisCap corrects",
		s.ran.Precision, chats.Precision)})
}

// numbered is how a training child calls an object of the dataset, whose key it
// does not know: by its number, from 1.
var numbered = regexp.MustCompile(`^object ([0-9]{1,9})$`)

// nameObject puts the object's key into a problem with a row.
func nameObject(err error, names []string) error {
	var p *engine.Problem
	if !errors.As(err, &p) {
		return err
	}
	m := numbered.FindStringSubmatch(p.Object)
	if m == nil {
		return err
	}
	n, _ := strconv.Atoi(m[1]) // the pattern bounds it
	if n < 1 || n > len(names) {
		return err
	}
	named := *p
	named.Object = names[n-1]
	return rft.Wrap(rft.KindOf(err), &named, "%s", named.Error())
}

func (s *stepRun) report(p *store.Progress, events ...store.Event) error {
	return s.DB.Report(s.ctx, s.job.UID, s.lease.Fence(), p, events...)
}

// metrics stores the numbers of one optimiser batch.
func (s *stepRun) metrics(m wire.Metrics) error {
	data, err := json.Marshal(struct {
		wire.Metrics
		KernelLevel string `json:"kernelLevel"`
		Precision   string `json:"precision"`
	}{m, s.ran.Level, s.ran.Precision})
	if err != nil {
		return rft.Wrap(rft.KindInternal, err, "the engine's metrics are not finite")
	}
	s.progress.Epoch, s.progress.Update = m.Epoch, m.Update
	p := s.progress
	s.spent.end("train")
	defer s.spent.end("report")
	return s.report(&p, store.Event{Kind: store.EventMetrics, Update: m.Update, Data: data})
}

// sign stores a sign of life, at most once per second.
func (s *stepRun) sign(p wire.Progress) error {
	s.progress.Stage, s.progress.ETASeconds = p.Stage, p.ETASeconds
	s.progress.Percent = int(100 * min(max(p.Fraction, 0), 0.99))
	if time.Since(s.told) < time.Second {
		return nil
	}
	s.told = time.Now()
	now := s.progress
	return s.report(&now)
}

func (s *stepRun) warning(w wire.Warning) error {
	s.Log.Warn("engine warning", "job", s.job.Name(), "message", w.Message)
	return s.warn(w.Message)
}

// warn stores a warning for who looks at the job.
func (s *stepRun) warn(message string) error {
	data, err := json.Marshal(map[string]string{"message": message})
	if err != nil {
		return rft.Wrap(rft.KindInternal, err, "a warning cannot be stored")
	}
	return s.report(nil, store.Event{Kind: store.EventWarning, Data: data})
}

// mark commits a resume point: content, manifest, row. Its predecessors beyond
// keepPoints go last.
func (s *stepRun) mark(m wire.Mark, st broker.State) error {
	if s.groups > 0 {
		s.progress.Percent = int(min(99, 100*m.Position/s.groups))
	}
	s.spent.end("state")
	defer s.spent.end("resume point")
	raw, err := json.Marshal(m)
	if err != nil {
		return rft.Wrap(rft.KindInternal, err, "a resume point cannot be described")
	}
	p := store.ResumePoint{Update: m.Update, Mark: raw, Artifact: catalog.ResumePrefix(s.account, s.job.UID, s.lease.Fence(), m.Update)}
	manifest := catalog.Manifest{Kind: "resume-point", Subject: s.job.UID, Job: s.job.UID, Base: s.base.Digest, Level: s.ran.Level, Precision: s.ran.Precision}
	_, err = s.addPoint(p, manifest, files(st), keepPoints)
	return err
}

// namePoint bounds the transaction that names a resume point.
const namePoint = 10 * time.Second

// addPoint seals a resume point and names it in its job's rows, which keep the
// newest. A job that was deleted meanwhile, or is another attempt's, takes it no
// more: then no row ever names it, and it goes again.
func (a *attempt) addPoint(p store.ResumePoint, manifest catalog.Manifest, content []catalog.File, keep int) (store.ResumePoint, error) {
	var err error
	if p.Digest, err = a.Catalog.Vault().Put(a.ctx, p.Artifact, manifest, content); err != nil {
		if rft.KindOf(err) != rft.KindAlreadyExists { // what is there already may be named by a row
			a.removePoints([]store.ResumePoint{p})
		}
		return p, err
	}
	// A job that ends in the middle of this must hear how the transaction ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), namePoint)
	defer cancel()
	dropped, err := a.DB.AddResumePoint(ctx, a.job.UID, a.lease.Fence(), p, keep)
	if rft.KindOf(err) == rft.KindAborted { // an error of any other kind does not say how the transaction ended
		dropped = []store.ResumePoint{p}
	}
	a.removePoints(dropped)
	return p, err
}

// removePoints removes artefacts that no row names any more; what a failure
// leaves is an orphan for fsck.
func (a *attempt) removePoints(points []store.ResumePoint) {
	for _, p := range points {
		if err := a.Catalog.Vault().Remove(context.WithoutCancel(a.ctx), p.Artifact); err != nil {
			a.Log.Warn("an old resume point cannot be removed", "artefact", p.Artifact, "error", err)
		}
	}
}

func files(st broker.State) []catalog.File {
	return []catalog.File{
		{Name: catalog.FileConfig, Data: st.Config.Data, SHA256: st.Config.SHA256},
		{Name: catalog.FileAdapter, Data: st.Adapter.Data, SHA256: st.Adapter.SHA256},
		{Name: catalog.FileOptimizer, Data: st.Optimizer.Data, SHA256: st.Optimizer.SHA256},
	}
}

// noSignal is the sentence that nobody may overlook.
func noSignal(done wire.TrainDone) string {
	m := done.Message
	if m == "" {
		m = "no sample carried a gradient"
	}
	return "NO TRAINING SIGNAL: nothing was learned and the new model equals the one that was trained from: " + m
}

// begin begins the checkpoint: from here on its files are written as they come.
func (s *stepRun) begin() error {
	if s.written != nil {
		return nil
	}
	var err error
	if s.out, err = s.DB.ModelByUID(s.ctx, s.spec.OutputUID); err != nil {
		return err
	}
	s.out.Artifact = catalog.ModelPrefix(s.account, s.out.UID, s.lease.Fence())
	s.written = s.Catalog.Vault().Begin(s.ctx, s.out.Artifact)
	s.statements = s.Catalog.BeginAttestation(s.ctx, s.account, s.out.UID, strconv.FormatInt(s.lease.Fence(), 10))
	return nil
}

// fileOf is the file of a checkpoint that a blob of the protocol becomes.
var fileOf = map[string]string{"adapter-config": catalog.FileConfig, "adapter": catalog.FileAdapter, "optimizer": catalog.FileOptimizer}

// coming begins to write a part of the result while it comes.
func (s *stepRun) coming(blob string, content io.WriterTo) error {
	if err := s.begin(); err != nil {
		return err
	}
	s.written.Stream(fileOf[blob], content)
	return nil
}

// part begins to write what of the result is here.
func (s *stepRun) part(st broker.State) error {
	if err := s.begin(); err != nil {
		return err
	}
	for _, f := range files(st) {
		if f.SHA256 != "" {
			s.written.Add(f)
		}
	}
	if s.spec.EvalUID == "" { // else the checkpoint may come much later
		s.preload(st)
	}
	return nil
}

// preload lets the child that serves the base try the adapter, once it is here, while
// the rest of its checkpoint comes and is made durable and signed. It answers for
// nobody before that is done.
func (s *stepRun) preload(st broker.State) {
	if s.Router == nil || s.forgo != nil || st.Config.SHA256 == "" || st.Adapter.SHA256 == "" {
		return
	}
	to := serving.Target{Account: s.job.Account, Base: s.base.Name(), BaseDigest: s.base.Digest, Adapter: s.out.Name()}
	s.forgo = s.Router.Preload(to, serving.Adapter{Config: st.Config.Data, Tensors: st.Adapter.Data,
		ConfigSHA256: st.Config.SHA256, TensorsSHA256: st.Adapter.SHA256}, engine.CanaryTokens)
}

// abandon removes what was written of a checkpoint that is not one.
func (s *stepRun) abandon() {
	if s.forgo != nil && !s.shown {
		s.forgo()
	}
	if s.written != nil && !s.shown {
		s.statements.Abandon()
		s.written.Abandon()
	}
}

// commit makes the checkpoint: content first, manifest last, then the signed
// statements about it, then the one transaction that shows it to the world. What
// a crash leaves before that is an orphan; a READY model is a signed one.
func (s *stepRun) commit(done wire.TrainDone, st broker.State) error {
	err := s.advance(rft.StateWriting)
	if err == nil {
		err = s.begin()
	}
	if err != nil {
		return err
	}
	s.preload(st)
	out := s.out
	manifest := catalog.Manifest{Kind: "adapter", Subject: out.UID, Job: s.job.UID, Base: s.base.Digest, Level: done.Level, Precision: done.Precision, Canary: done.Canary}
	if out.Digest, err = s.written.Commit(manifest, files(st)); err != nil {
		return err
	}
	s.spent.end("checkpoint")
	out.Size = int64(len(st.Config.Data) + len(st.Adapter.Data) + len(st.Optimizer.Data))
	bundle, err := s.attest(&out, done, st)
	if err != nil {
		return err
	}
	s.spent.end("attest")
	result, err := json.Marshal(job.StepResult{Model: out.Name(), Digest: out.Digest, Updates: done.Updates, Samples: done.Samples, Tokens: done.Tokens,
		NoSignal: done.NoSignal, Level: done.Level, Precision: done.Precision, Report: done.Report, Evaluation: s.evaluation})
	if err != nil {
		return rft.Wrap(rft.KindInternal, err, "the step's result cannot be stored")
	}
	status := store.OK()
	status.Message = s.metricsOut(out)
	if done.NoSignal {
		status.Message = noSignal(done)
	}
	act := runnerAct(s.job, "FinishStep", map[string]string{"model": out.Name(), "digest": out.Digest, "adapter": st.Adapter.SHA256, "bundle": bundle})
	s.shown = true // whatever this transaction says of how it ended
	if err := s.DB.FinishStep(s.ctx, s.job.UID, s.lease.Fence(), out, status, result, act); err != nil {
		return err
	}
	s.spent.end("show")
	dropped, err := s.DB.DropResumePoints(context.WithoutCancel(s.ctx), s.job.UID)
	if err != nil {
		s.Log.Warn("the resume points of a completed job stay", "job", s.job.Name(), "error", err)
	}
	s.removePoints(dropped)
	s.spent.end("tidy")
	return nil
}

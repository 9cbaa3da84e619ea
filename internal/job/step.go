package job

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Service creates jobs.
type Service struct {
	db      *store.DB
	catalog *catalog.Catalog
}

// New returns the service over a catalog.
func New(c *catalog.Catalog) *Service { return &Service{db: c.DB(), catalog: c} }

// StepSpec is the Spec of a step.
type StepSpec struct {
	Dataset    string `json:"dataset"`
	DatasetUID string `json:"datasetUid"`
	BaseModel  string `json:"baseModel"`
	BaseUID    string `json:"baseUid"`
	// WarmStartFrom is the LoRA that the step continues, "" = none.
	WarmStartFrom string      `json:"warmStartFrom,omitempty"`
	WarmUID       string      `json:"warmUid,omitempty"`
	OutputModel   string      `json:"outputModel"`
	OutputUID     string      `json:"outputUid"`
	Train         engine.Spec `json:"train"`
	// EvalDataset is held out: the loss on it is reported with the result, "" = none.
	EvalDataset string `json:"evaluationDataset,omitempty"`
	EvalUID     string `json:"evaluationDatasetUid,omitempty"`
	// KeepAlive: a trainer, which has no dataset and no output of its own.
	KeepAlive bool `json:"keepAlive,omitempty"`
	// AllowKernelChange lets a resume go on at another kernel level.
	AllowKernelChange bool `json:"allowKernelChange,omitempty"`
	// Precision is "auto", "float32" or "bfloat16"; "" = as the operator chose.
	Precision string `json:"precision,omitempty"`
	// MemoryBytes limits the step's own memory, beside mapped weights; 0 = as the
	// operator chose, whose limit stands if it is less.
	MemoryBytes int64 `json:"memoryBytes,omitempty"`
	// MetricsURL is the prefix that the metrics go to, "" = none.
	MetricsURL string `json:"metricsUrl,omitempty"`
	// Changed names the parameters that differ from the LoRA's own, with both
	// values; only with AllowParameterChange.
	Changed []string `json:"changed,omitempty"`
	// Echo is the request as the wire showed it, for fields that are only shown.
	Echo json.RawMessage `json:"echo,omitempty"`
}

// precisions are what a step may ask for.
var precisions = []string{"auto", "float32", "bfloat16"}

// StepResult is the Result of a step.
type StepResult struct {
	Model     string          `json:"model"`
	Digest    string          `json:"digest"`
	Updates   int64           `json:"updates"`
	Samples   int64           `json:"samples"`
	Tokens    int64           `json:"tokens"`
	NoSignal  bool            `json:"noSignal"`
	Level     string          `json:"level"`
	Precision string          `json:"precision"`
	Report    json.RawMessage `json:"report,omitempty"`
	// Evaluation is a train.Report of the held-out rows.
	Evaluation json.RawMessage `json:"evaluation,omitempty"`
}

// StepRequest asks for a job that trains. References are names or bare ids.
type StepRequest struct {
	Kind          store.JobKind // "" = store.JobStep
	Account, ID   string        // ID "" = chosen here
	KeepAlive     bool          // a trainer; with a dataset, its first step is queued
	DisplayName   string
	Dataset       string
	EvalDataset   string // held out, "" = none
	BaseModel     string // exactly one of BaseModel and WarmStartFrom
	WarmStartFrom string
	OutputModel   string // "" = the job's id
	Params        Params
	// AllowParameterChange lets a continued LoRA differ in everything but rank,
	// alpha and targets.
	AllowParameterChange bool
	AllowKernelChange    bool
	Precision            string // see StepSpec
	MemoryBytes          int64  // see StepSpec
	MetricsURL           string // see StepSpec; somebody checked it
	CreatedBy            string
	Echo                 json.RawMessage
	// May decides about the models that the job begins with, once they are known: no
	// request names the base of a LoRA, and a bare id may find a published model. nil =
	// whoever asks may use what the account may read.
	May func(models []string) error
}

// leastMemory is below what the smallest step needs for its program alone.
const leastMemory = 256 << 20

// idFields are what the wire calls the id of a new job.
var idFields = map[store.JobKind]string{store.JobStep: "rlorTrainerJobId", store.JobSFT: "supervisedFineTuningJobId", store.JobDPO: "dpoJobId"}

// CreateStep checks a request, reserves the output's name and queues the job. A
// trainer waits for steps at once.
func (s *Service) CreateStep(ctx context.Context, r StepRequest, act store.Act) (store.Job, error) {
	if r.Kind == "" {
		r.Kind = store.JobStep
	}
	j := store.Job{UID: store.NewUID(), Account: r.Account, ID: r.ID, Kind: r.Kind, DisplayName: r.DisplayName, CreatedBy: r.CreatedBy}
	if j.ID == "" {
		j.ID = j.UID
	}
	if err := rft.CheckID(idFields[r.Kind], j.ID); err != nil {
		return j, err
	}
	if r.Precision != "" && !slices.Contains(precisions, r.Precision) {
		return j, rft.FieldErrorf("firekeep.precision", "firekeep.precision: %q is not one of %s", r.Precision, strings.Join(precisions, ", "))
	}
	if r.MemoryBytes != 0 && r.MemoryBytes < leastMemory {
		return j, rft.FieldErrorf("firekeep.memoryBytes", "firekeep.memoryBytes: %d is too little for any step; give at least %d (256 MiB), or leave it out", r.MemoryBytes, leastMemory)
	}
	spec := StepSpec{AllowKernelChange: r.AllowKernelChange, Precision: r.Precision, MemoryBytes: r.MemoryBytes, MetricsURL: r.MetricsURL, Echo: r.Echo, KeepAlive: r.KeepAlive}
	base, warm, err := s.startingPoint(ctx, r)
	if err != nil {
		return j, err
	}
	if r.May != nil {
		if err := r.May(startingNames(base, warm)); err != nil {
			return j, err
		}
	}
	spec.BaseModel, spec.BaseUID = base.Name(), base.UID
	inputs := []string{base.UID}
	var recorded *engine.Spec
	if warm != nil {
		spec.WarmStartFrom, spec.WarmUID = warm.Name(), warm.UID
		inputs = append(inputs, warm.UID)
		if recorded, err = recordedSpec(*warm); err != nil {
			return j, err
		}
	}
	spec.Train, spec.Changed, err = resolve(r.Params, recorded, warm, base.ContextLength, r.AllowParameterChange)
	if err != nil {
		return j, err
	}
	if err := s.holdOut(ctx, r, &spec); err != nil {
		return j, err
	}
	if r.KeepAlive {
		return s.createTrainer(ctx, r, j, base, spec, inputs, act)
	}
	n, err := s.prepare(ctx, r, j, base, spec)
	if err != nil {
		return j, err
	}
	return s.db.CreateStep(ctx, n.Job, n.Output, n.DatasetUID, inputs, act)
}

// holdOut names the rows that the result is judged by.
func (s *Service) holdOut(ctx context.Context, r StepRequest, spec *StepSpec) error {
	if r.EvalDataset == "" {
		return nil
	}
	d, err := s.catalog.Dataset(ctx, r.Account, "evaluationDataset", r.EvalDataset)
	if err != nil {
		return err
	}
	if d.State != store.StateReady {
		return rft.Errorf(rft.KindFailedPrecondition, "evaluationDataset: %s is not READY but %s", d.Name(), d.State)
	}
	if err := checkRows(spec.Train, d); err != nil {
		return rft.FieldErrorf("evaluationDataset", "evaluationDataset: %s", rft.PublicMessage(err))
	}
	spec.EvalDataset, spec.EvalUID = d.Name(), d.UID
	return nil
}

// prepare completes a job with what it reads and makes.
func (s *Service) prepare(ctx context.Context, r StepRequest, j store.Job, base store.Model, spec StepSpec) (n store.TrainStep, err error) {
	d, err := s.catalog.Dataset(ctx, r.Account, "dataset", r.Dataset)
	if err != nil {
		return n, err
	}
	if err := checkRows(spec.Train, d); err != nil {
		return n, err
	}
	spec.Dataset, spec.DatasetUID = d.Name(), d.UID
	out, err := outputModel(r, j, base, spec.Train)
	if err != nil {
		return n, err
	}
	spec.OutputModel, spec.OutputUID = out.Name(), out.UID
	if j, err = described(j, spec); err != nil {
		return n, err
	}
	return store.TrainStep{Job: j, Output: out, DatasetUID: d.UID}, nil
}

// described writes the spec into the job's row, and what lists show of it.
func described(j store.Job, spec StepSpec) (store.Job, error) {
	var err error
	if j.Spec, err = json.Marshal(spec); err != nil {
		return j, rft.Wrap(rft.KindInternal, err, "the job cannot be described")
	}
	j.Dataset, j.BaseModel, j.WarmStart, j.OutputModel = spec.Dataset, spec.BaseModel, spec.WarmStartFrom, spec.OutputModel
	return j, nil
}

// startingPoint resolves base and, for a continuation, the LoRA.
func (s *Service) startingPoint(ctx context.Context, r StepRequest) (base store.Model, warm *store.Model, err error) {
	switch {
	case r.BaseModel == "" && r.WarmStartFrom == "":
		return base, nil, rft.FieldErrorf("trainingConfig.baseModel", "trainingConfig: one of baseModel and warmStartFrom is required")
	case r.BaseModel != "" && r.WarmStartFrom != "":
		return base, nil, rft.FieldErrorf("trainingConfig.warmStartFrom", "trainingConfig: baseModel and warmStartFrom exclude each other")
	case r.BaseModel != "":
		base, err = s.catalog.Model(ctx, r.Account, "trainingConfig.baseModel", r.BaseModel)
		if err == nil && base.Kind != store.KindBase {
			err = rft.FieldErrorf("trainingConfig.baseModel", "trainingConfig.baseModel: %s is a LoRA adapter; continue it with warmStartFrom", base.Name())
		}
		return base, nil, err
	}
	lora, err := s.catalog.Model(ctx, r.Account, "trainingConfig.warmStartFrom", r.WarmStartFrom)
	if err != nil {
		return base, nil, err
	}
	if lora.Kind != store.KindAdapter {
		return base, nil, rft.FieldErrorf("trainingConfig.warmStartFrom", "trainingConfig.warmStartFrom: %s is not a LoRA adapter; use baseModel", lora.Name())
	}
	base, err = s.catalog.Standing(ctx, r.Account, "trainingConfig.warmStartFrom", lora.BaseModel, lora.BaseUID)
	return base, &lora, err
}

// startingNames are the models that a job begins with.
func startingNames(base store.Model, warm *store.Model) []string {
	if warm == nil {
		return []string{base.Name()}
	}
	return []string{base.Name(), warm.Name()}
}

// recordedSpec is what trained a LoRA; nil for an imported one.
func recordedSpec(m store.Model) (*engine.Spec, error) {
	if len(m.Spec) == 0 {
		return nil, nil
	}
	var s engine.Spec
	if err := json.Unmarshal(m.Spec, &s); err != nil {
		return nil, rft.Wrap(rft.KindDataLoss, err, "the recorded parameters of %s cannot be read", m.Name())
	}
	return &s, nil
}

func rewardKeys(s engine.Spec) []string {
	keys := make([]string, 0, len(s.Rewards))
	for k := range s.Rewards {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// outputModel is the row that reserves the name of a step's checkpoint.
func outputModel(r StepRequest, j store.Job, base store.Model, train engine.Spec) (store.Model, error) {
	ref := r.OutputModel
	if ref == "" {
		ref = j.ID
	}
	n, err := rft.ParseOwn("outputModel", ref, r.Account, rft.Models)
	if err != nil {
		return store.Model{}, err
	}
	raw, err := json.Marshal(train)
	if err != nil {
		return store.Model{}, rft.Wrap(rft.KindInternal, err, "the parameters cannot be recorded")
	}
	return store.Model{UID: store.NewUID(), Account: n.Account, ID: n.ID, DisplayName: n.ID, Kind: store.KindAdapter, BaseModel: base.Name(), BaseUID: base.UID,
		Rank: train.LoraRank, Alpha: train.LoraAlpha, Targets: train.LoraTargets, Spec: raw, ContextLength: base.ContextLength, HasChat: base.HasChat,
		Parameters: base.Parameters, CreatedBy: r.CreatedBy}, nil
}

// PrepareExport checks the export of a model to a bucket prefix or a registry and
// returns the job that would do it.
func (s *Service) PrepareExport(ctx context.Context, account, model, url, by string) (store.Job, store.Model, catalog.ExportSpec, error) {
	fail := func(err error) (store.Job, store.Model, catalog.ExportSpec, error) {
		return store.Job{}, store.Model{}, catalog.ExportSpec{}, err
	}
	m, err := s.catalog.Model(ctx, account, "model", model)
	if err != nil {
		return fail(err)
	}
	if m.Kind != store.KindAdapter {
		return fail(rft.Errorf(rft.KindUnimplemented, "%s is a base model; only LoRA adapters are exported: copy the base from where it was imported (%s), and export the adapters trained on it", m.Name(), m.ImportedFrom))
	}
	if m.State != store.StateReady {
		return fail(rft.Errorf(rft.KindFailedPrecondition, "%s is not READY but %s", m.Name(), m.State))
	}
	spec := catalog.ExportSpec{UID: m.UID, Model: m.Name()}
	if spec.URL, err = catalog.Destination(url); err != nil {
		return fail(err)
	}
	raw, err := spec.JSON()
	if err != nil {
		return fail(err)
	}
	return store.Job{Account: account, Kind: store.JobExport, Spec: raw, BaseModel: m.Name(), CreatedBy: by}, m, spec, nil
}

// Export queues an export.
func (s *Service) Export(ctx context.Context, account, model, url, by string, act store.Act) (store.Job, error) {
	j, _, _, err := s.PrepareExport(ctx, account, model, url, by)
	if err != nil {
		return j, err
	}
	return s.db.CreateJob(ctx, j, act)
}

// Cancel asks a job to stop; see store.CancelJob. Its resume points stay, so that
// it can be resumed.
func (s *Service) Cancel(ctx context.Context, account string, kind store.JobKind, id string, act store.Act) (store.Job, error) {
	return s.db.CancelJob(ctx, account, kind, id, act)
}

// remove removes the artefacts of resume points; what a failure leaves is an
// orphan for fsck.
func (s *Service) remove(ctx context.Context, points []store.ResumePoint) {
	for _, p := range points {
		_ = s.catalog.Vault().Remove(context.WithoutCancel(ctx), p.Artifact)
	}
}

// Delete removes a job in any state and the artefacts of its resume points.
func (s *Service) Delete(ctx context.Context, account string, kind store.JobKind, id string, act store.Act) error {
	_, points, err := s.db.DeleteJob(ctx, account, kind, id, act)
	if err != nil {
		return err
	}
	s.remove(ctx, points)
	return nil
}

// Wait returns the job once it is terminal, or as it is when ctx ends.
func (s *Service) Wait(ctx context.Context, uid string) (store.Job, error) {
	for {
		changed := s.db.JobsChanged()
		j, err := s.db.JobByUID(ctx, uid)
		if err != nil || j.State.Terminal() {
			return j, err
		}
		if err := pause(ctx, changed, pollEvery); err != nil {
			return j, nil
		}
	}
}

// number formats a parameter as a person would write it.
func number(v any) string {
	if f, ok := v.(float64); ok {
		return fmt.Sprintf("%g", f)
	}
	return fmt.Sprint(v)
}

// same compares parameters; numbers as float32, in which clients send them.
func same(a, b any) bool {
	x, ok1 := a.(float64)
	y, ok2 := b.(float64)
	if ok1 && ok2 {
		return float32(x) == float32(y) || math.IsNaN(x) && math.IsNaN(y)
	}
	return a == b
}

// Package train runs a reinforcement step: groups of scored samples in, a new
// LoRA adapter out. It owns the rules of docs/reinforcement.md that lie between
// the rows and the arithmetic: optimiser batches, advantages per batch, the old
// policy and the reference, resume points, metrics.
//
// The caller feeds groups in training order and receives events:
//
//	t, err := train.New(pool, base, spec, train.Options{Adapter: ..., ...})
//	result, err := t.Run(ctx, source, events)
//	err = t.WriteAdapter(config, tensors)
//	err = t.WriteOptimizer(moments)
//	canary, err := t.Canary(ctx, engine.CanaryTokens)
package train

import (
	"context"
	"encoding/json"
	"time"

	"github.com/firekeep/firekeep/internal/engine/rows"
)

// Options is what a step starts from besides base weights and spec. The blobs
// are the ones that an earlier WriteAdapter and WriteOptimizer wrote, or an
// imported PEFT adapter; all of them are checked against spec and base.
type Options struct {
	BaseName string // base_model_name_or_path of the written adapter

	// Incoming LoRA (on resume: the resume point's); nil starts a fresh adapter.
	AdapterConfig []byte // adapter_config.json
	Adapter       []byte // safetensors
	Optimizer     []byte // nil: zero moments, no update counted

	// Resume continues a job behind a mark; nil starts it. Original is the
	// adapter that the job began with (safetensors of the same shape), nil when
	// the job began with a fresh one.
	Resume   *Mark
	Original []byte

	// Evaluate computes the loss and changes nothing: Adapter is what is judged,
	// Original the adapter that its job began with, nil for a fresh one.
	Evaluate bool

	// GroupsPerEpoch serves the estimate of the time left, and says behind which
	// update nothing follows: that is no resume point, Result has it. 0 = unknown.
	GroupsPerEpoch int64

	// MicroTokens is about how many tokens of groups are handed to the model at
	// once. MaxBytes bounds the activations kept for backward: what exceeds it is
	// computed twice rather than kept. 0 = defaults. They change speed and
	// memory, never results.
	MicroTokens int
	MaxBytes    int64
}

// Group is what a Source yields: a group of samples, or the end of an epoch.
type Group struct {
	Rows     *rows.Encoded // nil: the epoch ends here
	Position int64         // counts groups from 0 over all epochs
	Epoch    int           // with Rows nil: the epoch that ends, from 0
	Last     bool          // with Rows nil: no epoch follows
}

// Source yields groups in training order, the end of each epoch included. The
// first group of a resumed job is the one at Mark.Position. Its errors end Run
// unchanged; it need not be called again after the last epoch's end.
type Source func(ctx context.Context) (Group, error)

// Events receives what happens during Run, from Run's goroutine. An error ends
// Run unchanged.
type Events interface {
	// Metrics is called once per optimiser batch.
	Metrics(Metrics) error
	// Mark is called at a resume point, of which the last update is none. Until it returns, WriteAdapter and
	// WriteOptimizer write the state that belongs to the mark.
	Mark(Mark) error
	// Progress is called after micro-batches, at most a few times per second.
	Progress(Progress) error
	// Warning is a sentence that the user must see.
	Warning(message string) error
}

// Metrics describes one optimiser batch; every field is also on the wire under
// the same name.
type Metrics struct {
	Update        int64 // 1-based number of the optimiser batch within the job
	Epoch         int   // 0-based
	Samples       int   // S
	Groups        int
	DeadGroups    int
	EmptySamples  int
	Truncated     int
	Tokens        int64 // prompt + completion of every sample
	ScoredTokens  int64 // N
	Computed      int64 // tokens that went through the model with gradients
	RewardMean    float64
	RewardStd     float64 // with Bessel's correction
	RewardMin     float64
	RewardMax     float64
	Loss          float64
	KL            float64 // mean of k3 over scored tokens; 0 without a reference
	ClipFraction  float64 // scored tokens whose gradient a clip zeroed
	Entropy       float64 // mean over computed scored tokens, nats
	GradNorm      float64 // before clipping
	LearningRate  float64 // of this update
	RatioMean     float64
	EffectiveSize float64 // (sum w)^2 / sum w^2 over scored tokens with logprobs
	MaskedSamples int
	Pairs         int     // of DPO and ORPO
	PairAccuracy  float64 // share of pairs in the right order before the update
	PairMargin    float64 // mean of what the sigmoid of the loss sees
	Updated       bool    // false: nothing carried a gradient, nothing changed
	Seconds       float64
	TokensPerSec  float64
}

// Mark is a resume point: the state after the optimiser batch Update.
type Mark struct {
	Update   int64           `json:"update"`
	Epoch    int             `json:"epoch"`
	Position int64           `json:"position"` // of the next group
	Signal   int64           `json:"signal"`   // samples that carried a gradient so far
	Totals   json.RawMessage `json:"totals,omitempty"`
}

// Progress is a sign of life with an estimate.
type Progress struct {
	Stage    string        // "train"
	Fraction float64       // of the job, 0..1; 0 while unknown
	ETA      time.Duration // 0 while unknown
}

// Result is what a step reports at its end.
type Result struct {
	Updates  int64 // optimiser updates made by this job
	Samples  int64
	Tokens   int64
	NoSignal bool            // no sample carried a gradient; the weights are the incoming ones
	Message  string          // for the job's status; "" without NoSignal
	Report   json.RawMessage // a Report
	// Mark would be a resume point: that of the state as it is in the end.
	Mark Mark
}

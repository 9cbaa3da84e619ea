// Package serving answers chats: it keeps one sampling child per account and
// base, starts it on demand, loads adapters into it as requests name them,
// stops it when idle and starts it again after a crash.
//
//	request -> Router.Generate -> replica (account, base) -> broker.Sampler -> child
//
// Nothing is configured ahead: a checkpoint answers as soon as the catalog knows
// it. Shares divides the cores between sampling children and steps.
package serving

import (
	"context"
	"os"
	"time"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/sandbox"
)

// Target names what answers a request.
type Target struct {
	Account string // whose child it is; accounts never share one
	Base    string // resource name of the base model
	// BaseDigest is the digest of the base's prepared weights: another version of
	// a base is another child.
	BaseDigest string
	Adapter    string // resource name of the LoRA; "" = the base itself
	AdapterID  string // digest of its checkpoint, what a child knows it by
}

// Checkpoint is the digest of what answers: of the adapter's checkpoint, else of
// the base's prepared weights.
func (t Target) Checkpoint() string {
	if t.Adapter == "" {
		return t.BaseDigest
	}
	return t.AdapterID
}

// Base is a base model, ready to be mapped.
type Base struct {
	File   *os.File // prepared weights
	Size   int64
	Digest string
	// Close closes File; it is called when the child that maps it is gone. nil =
	// there is nothing but File to close.
	Close func()
	// Isolation is what the account's policy demands of the sandbox.
	Isolation sandbox.Level
	Require   []string
}

// Adapter is a LoRA checkpoint in PEFT's form.
type Adapter struct {
	Config  []byte // adapter_config.json
	Tensors []byte // adapter_model.safetensors
	// ConfigSHA256 and TensorsSHA256 are hex digests, as who received or unsealed the
	// bytes computed them on this side; "" = not yet.
	ConfigSHA256, TensorsSHA256 string
	// Canary is what its trainer recorded, computed on Level in Precision; nil =
	// nothing, and then the adapter is served as it is.
	Canary           *engine.Canary
	Level, Precision string
}

// Source opens models. Errors are *rft.Error and reach the request unchanged.
type Source interface {
	OpenBase(ctx context.Context, t Target) (Base, error)
	OpenAdapter(ctx context.Context, t Target) (Adapter, error)
	// Refuse records that t's adapter is not served, and returns the error that
	// says so to whoever asked for it.
	Refuse(ctx context.Context, t Target, reason error) error
}

// Options of a Router; zero values mean the defaults in parentheses.
type Options struct {
	MaxSequences int           // completions decoded at once per child (32)
	MaxContext   int           // tokens of prompt and completion (0 = the model's)
	CacheBytes   int64         // KV memory per child (1 GiB)
	Int8         bool          // decode without log-probs from weights of one byte (false)
	MemoryBytes  int64         // limit of a child without mapped weights (0 = the launcher's)
	MaxRequests  int           // in work or waiting per child (256)
	MaxAdapters  int           // loaded at once per child (16)
	Idle         time.Duration // a child without requests for so long is stopped (10 minutes)
	StartTimeout time.Duration // (2 minutes)
	Shares       *Shares       // nil = all cores for every child
	// Level and Precision are what children compute on, as in broker.Choose. The
	// same as steps do, so that log-probs agree.
	Level, Precision string
}

func (o Options) withDefaults() Options {
	orElse(&o.MaxSequences, 32)
	orElse(&o.CacheBytes, 1<<30)
	orElse(&o.MaxRequests, 256)
	orElse(&o.MaxAdapters, 16)
	orElse(&o.Idle, 10*time.Minute)
	orElse(&o.StartTimeout, 2*time.Minute)
	if o.Shares == nil {
		o.Shares = NewShares(0, 0)
	}
	return o
}

func orElse[T int | int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Busy is the cause of a RESOURCE_EXHAUSTED or UNAVAILABLE error that passes:
// trying again after After may help.
type Busy struct{ After time.Duration }

func (b *Busy) Error() string { return "try again in " + b.After.String() }

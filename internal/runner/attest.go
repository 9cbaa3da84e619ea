package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"iter"
	"strconv"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/store"
	"github.com/firekeep/firekeep/internal/wire"
)

// incoming is the LoRA that a step continues.
type incoming struct {
	model   store.Model
	adapter string // hex digest of its tensors
}

// stepParameters is what the user asked for, as the provenance shows it.
type stepParameters struct {
	Trainer       string      `json:"trainer,omitempty"` // the keep-alive trainer whose step it was
	Dataset       string      `json:"dataset"`
	Evaluation    string      `json:"evaluationDataset,omitempty"` // read, not learned from
	BaseModel     string      `json:"baseModel"`
	WarmStartFrom string      `json:"warmStartFrom,omitempty"`
	OutputModel   string      `json:"outputModel"`
	Loss          string      `json:"loss"`
	Seed          int64       `json:"seed"`
	Train         engine.Spec `json:"hyperParameters"` // every one, resolved
	Changed       []string    `json:"changedFromIncoming,omitempty"`
	KernelChange  bool        `json:"allowKernelChange,omitempty"`
}

// computation is what the server added to it.
type computation struct {
	KernelLevel  string         `json:"kernelLevel"`
	Precision    string         `json:"precision"`
	Attempts     int            `json:"attempts"`
	Updates      int64          `json:"updates"`
	Samples      int64          `json:"samples"`
	Tokens       int64          `json:"tokens"`
	NoSignal     bool           `json:"noSignal"`
	Canary       *engine.Canary `json:"canary,omitempty"` // what the final adapter said
	SandboxLevel sandbox.Level  `json:"sandboxLevel"`
	Sandbox      []sandboxLayer `json:"sandboxLayers"`
}

type sandboxLayer struct {
	Name   string `json:"name"`
	Active bool   `json:"active"`
}

func layers(r sandbox.Report) []sandboxLayer {
	out := make([]sandboxLayer, len(r.Layers))
	for i, l := range r.Layers {
		out[i] = sandboxLayer{l.Name, l.Active}
	}
	return out
}

// attest signs a checkpoint whose files are in place, before the row that shows
// it. It returns the digest of the signature's bundle.
func (s *stepRun) attest(out *store.Model, done wire.TrainDone, st broker.State) (string, error) {
	list := files(st)
	r := provenance.Record{BuildType: provenance.BuildStep, Subjects: catalog.Subjects(list), Builder: provenance.Builder(string(s.sandbox.Level)),
		Versions: s.versions(), Invocation: s.job.Name(), Started: s.job.Started, Ended: s.DB.Now()}
	train := s.spec.Train
	if train.Template != "" {
		train.Template = catalog.Digest([]byte(train.Template)) // a template is text of the user's
	}
	r.External = stepParameters{Dataset: s.spec.Dataset, Evaluation: s.spec.EvalDataset, BaseModel: s.spec.BaseModel, WarmStartFrom: s.spec.WarmStartFrom, OutputModel: s.spec.OutputModel,
		Trainer: s.trainer, Loss: train.Method, Seed: train.Seed, Train: train, Changed: s.spec.Changed, KernelChange: s.spec.AllowKernelChange}
	r.Internal = computation{KernelLevel: done.Level, Precision: done.Precision, Attempts: s.job.Attempt, Updates: done.Updates, Samples: done.Samples,
		Tokens: done.Tokens, NoSignal: done.NoSignal, Canary: done.Canary, SandboxLevel: s.sandbox.Level, Sandbox: layers(s.sandbox)}
	r.Dependencies = s.dependencies()
	var err error
	if r.MetricsSHA256, r.Metrics, err = s.measured(); err != nil {
		return "", err
	}
	if r.AuditIndex, err = s.logged("SignCheckpoint", map[string]string{"model": out.Name(), "digest": out.Digest, "adapter": st.Adapter.SHA256}); err != nil {
		return "", err
	}
	return s.Catalog.Attest(s.ctx, out, catalog.Signing{AccountUID: s.account, Version: strconv.FormatInt(s.lease.Fence(), 10), Job: s.job.UID,
		Draft: s.statements, Leaves: catalog.Leaves(list), Record: r, BOM: provenance.BOM{Family: s.model.Family, Trained: true}})
}

// versions are those of the programs that took part.
func (a *attempt) versions() map[string]string {
	return map[string]string{"firekeep": a.Host.Build, "firekeep-engine": "sha256:" + a.Host.Engine.SHA256()}
}

// logged writes what is about to be done to the audit log and returns its place
// there, -1 when this runner has no log.
func (a *attempt) logged(method string, detail map[string]string) (int64, error) {
	if a.Audit == nil {
		return -1, nil
	}
	return a.Audit.Record(a.ctx, runnerAct(a.job, method, detail), "OK")
}

// maxRecordedObjects bounds the objects that a record lists one by one. The
// digest of the dataset's index covers every block of all of them.
const maxRecordedObjects = 10_000

// dependencies is everything that the checkpoint was made from.
func (s *stepRun) dependencies() []provenance.Dependency {
	list := []provenance.Dependency{
		{Name: provenance.RoleEngine, URI: "firekeep-engine", SHA256: s.Host.Engine.SHA256(), Annotations: map[string]string{"build": s.Host.Build}},
		{Name: provenance.RoleBase, URI: s.base.Name(), SHA256: s.base.Digest, Annotations: note("importedFrom", s.base.ImportedFrom)},
	}
	if in := s.incoming; in != nil {
		list = append(list, provenance.Dependency{Name: provenance.RoleIncoming, URI: in.model.Name(), SHA256: in.adapter, Annotations: note("checkpoint", in.model.Digest)})
	}
	return append(list, datasetDependencies(s.data, s.objects)...)
}

// datasetDependencies names the rows: the index over all of them, then each
// object with its pinned version.
func datasetDependencies(d store.Dataset, objects []store.Object) []provenance.Dependency {
	count := strconv.Itoa(len(objects))
	list := []provenance.Dependency{{Name: provenance.RoleDataset, URI: d.Name(), SHA256: d.IndexDigest, Annotations: map[string]string{"objects": count, "digestOf": "index"}}}
	root := ""
	if scheme, rest, ok := strings.Cut(d.ExternalURL, "://"); ok {
		bucket, _, _ := strings.Cut(rest, "/")
		root = scheme + "://" + bucket + "/"
	}
	for i, o := range objects {
		if i == maxRecordedObjects {
			break
		}
		uri := "upload:" + strconv.Itoa(i)
		if root != "" {
			uri = root + o.Key
		}
		notes := map[string]string{"size": strconv.FormatInt(o.Pin.Size, 10)}
		for k, v := range map[string]string{"version": o.Pin.Version, "etag": o.Pin.ETag} {
			if v != "" {
				notes[k] = v
			}
		}
		list = append(list, provenance.Dependency{Name: provenance.RoleObject, URI: uri, SHA256: o.SHA256, Annotations: notes})
	}
	return list
}

func note(k, v string) map[string]string {
	if v == "" {
		return nil
	}
	return map[string]string{k: v}
}

// measured digests the metrics of all updates, as they were stored, and returns
// those of the last one.
func (s *stepRun) measured() (digest string, last map[string]float64, err error) {
	h := sha256.New()
	var m *wire.Metrics
	for after := int64(0); ; {
		events, err := s.DB.MetricsAfter(s.ctx, s.job.UID, after, 1000)
		if err != nil {
			return "", nil, err
		}
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			h.Write(append(e.Data, '\n'))
		}
		after, m = events[len(events)-1].Update, &wire.Metrics{}
		if err := json.Unmarshal(events[len(events)-1].Data, m); err != nil {
			return "", nil, rft.Wrap(rft.KindDataLoss, err, "the metrics of %s cannot be read", s.job.Name())
		}
	}
	if m == nil {
		return "", nil, nil
	}
	return hex.EncodeToString(h.Sum(nil)), map[string]float64{"rewardMean": m.RewardMean, "rewardStd": m.RewardStd, "rewardMin": m.RewardMin, "rewardMax": m.RewardMax,
		"loss": m.Loss, "kl": m.KL, "clipFraction": m.ClipFraction, "entropy": m.Entropy, "gradNorm": m.GradNorm, "ratioMean": m.RatioMean}, nil
}

// imported is what the record of an import says.
type imported struct {
	source, signer   string // signer "" = nobody had signed the source
	started          time.Time
	leaves, subjects []provenance.Resource
	from             []provenance.Dependency
	family           string
	level            sandbox.Level // that held the child
}

// discard removes what this attempt stored of a model that it could not show.
func (a *attempt) discard(m store.Model) {
	a.Catalog.Discard(context.WithoutCancel(a.ctx), m, catalog.AttestationPrefix(a.account, m.UID, strconv.FormatInt(a.lease.Fence(), 10)))
}

// attestImport signs what an import made.
func (a *attempt) attestImport(m *store.Model, in imported) (string, error) {
	r := provenance.Record{BuildType: provenance.BuildImport, Subjects: in.subjects, Builder: provenance.Builder(string(in.level)), Versions: a.versions(),
		Invocation: a.job.Name(), Started: in.started, Ended: a.DB.Now(), SourceSignature: in.signer,
		External: map[string]string{"source": in.source, "model": m.Name(), "baseModel": m.BaseModel}, Dependencies: in.from}
	var err error
	if r.AuditIndex, err = a.logged("SignImport", map[string]string{"model": m.Name(), "digest": m.Digest, "source": in.source}); err != nil {
		return "", err
	}
	return a.Catalog.Attest(a.ctx, m, catalog.Signing{AccountUID: a.account, Version: strconv.FormatInt(a.lease.Fence(), 10), Job: a.job.UID,
		Leaves: in.leaves, Record: r, BOM: provenance.BOM{Family: in.family}})
}

// sums takes the digests of files while they stream by.
type sums struct {
	names []string
	hex   map[string]string
}

// over passes files on and digests them. A body that is not read to its end has
// no digest, and the import fails for want of it.
func (s *sums) over(files iter.Seq2[broker.File, error]) iter.Seq2[broker.File, error] {
	s.names, s.hex = nil, map[string]string{}
	return func(yield func(broker.File, error) bool) {
		for f, err := range files {
			if err != nil {
				yield(f, err)
				return
			}
			h := sha256.New()
			f.Body = io.TeeReader(f.Body, h)
			if !yield(f, nil) {
				return
			}
			s.names = append(s.names, f.Name)
			s.hex[f.Name] = hex.EncodeToString(h.Sum(nil))
		}
	}
}

// digested is sums over files that are in memory.
func digested(files []catalog.File) *sums {
	s := &sums{hex: map[string]string{}}
	for _, f := range files {
		s.names, s.hex[f.Name] = append(s.names, f.Name), provenance.Sum(f.Data)
	}
	return s
}

// dependencies lists the files of a source, and the record that its signature
// covers.
func (s *sums) dependencies(signature *provenance.Bundle) []provenance.Dependency {
	var out []provenance.Dependency
	for _, n := range s.names {
		out = append(out, provenance.Dependency{Name: provenance.RoleSource, URI: n, SHA256: s.hex[n]})
	}
	if signature != nil {
		if d := signature.Digest(provenance.FileProvenance); d != "" {
			out = append(out, provenance.Dependency{Name: provenance.RoleSource, URI: provenance.FileProvenance, SHA256: d})
		}
	}
	return out
}

// signed holds every file that is used against the signature of the source.
func (s *sums) signed(b *provenance.Bundle) error {
	if b == nil {
		return nil
	}
	for _, name := range s.names {
		switch b.Digest(name) {
		case s.hex[name]:
		case "":
			return rft.Errorf(rft.KindFailedPrecondition, "the source's signature does not cover %s", name)
		default:
			return rft.Errorf(rft.KindFailedPrecondition, "the source's %s is not the file that was signed", name)
		}
	}
	return nil
}

// sourceSignature verifies the signature that a source carries, before anything
// of it is used. It returns nil when there is none and none is demanded.
func (a *attempt) sourceSignature(list []modelFile) (*provenance.Bundle, string, error) {
	policy, err := a.Catalog.Policy(a.ctx, a.job.Account)
	if err != nil {
		return nil, "", err
	}
	raw, err := readFile(list, provenance.FileBundle, maxSourceBundleBytes)
	if rft.KindOf(err) == rft.KindInvalidArgument && !has(list, provenance.FileBundle) {
		if policy.RequireSignature {
			return nil, "", rft.Errorf(rft.KindFailedPrecondition, "the source carries no %s, and the account's policy requires signed models", provenance.FileBundle)
		}
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	return a.verifySource(policy, raw)
}

// maxSourceBundleBytes bounds the signature of a source.
const maxSourceBundleBytes = 32 << 20

func has(list []modelFile, name string) bool {
	for _, f := range list {
		if f.name == name {
			return true
		}
	}
	return false
}

func (a *attempt) verifySource(policy provenance.Policy, raw []byte) (*provenance.Bundle, string, error) {
	b, err := provenance.ParseBundle(raw)
	if provenance.IsOtherMethod(err) && !policy.RequireSignature {
		return nil, "a certificate, not checked", nil
	}
	if err != nil {
		return nil, "", rft.Wrap(rft.KindFailedPrecondition, err, "the source's signature is not accepted: %s", rft.PublicMessage(err))
	}
	keys, err := policy.Keys()
	if err != nil {
		return nil, "", err
	}
	own, err := a.Catalog.SigningKeys().Verifiers(a.ctx)
	if err != nil {
		return nil, "", err
	}
	k, err := b.Verify(append(own, keys...))
	if err != nil {
		return nil, "", rft.Wrap(rft.KindFailedPrecondition, err, "the source's signature is not accepted: %s; the account's policy names the keys it trusts", rft.PublicMessage(err))
	}
	return b, "key " + k.ID(), nil
}

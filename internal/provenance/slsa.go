package provenance

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

const (
	slsaType = "https://slsa.dev/provenance/v1"

	buildTypes = "https://github.com/firekeep/firekeep/provenance/"
	// BuildStep, BuildImport and BuildSign say how a model came to be:
	// trained here, brought in, or signed later by somebody who answers for it.
	BuildStep   = buildTypes + "reinforcement-step/v1"
	BuildImport = buildTypes + "model-import/v1"
	BuildSign   = buildTypes + "model-sign/v1"
	// BuildPromotion: the checkpoint of a job under a name of its own.
	BuildPromotion = buildTypes + "checkpoint-promotion/v1"
	// BuildMerge: a LoRA merged into its base.
	BuildMerge = buildTypes + "lora-merge/v1"
)

// Dependency is something that a model was made from.
type Dependency struct {
	Name   string // its role: "base", "incoming-adapter", "merged-adapter", "dataset", "dataset-object", "source-file"
	URI    string // without query and credentials
	SHA256 string // hex, "" = unknown
	// Annotations say more: version, etag, size.
	Annotations map[string]string
}

// Record is how a model came to be.
type Record struct {
	BuildType string
	// Subjects are the files that the record speaks of. All files of the model
	// are among them, also those that are never exported.
	Subjects []Resource
	// External is what the user asked for, Internal what the server added.
	External, Internal any
	Dependencies       []Dependency

	Builder  string            // who ran it, a URI
	Versions map[string]string // of the programs
	// Invocation is the job's resource name.
	Invocation       string
	Started, Ended   time.Time
	MetricsSHA256    string // hex, of the metrics of every update in order
	Metrics          map[string]float64
	AuditIndex       int64 // position in the audit log, < 0 = unknown
	Model, ModelUID  string
	ManifestDigest   string // sha256:hex of the artefact's manifest
	SourceSignature  string // of an import: who had signed the source, "" = nobody
	AttestationActor string // who asked for the signature, of BuildSign
}

// The statement's JSON, in the order of writing.
type slsaDependency struct {
	Name        string            `json:"name"`
	URI         string            `json:"uri,omitempty"`
	Digest      map[string]string `json:"digest,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type slsaByproduct struct {
	Name        string            `json:"name"`
	Digest      map[string]string `json:"digest,omitempty"`
	Annotations map[string]any    `json:"annotations,omitempty"`
}

type slsaPredicate struct {
	BuildDefinition struct {
		BuildType            string           `json:"buildType"`
		ExternalParameters   any              `json:"externalParameters"`
		InternalParameters   any              `json:"internalParameters,omitempty"`
		ResolvedDependencies []slsaDependency `json:"resolvedDependencies,omitempty"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID      string            `json:"id"`
			Version map[string]string `json:"version,omitempty"`
		} `json:"builder"`
		Metadata struct {
			InvocationID string `json:"invocationId,omitempty"`
			StartedOn    string `json:"startedOn,omitempty"`
			FinishedOn   string `json:"finishedOn,omitempty"`
		} `json:"metadata"`
		Byproducts []slsaByproduct `json:"byproducts,omitempty"`
	} `json:"runDetails"`
}

// Byproducts of a record.
const (
	productMetrics = "metrics"
	productModel   = "model"
	productAudit   = "audit-log"
	productSource  = "source-signature"
)

func sha256Set(digest string) map[string]string {
	if digest == "" {
		return nil
	}
	return map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}
}

// SignRecord returns the signed record of how a model came to be.
func SignRecord(k *seal.SigningKey, r Record) ([]byte, error) {
	if r.External == nil {
		r.External = map[string]string{}
	}
	var p slsaPredicate
	p.BuildDefinition.BuildType, p.BuildDefinition.ExternalParameters, p.BuildDefinition.InternalParameters = r.BuildType, r.External, r.Internal
	for _, d := range r.Dependencies {
		p.BuildDefinition.ResolvedDependencies = append(p.BuildDefinition.ResolvedDependencies,
			slsaDependency{Name: d.Name, URI: d.URI, Digest: sha256Set(d.SHA256), Annotations: d.Annotations})
	}
	run := &p.RunDetails
	run.Builder.ID, run.Builder.Version, run.Metadata.InvocationID = r.Builder, r.Versions, r.Invocation
	run.Metadata.StartedOn, run.Metadata.FinishedOn = stamp(r.Started), stamp(r.Ended)
	run.Byproducts = r.byproducts()
	s := statement{Type: statementType, PredicateType: slsaType, Predicate: p}
	for _, f := range r.Subjects {
		s.Subject = append(s.Subject, subject{Name: f.Name, Digest: sha256Set(f.SHA256)})
	}
	payload, err := marshal(s)
	if err != nil {
		return nil, err
	}
	e, err := Sign(k, payload)
	if err != nil {
		return nil, err
	}
	return e.JSON()
}

func (r Record) byproducts() []slsaByproduct {
	model := map[string]any{"name": r.Model, "uid": r.ModelUID}
	if r.AttestationActor != "" {
		model["signedFor"] = r.AttestationActor
	}
	out := []slsaByproduct{{Name: productModel, Digest: sha256Set(r.ManifestDigest), Annotations: model}}
	if r.MetricsSHA256 != "" {
		out = append(out, slsaByproduct{Name: productMetrics, Digest: sha256Set(r.MetricsSHA256), Annotations: map[string]any{"final": r.Metrics}})
	}
	if r.SourceSignature != "" {
		out = append(out, slsaByproduct{Name: productSource, Annotations: map[string]any{"by": r.SourceSignature}})
	}
	if r.AuditIndex >= 0 {
		out = append(out, slsaByproduct{Name: productAudit, Annotations: map[string]any{"index": r.AuditIndex}})
	}
	return out
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Statement is what is read back of a record.
type Statement struct {
	BuildType    string
	Subjects     []Resource
	Dependencies []Dependency
	Builder      string
	Invocation   string
	Metrics      map[string]float64 // of the last update
	// MetricsSHA256 is of the metrics of every update, hex.
	MetricsSHA256 string
	AuditIndex    int64 // -1 = not recorded
	Model         string
	ModelUID      string
	Manifest      string // sha256:hex

	envelope Envelope
}

// ParseRecord reads a signed record. It checks the form; Verify the signature.
func ParseRecord(raw []byte) (*Statement, error) {
	e, err := ParseEnvelope(raw)
	if err != nil {
		return nil, err
	}
	s := &Statement{envelope: e, AuditIndex: -1}
	if err := s.parse(e.Payload); err != nil {
		return nil, malformed("provenance", err)
	}
	return s, nil
}

func (s *Statement) parse(payload []byte) error {
	var w struct {
		Type          string        `json:"_type"`
		Subject       []subject     `json:"subject"`
		PredicateType string        `json:"predicateType"`
		Predicate     slsaPredicate `json:"predicate"`
	}
	if err := json.Unmarshal(payload, &w); err != nil {
		return errors.New("its statement is not JSON of the expected shape")
	}
	if w.Type != statementType || w.PredicateType != slsaType {
		return fmt.Errorf("its statement is not a %s", slsaType)
	}
	if len(w.Subject) == 0 || len(w.Subject) > maxResources {
		return errors.New("it has no subject, or too many")
	}
	for _, f := range w.Subject {
		sum := f.Digest["sha256"]
		if raw, err := hex.DecodeString(sum); err != nil || len(raw) != 32 {
			return errors.New("a subject has no SHA-256 digest")
		}
		s.Subjects = append(s.Subjects, Resource{Name: f.Name, SHA256: sum})
	}
	def, run := w.Predicate.BuildDefinition, w.Predicate.RunDetails
	s.BuildType, s.Builder, s.Invocation = def.BuildType, run.Builder.ID, run.Metadata.InvocationID
	for _, d := range def.ResolvedDependencies {
		s.Dependencies = append(s.Dependencies, Dependency{Name: d.Name, URI: d.URI, SHA256: d.Digest["sha256"], Annotations: d.Annotations})
	}
	for _, b := range run.Byproducts {
		s.byproduct(b)
	}
	return nil
}

func (s *Statement) byproduct(b slsaByproduct) {
	switch b.Name {
	case productModel:
		s.Model, _ = b.Annotations["name"].(string)
		s.ModelUID, _ = b.Annotations["uid"].(string)
		if sum := b.Digest["sha256"]; sum != "" {
			s.Manifest = "sha256:" + sum
		}
	case productMetrics:
		s.MetricsSHA256 = b.Digest["sha256"]
		final, _ := b.Annotations["final"].(map[string]any)
		for k, v := range final {
			if f, ok := v.(float64); ok {
				if s.Metrics == nil {
					s.Metrics = map[string]float64{}
				}
				s.Metrics[k] = f
			}
		}
	case productAudit:
		if f, ok := b.Annotations["index"].(float64); ok && f >= 0 && f < 1<<53 {
			s.AuditIndex = int64(f)
		}
	}
}

// Verify holds the signature against one key: that which signed the model.
func (s *Statement) Verify(k seal.VerifyingKey) error {
	if !s.envelope.Verify(k) {
		return rft.Errorf(rft.KindDataLoss, "the provenance is not signed by the key that signed the model, or was changed")
	}
	return nil
}

// Digest returns the recorded digest of a file in hex, "" when the record does
// not speak of it.
func (s *Statement) Digest(name string) string {
	i := slices.IndexFunc(s.Subjects, func(r Resource) bool { return r.Name == name })
	if i < 0 {
		return ""
	}
	return s.Subjects[i].SHA256
}

// Named returns the first dependency in a role.
func (s *Statement) Named(role string) (Dependency, bool) {
	i := slices.IndexFunc(s.Dependencies, func(d Dependency) bool { return d.Name == role })
	if i < 0 {
		return Dependency{}, false
	}
	return s.Dependencies[i], true
}

// Builder names who ran a build: Firekeep, at a level of the sandbox ("" = no
// child took part).
func Builder(sandbox string) string {
	if sandbox == "" {
		return "https://github.com/firekeep/firekeep"
	}
	return "https://github.com/firekeep/firekeep#sandbox=" + sandbox
}

package provenance

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// Policy is what an account demands of models that come in and go out. The zero
// Policy demands nothing beyond what always holds: what carries a signature must
// verify, and every model that is loaded must be signed by this installation.
type Policy struct {
	// RequireSignature refuses imports of sources without a valid signature.
	RequireSignature bool `json:"requireSignature,omitempty"`
	// TrustedKeys are public keys (PEM) that sign models elsewhere.
	TrustedKeys []string `json:"trustedKeys,omitempty"`
	// Destinations are the prefixes that exports may go to; nil = any.
	Destinations []string `json:"destinations,omitempty"`
	// RequireApproval makes each export wait for another principal.
	RequireApproval bool `json:"requireApproval,omitempty"`
	// Require are results that a model must have reached.
	Require []Threshold `json:"require,omitempty"`
}

// Threshold demands a result of a model's signed provenance: a metric of the
// last update of its training.
type Threshold struct {
	Metric string   `json:"metric"`
	Min    *float64 `json:"min,omitempty"`
	Max    *float64 `json:"max,omitempty"`
}

// Metrics that a Threshold may name.
var thresholdMetrics = []string{"rewardMean", "rewardStd", "rewardMin", "rewardMax", "loss", "kl", "clipFraction", "entropy", "gradNorm", "ratioMean"}

// Bounds of a policy.
const (
	maxPolicyBytes = 256 << 10
	maxPolicyItems = 100
)

// ParsePolicy reads and checks a policy. Unknown fields are errors: a misspelt
// rule must not pass for none.
func ParsePolicy(raw []byte) (Policy, error) {
	var p Policy
	if len(raw) > maxPolicyBytes {
		return p, rft.FieldErrorf("policy", "policy: is longer than %d bytes", maxPolicyBytes)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		return p, rft.FieldErrorf("policy", "policy: not JSON of the expected fields: requireSignature, trustedKeys, destinations, requireApproval, require")
	}
	return p, p.check()
}

func (p Policy) check() error {
	if max(len(p.TrustedKeys), len(p.Destinations), len(p.Require)) > maxPolicyItems {
		return rft.FieldErrorf("policy", "policy: a list holds more than %d items", maxPolicyItems)
	}
	if _, err := p.Keys(); err != nil {
		return err
	}
	for _, d := range p.Destinations {
		if !validDestination(d) {
			return rft.FieldErrorf("policy.destinations", "policy.destinations: %q is not a prefix such as s3://bucket/models/ or oci://registry/repository; it must end at a '/' or name a whole object", d)
		}
	}
	for _, t := range p.Require {
		switch {
		case !slices.Contains(thresholdMetrics, t.Metric):
			return rft.FieldErrorf("policy.require", "policy.require: unknown metric %q; known are %s", t.Metric, strings.Join(thresholdMetrics, ", "))
		case t.Min == nil && t.Max == nil:
			return rft.FieldErrorf("policy.require", "policy.require: %s needs min or max", t.Metric)
		}
	}
	return nil
}

// validDestination keeps a rule's prefix to whole path segments of one scheme.
func validDestination(d string) bool {
	scheme, rest, ok := strings.Cut(d, "://")
	return ok && slices.Contains([]string{"file", "s3", "gs", "azure", "https", "oci"}, scheme) && rest != "" && !strings.ContainsAny(rest, "\x00\n\r*") &&
		!slices.Contains(strings.Split(rest, "/"), "..")
}

// Keys are the trusted keys of a policy.
func (p Policy) Keys() ([]seal.VerifyingKey, error) {
	var out []seal.VerifyingKey
	for i, text := range p.TrustedKeys {
		k, err := seal.ParseVerifyingKey([]byte(text))
		if err != nil {
			return nil, rft.FieldErrorf("policy.trustedKeys", "policy.trustedKeys: key %d is not a public key in PEM (ECDSA on P-256)", i+1)
		}
		out = append(out, k)
	}
	return out, nil
}

// AllowDestination refuses a destination that lies under none of the prefixes.
// A prefix ends at a segment's end: s3://b/models does not cover s3://b/models-2/.
func (p Policy) AllowDestination(url string) error {
	if p.Destinations == nil {
		return nil
	}
	for _, d := range p.Destinations {
		if url == d || strings.HasPrefix(url, strings.TrimSuffix(d, "/")+"/") || (strings.HasPrefix(d, "oci://") && strings.HasPrefix(url, d+":")) {
			return nil
		}
	}
	return rft.Errorf(rft.KindPermissionDenied, "the account's policy does not allow exports to %s; allowed are %s", url, strings.Join(p.Destinations, ", "))
}

// AllowResults refuses a model whose signed results do not reach what the policy
// requires. A model without the result is refused: nothing is known about it.
func (p Policy) AllowResults(s *Statement) error {
	for _, t := range p.Require {
		v, ok := s.Metrics[t.Metric]
		switch {
		case !ok || math.IsNaN(v):
			return rft.Errorf(rft.KindFailedPrecondition, "the account's policy requires a result for %s, and the model's provenance has none", t.Metric)
		case t.Min != nil && v < *t.Min:
			return rft.Errorf(rft.KindFailedPrecondition, "the account's policy requires %s of at least %g; the model's is %g", t.Metric, *t.Min, v)
		case t.Max != nil && v > *t.Max:
			return rft.Errorf(rft.KindFailedPrecondition, "the account's policy requires %s of at most %g; the model's is %g", t.Metric, *t.Max, v)
		}
	}
	return nil
}

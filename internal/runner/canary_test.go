package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// models are the catalog's, but of what was damaged the canary is another.
type models struct {
	control.Models
	damaged  string // name of a model
	recorded func(*engine.Canary) *engine.Canary
}

func (m *models) OpenAdapter(ctx context.Context, t serving.Target) (serving.Adapter, error) {
	a, err := m.Models.OpenAdapter(ctx, t)
	if err == nil && strings.HasSuffix(t.Adapter, "/"+m.damaged) {
		a.Canary = m.recorded(a.Canary)
	}
	return a, err
}

// TestReload: a step's checkpoint records the canary, in its manifest and in what
// is signed, and takes the place of the one before on its deployment when the
// child that serves says the same. One that disagrees is refused, with an audit
// row, and what was live stays live.
func TestReload(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	h.base(t)
	h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(8, 3, varied)))
	h.wait(t, h.step(t, job.StepRequest{ID: "s1", Dataset: "rows", BaseModel: "tiny", OutputModel: "m1", Params: small()}).UID)
	for _, next := range []string{"2", "3", "4"} {
		h.wait(t, h.step(t, job.StepRequest{ID: "s" + next, Dataset: "rows", WarmStartFrom: "m1", OutputModel: "m" + next}).UID)
	}
	stop()
	h.canaryIsRecorded(t, "m1")

	source := &models{Models: control.Models{Catalog: h.catalog}, damaged: "m3", recorded: func(c *engine.Canary) *engine.Canary {
		other := &engine.Canary{Sequence: c.Sequence, Logprobs: slices.Clone(c.Logprobs)}
		other.Logprobs[5] -= 0.25
		return other
	}}
	router := serving.NewRouter(h.config.Host, source, serving.Options{MaxContext: 256, CacheBytes: 16 << 20})
	t.Cleanup(func() { router.Close() })
	c := &control.Control{DB: h.db, Keys: &authz.Keys{DB: h.db, Operator: "main"}, Catalog: h.catalog, Jobs: h.jobs, Router: router, KEK: h.kek, Log: h.config.Log}
	who := control.NewCaller(authz.Principal{Account: "main", User: "ann", Name: "ann@example.org", Role: authz.Admin}, "192.0.2.1", "test")
	if _, err := c.CreateDeployment(t.Context(), who, "main", "live", &api.Deployment{BaseModel: "tiny", EnableHotReload: true}, control.DeploymentOptions{}); err != nil {
		t.Fatal(err)
	}
	deploy := func(model string) (*api.DeployedModel, error) {
		return c.CreateDeployedModel(t.Context(), who, "main", &api.DeployedModel{Model: model, Deployment: "live"}, true)
	}
	answers := func(model string) {
		t.Helper()
		s, err := c.Complete(t.Context(), who, &api.CompletionRequest{Model: "accounts/main/deployments/live", Prompt: &api.Prompt{Texts: []string{"x"}}})
		if err != nil || s.Checkpoint() != h.model(t, model).Digest {
			t.Errorf("%v, want what %s answers", err, model)
		}
	}
	for _, model := range []string{"m1", "m2"} {
		d, err := deploy(model)
		if err != nil || d.State != "DEPLOYED" || d.Status.Message != "" {
			t.Fatalf("%+v, %v", d, err)
		}
		answers(model)
	}
	if _, err := deploy("m3"); rft.KindOf(err) != rft.KindFailedPrecondition || !strings.Contains(rft.PublicMessage(err), "canary") {
		t.Errorf("a checkpoint that says something else than its trainer: %v", err)
	}
	answers("m2")
	p, err := h.db.ListAudit(t.Context(), "main", store.AuditRange{}, store.ListOptions{Limit: 10, Filter: []store.Term{{Field: "method", Op: "=", Value: "LoadModel"}}})
	if err != nil || len(p.Items) != 1 || p.Items[0].Result != string(rft.KindFailedPrecondition) || !strings.HasSuffix(p.Items[0].Resource, "/m3") || !strings.Contains(p.Items[0].Detail["reason"], "canary") {
		t.Errorf("%+v, %v", p.Items, err)
	}
	source.damaged, source.recorded = "m4", func(*engine.Canary) *engine.Canary { return nil } // as of an older home
	if d, err := deploy("m4"); err != nil || !strings.Contains(d.Status.Message, "no canary") {
		t.Errorf("%+v, %v", d, err)
	}
	answers("m4")
	if got := c.AdapterLoads(); got != (serving.Loads{Proven: 2, Unrecorded: 1, Refused: 1}) {
		t.Errorf("%+v", got)
	}
}

// canaryIsRecorded looks for the same canary in the manifest and in what is signed.
func (h *home) canaryIsRecorded(t *testing.T, model string) {
	t.Helper()
	m := h.model(t, model)
	a, err := h.catalog.Checkpoint(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	c := a.Manifest.Canary
	if c == nil || c.Tokens() != engine.CanaryTokens || !engine.LogProbs(c.Logprobs) {
		t.Fatalf("%+v", c)
	}
	signed, err := h.catalog.Attestation(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(signed.Files, func(f catalog.File) bool { return f.Name == provenance.FileProvenance })
	var envelope struct{ Payload []byte }
	var statement struct {
		Predicate struct {
			BuildDefinition struct {
				InternalParameters struct{ Canary *engine.Canary }
			}
		}
	}
	if err := errors.Join(json.Unmarshal(signed.Files[i].Data, &envelope), json.Unmarshal(envelope.Payload, &statement)); err != nil {
		t.Fatal(err)
	}
	if r := statement.Predicate.BuildDefinition.InternalParameters.Canary; r == nil || r.Distance(c.Logprobs) != 0 {
		t.Errorf("signed %+v", r)
	}
}

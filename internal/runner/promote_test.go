package runner_test

import (
	"testing"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// TestPromote: a checkpoint under a name of its own has the same files, its own
// signature, and the record of what it was made from; it outlives the model that it
// was promoted from, and one whose signature does not hold is not promoted.
func TestPromote(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	h.base(t)
	h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(4, 2, varied)))
	h.wait(t, h.step(t, job.StepRequest{Dataset: "rows", BaseModel: "tiny", OutputModel: "m1", Params: small()}).UID)
	from := h.model(t, "m1")
	promote := func(m store.Model, id string) (store.Model, error) {
		a := act
		a.Detail = map[string]string{}
		return h.catalog.Promote(t.Context(), m, catalog.Promotion{ID: id, Checkpoint: "accounts/main/rlorTrainerJobs/j/checkpoints/c", CreatedBy: "ann"}, a)
	}
	made, err := promote(from, "own")
	if err != nil {
		t.Fatal(err)
	}
	if made.State != store.StateReady || made.UID == from.UID || made.FineTuningJob != from.FineTuningJob || made.JobUID != "" || made.CreatedBy != "ann" {
		t.Errorf("%+v", made)
	}
	if _, err := promote(from, "own"); rft.KindOf(err) != rft.KindAlreadyExists {
		t.Errorf("a name that is taken: %v", err)
	}
	unsigned := from
	unsigned.Attestation = ""
	if _, err := promote(unsigned, "unsigned"); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("a checkpoint without a signature: %v", err)
	}
	foreign := from
	foreign.Attestation, foreign.AttestationDigest = made.Attestation, made.AttestationDigest
	if _, err := promote(foreign, "foreign"); err == nil {
		t.Error("a checkpoint with the signature of another")
	}

	old, err := h.catalog.Checkpoint(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	was, err := h.catalog.Attestation(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.catalog.DeleteModel(t.Context(), "main", "m1", act); err != nil {
		t.Fatal(err)
	}
	own, err := h.catalog.Checkpoint(t.Context(), h.model(t, "own"))
	if err != nil {
		t.Fatal(err)
	}
	if len(own.Manifest.Files) != 3 || own.Manifest.Canary == nil {
		t.Errorf("%+v", own.Manifest)
	}
	for i, f := range own.Manifest.Files {
		if f != old.Manifest.Files[i] {
			t.Errorf("%+v is not %+v", f, old.Manifest.Files[i])
		}
	}
	is, err := h.catalog.Attestation(t.Context(), h.model(t, "own"))
	if err != nil {
		t.Fatal(err)
	}
	d, ok := is.Record.Named(provenance.RoleSameAs)
	if is.Record.BuildType != provenance.BuildPromotion || !ok || d.URI != from.Name() || "sha256:"+d.SHA256 != from.Digest {
		t.Errorf("%+v", is.Record)
	}
	if rows, ok := is.Record.Named(provenance.RoleDataset); !ok || rows.SHA256 == "" || is.Record.Metrics["loss"] != was.Record.Metrics["loss"] || is.Record.MetricsSHA256 != was.Record.MetricsSHA256 || is.Record.MetricsSHA256 == "" {
		t.Errorf("%+v", is.Record)
	}
	// It is as good as what a step wrote: another continues it.
	h.wait(t, h.step(t, job.StepRequest{Dataset: "rows", WarmStartFrom: "own", OutputModel: "m2"}).UID)
	stop() // its resume points go after the job is done
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
}

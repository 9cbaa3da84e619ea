package runner_test

import (
	"context"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/store"
	"github.com/firekeep/firekeep/internal/wire"
)

// trained gives the home a base "tiny" and a LoRA "m1" on it that moves it far.
func (h *home) trained(t *testing.T) (adapter, base store.Model) {
	t.Helper()
	base = h.base(t)
	h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(8, 3, varied)))
	h.wait(t, h.step(t, job.StepRequest{Dataset: "rows", BaseModel: "tiny", OutputModel: "m1", Params: small()}).UID)
	return h.model(t, "m1"), base
}

func (h *home) merge(t *testing.T, adapter, base store.Model, output string) store.Job {
	t.Helper()
	j, err := h.jobs.CreateMerge(t.Context(), job.MergeRequest{Account: "main", Adapter: adapter, Base: base, Output: output, CreatedBy: "ann"}, act)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// logprobs are those of a greedy answer of the weights of m, with a LoRA or without.
func (h *home) logprobs(t *testing.T, m store.Model, adapter *store.Model) (ids []int32, lp []float64) {
	t.Helper()
	w, err := h.catalog.Weights(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	child, err := h.config.Host.Start(t.Context(), broker.Options{Name: "sample", Threads: 1, Weights: &broker.Weights{File: w.File, Size: w.Size, Digest: w.Digest}})
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	s, err := child.StartSampling(t.Context(), wire.SampleTask{MaxSequences: 1, MaxContext: 128, CacheBytes: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	r := wire.SampleRequest{Tokens: []int32{5, 9, 17, 33, 65}, N: 1, MaxTokens: 24, TopP: 1, IgnoreEOS: true, Logprobs: true}
	if adapter != nil {
		config, tensors, err := h.catalog.Adapter(t.Context(), *adapter)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Load(t.Context(), adapter.Digest, config, tensors, 0); err != nil {
			t.Fatal(err)
		}
		r.Adapter = adapter.Digest
	}
	err = s.Generate(t.Context(), r, func(e wire.SampleEvent) error {
		for _, tok := range e.Tokens {
			ids, lp = append(ids, tok.ID), append(lp, tok.Logprob)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids, lp
}

func furthest(a, b []float64) (d float64) {
	for i := range min(len(a), len(b)) {
		d = max(d, math.Abs(a[i]-b[i]))
	}
	return d
}

// TestMerge: what a merge makes is a base that says what base and LoRA say together,
// is signed with the digests of both, is trained further, and outlives them.
func TestMerge(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	adapter, base := h.trained(t)
	j := h.wait(t, h.merge(t, adapter, base, "whole").UID)
	if j.Name() != "accounts/main/PeftMergeJobs/"+j.ID || j.WarmStart != adapter.Name() || j.BaseModel != base.Name() || j.OutputModel != "accounts/main/models/whole" {
		t.Errorf("%+v", j)
	}
	m := h.model(t, "whole")
	if m.Kind != store.KindBase || m.State != store.StateReady || !catalog.Private(m) || m.Public || m.CreatedBy != "ann" || m.FineTuningJob != j.Name() || m.Digest == base.Digest ||
		m.Parameters != base.Parameters || m.ContextLength != base.ContextLength || m.HasChat != base.HasChat || m.Size < base.Size || m.BaseUID != "" || m.Rank != 0 {
		t.Errorf("%+v", m)
	}
	signed, err := h.catalog.Attestation(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	from, ok := signed.Record.Named(provenance.RoleBase)
	with, has := signed.Record.Named(provenance.RoleMerged)
	if signed.Record.BuildType != provenance.BuildMerge || !ok || !has || from.URI != base.Name() || "sha256:"+from.SHA256 != base.Digest || with.URI != adapter.Name() || "sha256:"+with.SHA256 != adapter.Digest {
		t.Errorf("%+v", signed.Record)
	}

	ids, whole := h.logprobs(t, m, nil)
	both, together := h.logprobs(t, base, &adapter)
	_, alone := h.logprobs(t, base, nil)
	if len(ids) != 24 || !slices.Equal(ids, both) || furthest(whole, together) > 1e-4 {
		t.Errorf("merged: %v %v\nbase and LoRA: %v %v", ids, whole, both, together)
	}
	if furthest(whole, alone) < 1e-2 {
		t.Errorf("the LoRA moves log-probs by %.2g only: the comparison says nothing", furthest(whole, alone))
	}

	dir, _ := h.export(t, "m1", "out")
	if j := h.importAdapter(t, "back", dir); j.State != rft.StateCompleted {
		t.Fatalf("%+v", j.Status)
	}
	h.wait(t, h.merge(t, h.model(t, "back"), base, "other").UID)
	if _, other := h.logprobs(t, h.model(t, "other"), nil); !slices.Equal(other, whole) {
		t.Errorf("merged after export and import: %v\nbefore: %v", other, whole)
	}

	h.wait(t, h.step(t, job.StepRequest{Dataset: "rows", BaseModel: "whole", OutputModel: "m2", Params: small()}).UID)
	if next := h.model(t, "m2"); next.BaseUID != m.UID {
		t.Errorf("%+v", next)
	}
	for _, id := range []string{"m1", "back", "tiny"} {
		if err := h.catalog.DeleteModel(t.Context(), "main", id, act); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.catalog.VerifyWeights(t.Context(), m); err != nil {
		t.Error(err)
	}
	stop()
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
}

// TestMergeReserves: a merge that waits has its name, and room, taken and keeps what it
// reads; both are free when it is gone.
func TestMergeReserves(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	adapter, base := h.trained(t)
	stop()
	used := func() int64 {
		u, err := h.db.AccountUsage(t.Context(), "main")
		if err != nil {
			t.Fatal(err)
		}
		return u.Bytes
	}
	before := used()
	j := h.merge(t, adapter, base, "whole")
	if used() != before+base.Size+base.Size/2 {
		t.Errorf("%d bytes are used, then %d; the base has %d", before, used(), base.Size)
	}
	if _, err := h.db.Model(t.Context(), "main", "whole"); rft.KindOf(err) != rft.KindNotFound {
		t.Errorf("the model of a merge that waits: %v", err)
	}
	again := job.MergeRequest{Account: "main", Adapter: adapter, Base: base, Output: "whole"}
	if _, err := h.jobs.CreateMerge(t.Context(), again, act); rft.KindOf(err) != rft.KindAlreadyExists {
		t.Errorf("two merges into one name: %v", err)
	}
	for _, id := range []string{"m1", "tiny"} {
		if err := h.catalog.DeleteModel(t.Context(), "main", id, act); rft.KindOf(err) != rft.KindFailedPrecondition {
			t.Errorf("deleting %s, which a merge reads: %v", id, err)
		}
	}
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
	if err := h.jobs.Delete(t.Context(), "main", store.JobMerge, j.ID, act); err != nil {
		t.Fatal(err)
	}
	if used() != before {
		t.Errorf("%d bytes are used when the merge is gone, %d were", used(), before)
	}
	if err := h.catalog.DeleteModel(t.Context(), "main", "m1", act); err != nil {
		t.Errorf("a LoRA that nothing reads any more: %v", err)
	}
	if _, err := h.jobs.CreateMerge(t.Context(), again, act); rft.KindOf(err) != rft.KindNotFound {
		t.Errorf("a merge of what is gone: %v", err)
	}
}

// TestMergeDeleted: a merge that is deleted while its model is written leaves nothing.
func TestMergeDeleted(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	adapter, base := h.trained(t)
	stop()
	j := h.merge(t, adapter, base, "whole")
	var once sync.Once
	gone := make(chan struct{})
	last := func(key string) {
		if !strings.Contains(key, "/attestations/") || !strings.HasSuffix(key, catalog.FileManifest) {
			return
		}
		once.Do(func() {
			if err := h.jobs.Delete(t.Context(), "main", store.JobMerge, j.ID, act); err != nil {
				t.Error(err)
			}
			close(gone)
		})
	}
	h.bucket.after.Store(&last)
	stop = h.run(t)
	<-gone
	stop()
	if _, err := h.db.Model(t.Context(), "main", "whole"); rft.KindOf(err) != rft.KindNotFound {
		t.Errorf("the model of a deleted merge: %v", err)
	}
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
}

// TestMergeSurvivesKill: killed at write after write to the home bucket, the merge ends
// with the same weights, and was never seen before.
func TestMergeSurvivesKill(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	adapter, base := h.trained(t)
	h.wait(t, h.merge(t, adapter, base, "whole").UID)
	stop()
	want := h.model(t, "whole").Digest
	h.config.Router.Close()
	for _, when := range []string{"before", "after"} {
		if err := h.catalog.DeleteModel(t.Context(), "main", "whole", act); err != nil {
			t.Fatal(err)
		}
		j := h.merge(t, adapter, base, "whole")
		kills := 0
		for ; !h.over(t, j.UID) && kills < 20 && h.crash(t, when, 1+kills); kills++ {
			if m, err := h.db.Model(t.Context(), "main", "whole"); rft.KindOf(err) != rft.KindNotFound {
				t.Fatalf("after kill %d the model is there: %+v, %v", kills, m, err)
			}
			for _, f := range h.fsck(t, true) {
				if !f.Harmless || !f.Repaired {
					t.Fatalf("after kill %d: %+v", kills, f)
				}
			}
		}
		got := h.wait(t, j.UID)
		if kills < 4 || got.Attempt <= kills {
			t.Errorf("%d kills, %d attempts", kills, got.Attempt)
		}
		m := h.model(t, "whole")
		if err := h.catalog.VerifyWeights(t.Context(), m); err != nil {
			t.Error(err)
		}
		if m.Digest != want {
			t.Errorf("its weights are %s, undisturbed %s", m.Digest, want)
		}
		if found := h.fsck(t, false); len(found) > 0 {
			t.Errorf("fsck: %+v", found)
		}
	}
}

// TestRecordsNameTheSandbox: each record says what really held the child whose work it
// signs.
func TestRecordsNameTheSandbox(t *testing.T) {
	runsc := os.Getenv("FIREKEEP_RUNSC")
	if _, err := os.Stat(runsc); runsc == "" || err != nil && os.Getenv("FIREKEEP_WITHOUT_ORACLES") == "1" {
		t.Skip("host lacks runsc: FIREKEEP_RUNSC names none")
	}
	for _, level := range []sandbox.Level{sandbox.LevelProcess, sandbox.LevelGVisor} {
		t.Run(string(level), func(t *testing.T) {
			h := newHome(t)
			h.config.Host.Launcher, h.config.Isolation = sandbox.NewWith(sandbox.Options{GVisor: runsc}), level
			h.run(t)
			adapter, base := h.trained(t)
			h.wait(t, h.merge(t, adapter, base, "whole").UID)
			dir, _ := h.export(t, "m1", "out")
			if j := h.importAdapter(t, "back", dir); j.State != rft.StateCompleted {
				t.Fatalf("%+v", j.Status)
			}
			for _, id := range []string{"tiny", "m1", "whole", "back"} {
				signed, err := h.catalog.Attestation(t.Context(), h.model(t, id))
				if err != nil {
					t.Fatal(err)
				}
				if got := signed.Record.Builder; !strings.HasSuffix(got, "#sandbox="+string(level)) {
					t.Errorf("%s: %s", id, got)
				}
			}
		})
	}
}

// TestMergesLeaveALane: while merges take their time, the short jobs of others run.
func TestMergesLeaveALane(t *testing.T) {
	h := newHome(t)
	h.config.Light = 2
	h.run(t)
	adapter, base := h.trained(t)
	held, begun, free := sync.Once{}, make(chan struct{}), make(chan struct{})
	hold := func(key string) {
		if strings.Contains(key, "/models/") && strings.Contains(key, "weights") {
			held.Do(func() { close(begun) })
			<-free
		}
	}
	h.bucket.before.Store(&hold)
	first, second := h.merge(t, adapter, base, "one"), h.merge(t, adapter, base, "two")
	<-begun
	d, err := h.catalog.CreateDataset(t.Context(), catalog.NewDataset{Account: "main", ID: "rows2", ExternalURL: h.write(t, "rows2.jsonl", rows(8, 3, varied))}, act)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if j, err := h.jobs.Wait(ctx, h.validation(t, d).UID); err != nil || j.State != rft.StateCompleted {
		t.Errorf("a validation beside two merges: %s %v", j.State, err)
	}
	close(free)
	h.wait(t, first.UID)
	h.wait(t, second.UID)
}

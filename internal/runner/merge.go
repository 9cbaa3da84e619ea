package runner

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/store"
	"github.com/firekeep/firekeep/internal/wire"
)

// merging is what a merge is about.
type merging struct {
	adapter, base, out store.Model
	started            time.Time
	level              sandbox.Level // that held the child
}

// merge makes a base of a LoRA and the base that it stands on: prepared weights
// from a child, as an import's are.
func (a *attempt) merge() error {
	m, err := a.merging()
	if err != nil {
		return err
	}
	if err := a.advance(rft.StateRunning); err != nil {
		return err
	}
	weights, err := a.Catalog.NewWeights(a.ctx, m.out, a.account, a.lease.Fence())
	if err != nil {
		return err
	}
	defer weights.Abort()
	done, err := a.mergeWeights(&m, weights)
	if err != nil {
		return err
	}
	if m.out.Config, err = json.Marshal(done.Config); err != nil {
		return rft.Wrap(rft.KindInternal, err, "the model's configuration cannot be stored")
	}
	m.out.Parameters, m.out.ContextLength, m.out.HasChat, m.out.Digest, m.out.Size = done.Parameters, done.Config.MaxPositions, done.HasChat, done.SHA256, done.Size
	if err := a.advance(rft.StateWriting); err != nil {
		return err
	}
	place, err := weights.Finish(&m.out)
	if err != nil {
		return err
	}
	if err = a.finishMerge(m, place, done.Config.Family); err != nil {
		a.discard(m.out)
	}
	return err
}

// merging reads what the job is about.
func (a *attempt) merging() (m merging, err error) {
	var spec job.MergeSpec
	if err := json.Unmarshal(a.job.Spec, &spec); err != nil {
		return m, rft.Wrap(rft.KindDataLoss, err, "the job's description cannot be read")
	}
	m.started = a.DB.Now()
	if m.out, err = a.DB.ModelByUID(a.ctx, spec.UID); err != nil {
		return m, err
	}
	if m.adapter, err = a.DB.ModelByUID(a.ctx, spec.AdapterUID); err != nil {
		return m, err
	}
	m.base, err = a.DB.ModelByUID(a.ctx, spec.BaseUID)
	return m, err
}

// mergeWeights has a child write the merged weights to out, and notes what held it.
func (a *attempt) mergeWeights(m *merging, out *catalog.IncomingWeights) (done wire.ImportDone, err error) {
	config, tensors, err := a.Catalog.Adapter(a.ctx, m.adapter)
	if err != nil {
		return done, err
	}
	weights, err := a.Catalog.Weights(a.ctx, m.base)
	if err != nil {
		return done, err
	}
	defer weights.Close()
	child, err := a.Host.Start(a.ctx, a.options("merge", weights))
	if err != nil {
		return done, err
	}
	defer child.Close()
	m.level = child.Report().Level
	return child.Merge(a.ctx, wire.MergeTask{Name: m.out.ID, BFloat16: a.roundsWeights()}, config, tensors, out)
}

// finishMerge signs the model, and shows it.
func (a *attempt) finishMerge(m merging, place func() error, family string) error {
	bundle, err := a.attestMerge(&m, family)
	if err != nil {
		return err
	}
	act := runnerAct(a.job, "FinishMerge", map[string]string{"model": m.out.Name(), "digest": m.out.Digest, "base": m.base.Digest, "adapter": m.adapter.Digest, "bundle": bundle})
	return a.DB.FinishMerge(a.ctx, a.job.UID, a.lease.Fence(), m.out, place, act)
}

// attestMerge signs what a merge made: its record names base and adapter.
func (a *attempt) attestMerge(m *merging, family string) (string, error) {
	weights := catalog.WeightsSubject(m.out.Digest)
	r := provenance.Record{BuildType: provenance.BuildMerge, Subjects: weights, Builder: provenance.Builder(string(m.level)), Versions: a.versions(),
		Invocation: a.job.Name(), Started: m.started, Ended: a.DB.Now(),
		External: map[string]string{"peftModel": m.adapter.Name(), "baseModel": m.base.Name(), "mergedModel": m.out.Name()},
		Dependencies: []provenance.Dependency{{Name: provenance.RoleBase, URI: m.base.Name(), SHA256: m.base.Digest},
			{Name: provenance.RoleMerged, URI: m.adapter.Name(), SHA256: m.adapter.Digest}}}
	var err error
	if r.AuditIndex, err = a.logged("SignMerge", map[string]string{"model": m.out.Name(), "digest": m.out.Digest, "base": m.base.Digest, "adapter": m.adapter.Digest}); err != nil {
		return "", err
	}
	return a.Catalog.Attest(a.ctx, &m.out, catalog.Signing{AccountUID: a.account, Version: strconv.FormatInt(a.lease.Fence(), 10), Job: a.job.UID,
		Leaves: weights, Record: r, BOM: provenance.BOM{Family: family}})
}

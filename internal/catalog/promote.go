package catalog

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// promoted is the version of the places of a promoted model: no job with a fence
// writes there.
const promoted = 0

// Promotion says what a checkpoint becomes.
type Promotion struct {
	ID         string // of the new model
	Checkpoint string // its resource name
	CreatedBy  string
}

// Promote makes a model of its own of the LoRA that a job made: the same files,
// read whole and held against its signature, sealed anew for the new model and
// signed with what the signed record of the old one says. Both live and go by
// themselves.
func (c *Catalog) Promote(ctx context.Context, from store.Model, p Promotion, act store.Act) (store.Model, error) {
	select { // one at a time: each holds a checkpoint in memory
	case c.promoting <- struct{}{}:
		defer func() { <-c.promoting }()
	case <-ctx.Done():
		return store.Model{}, rft.Wrap(rft.KindCancelled, ctx.Err(), "the request was cancelled")
	}
	account, err := c.db.Account(ctx, from.Account)
	if err != nil {
		return store.Model{}, err
	}
	base, err := c.db.ModelByUID(ctx, from.BaseUID)
	if err != nil {
		return store.Model{}, err
	}
	m := from
	m.UID, m.ID, m.DisplayName, m.Description, m.CreatedBy, m.JobUID, m.Public = store.NewUID(), p.ID, p.ID, "", p.CreatedBy, "", false
	m.Artifact = ModelPrefix(account.UID, m.UID, promoted)
	// What an error leaves stands in no row; a crash leaves an orphan for fsck.
	undo := func(err error) (store.Model, error) {
		ctx := context.WithoutCancel(ctx)
		_ = c.vault.Remove(ctx, m.Artifact)
		if m.Attestation != from.Attestation {
			_ = c.vault.Remove(ctx, m.Attestation)
		}
		return store.Model{}, err
	}
	s := Signing{AccountUID: account.UID, Version: "promoted", Job: from.JobUID}
	if err := c.copyCheckpoint(ctx, from, &m, &s); err != nil {
		return undo(err)
	}
	s.Record.External = map[string]string{"checkpoint": p.Checkpoint, "model": from.Name(), "outputModel": m.Name()}
	s.BOM = provenance.BOM{Family: familyOf(base), Trained: true}
	if s.Record.AuditIndex, err = c.logPromotion(ctx, act, m); err != nil {
		return undo(err)
	}
	bundle, err := c.Attest(ctx, &m, s)
	if err != nil {
		return undo(err)
	}
	act.Detail["digest"], act.Detail["bundle"] = m.Digest, bundle
	made, err := c.db.AddModel(ctx, m, []string{base.UID}, act)
	switch rft.KindOf(err) {
	case rft.KindAlreadyExists, rft.KindNotFound, rft.KindFailedPrecondition: // refused within the transaction: no row names these files
		return undo(err)
	}
	return made, err // an error of any other kind does not say how the transaction ended
}

// copyCheckpoint seals the files of from for m, and begins the record.
func (c *Catalog) copyCheckpoint(ctx context.Context, from store.Model, m *store.Model, s *Signing) error {
	source, err := c.Checkpoint(ctx, from)
	if err != nil {
		return err
	}
	signed, err := c.Attestation(ctx, from)
	if err != nil {
		return err
	}
	var files []File
	for _, f := range source.Manifest.Files {
		data, err := source.Read(ctx, f.Name)
		if err != nil {
			return err
		}
		files = append(files, File{Name: f.Name, Data: data, SHA256: f.SHA256})
	}
	manifest := source.Manifest
	manifest.Subject = m.UID
	if m.Digest, err = c.vault.Put(ctx, m.Artifact, manifest, files); err != nil {
		return err
	}
	r := signed.Record
	s.Leaves = Leaves(files)
	s.Record = provenance.Record{BuildType: provenance.BuildPromotion, Subjects: Subjects(files), Builder: provenance.Builder(""), Invocation: r.Invocation,
		Ended: c.db.Now(), MetricsSHA256: r.MetricsSHA256, Metrics: r.Metrics,
		Dependencies: append(slices.Clone(r.Dependencies), provenance.Dependency{Name: provenance.RoleSameAs, URI: from.Name(), SHA256: from.Digest})}
	return nil
}

// logPromotion writes what is about to be signed to the audit log and returns its
// place there, -1 without a log.
func (c *Catalog) logPromotion(ctx context.Context, act store.Act, m store.Model) (int64, error) {
	if c.Audit == nil {
		return -1, nil
	}
	act.Method, act.Resource, act.Detail = "SignCheckpoint", m.Name(), map[string]string{"model": m.Name(), "digest": m.Digest}
	return c.Audit.Record(ctx, act, "OK")
}

// familyOf is the family of a base, "" where its configuration does not say.
func familyOf(base store.Model) string {
	var config engine.Config
	if json.Unmarshal(base.Config, &config) != nil {
		return ""
	}
	return config.Family
}

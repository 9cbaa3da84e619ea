package catalog

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// Recorder is the audit log: it returns when the act is logged, with its place.
type Recorder interface {
	Record(ctx context.Context, act store.Act, result string) (index int64, err error)
}

// signedWeights is what the prepared weights of a base are called in its signature.
const signedWeights = "weights.prepared"

// AttestationPrefix is where the signed statements about a model lie. They are
// an artefact of their own, so that a model can be signed again.
func AttestationPrefix(account, model, version string) string {
	return fmt.Sprintf("%s/attestations/%s/%s/", account, model, version)
}

// Signing is what to say of a model.
type Signing struct {
	AccountUID string
	Version    string // of the attestation's place: the fence of the job
	Job        string // UID, "" = none
	Draft      *Draft // of the statements, where it was begun; else nil
	Leaves     []provenance.Resource
	Record     provenance.Record
	BOM        provenance.BOM
}

// BeginAttestation makes room for the statements about a model that is about to be
// signed.
func (c *Catalog) BeginAttestation(ctx context.Context, account, model, version string) *Draft {
	return c.vault.Begin(ctx, AttestationPrefix(account, model, version))
}

// Attest signs a model and puts the statements in place. m gets where they lie;
// the caller's transaction makes it known. It returns the bundle's digest.
func (c *Catalog) Attest(ctx context.Context, m *store.Model, s Signing) (string, error) {
	key, err := c.signing.Signer(ctx)
	if err != nil {
		return "", err
	}
	s.Record.Model, s.Record.ModelUID, s.Record.ManifestDigest = m.Name(), m.UID, m.Digest
	s.BOM.Name, s.BOM.Version = m.Name(), m.Digest
	a, err := provenance.Attest(key, m.ID, s.Leaves, s.Record, s.BOM)
	if err != nil {
		return "", err
	}
	if s.Draft == nil {
		s.Draft = c.BeginAttestation(ctx, s.AccountUID, m.UID, s.Version)
	}
	m.Attestation = s.Draft.prefix
	manifest := Manifest{Kind: "attestation", Subject: m.UID, Job: s.Job, Base: m.Digest}
	m.AttestationDigest, err = s.Draft.Commit(manifest, []File{
		{Name: provenance.FileProvenance, Data: a.Provenance}, {Name: provenance.FileBOM, Data: a.BOM}, {Name: provenance.FileBundle, Data: a.Bundle}})
	return Digest(a.Bundle), err
}

// Leaves are the files of an adapter that an export writes, as its signature
// covers them.
func Leaves(files []File) []provenance.Resource {
	var out []provenance.Resource
	for _, f := range Subjects(files) {
		if f.Name == FileConfig || f.Name == FileAdapter {
			out = append(out, f)
		}
	}
	return out
}

// Subjects are all files of an adapter with their digests.
func Subjects(files []File) []provenance.Resource {
	var out []provenance.Resource
	for _, f := range files {
		if f.SHA256 == "" {
			f.SHA256 = provenance.Sum(f.Data)
		}
		out = append(out, provenance.Resource{Name: f.Name, SHA256: f.SHA256})
	}
	return out
}

// WeightsSubject names the prepared weights of a base in statements.
func WeightsSubject(digest string) []provenance.Resource {
	return []provenance.Resource{{Name: signedWeights, SHA256: strings.TrimPrefix(digest, "sha256:")}}
}

// Checkpoint opens an adapter for use: its signature holds, is by a key of this
// installation, and covers every file of it. A refusal is audited. What serves of it
// has been read then, so that reading and verifying take the longer of the two.
func (c *Catalog) Checkpoint(ctx context.Context, m store.Model) (*Artifact, error) {
	a, err := c.checkpoint(ctx, m)
	if err != nil {
		return nil, c.RefuseLoad(ctx, m, err)
	}
	return a, nil
}

func (c *Catalog) checkpoint(ctx context.Context, m store.Model) (*Artifact, error) {
	var a *Artifact
	var opening error
	var done sync.WaitGroup
	done.Go(func() { // the data keys of both are asked for, and logged, at once
		if a, opening = c.vault.Open(ctx, m.Artifact, m.Digest); opening == nil {
			opening = a.readAhead(ctx, FileConfig, FileAdapter)
		}
	})
	signed, err := c.Attestation(ctx, m)
	done.Wait()
	if err == nil {
		err = opening
	}
	if err != nil {
		return nil, err
	}
	if a.Manifest.Subject != m.UID {
		return nil, rft.Errorf(rft.KindDataLoss, "its files are those of another model")
	}
	for _, f := range a.Manifest.Files {
		// Read holds the bytes against the manifest.
		if err := covers(signed.Checked, f.Name, f.SHA256); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// checkWeights is Checkpoint for a base: who opens its weights holds the bytes
// against the digest.
func (c *Catalog) checkWeights(ctx context.Context, m store.Model) error {
	signed, err := c.Attestation(ctx, m)
	if err == nil {
		err = covers(signed.Checked, signedWeights, strings.TrimPrefix(m.Digest, "sha256:"))
	}
	if err != nil {
		return c.RefuseLoad(ctx, m, err)
	}
	return nil
}

func covers(c *provenance.Checked, name, sum string) error {
	switch d := c.Digest(name); d {
	case sum:
		return nil
	case "":
		return rft.Errorf(rft.KindDataLoss, "its signature does not cover %s", name)
	default:
		return rft.Errorf(rft.KindDataLoss, "its %s has not the digest that was signed", name)
	}
}

// Attested is the attestation of a model, verified, with its files.
type Attested struct {
	*provenance.Checked
	Files []File // model.sig, provenance and bill of materials
}

// Attestation reads and verifies the statements about a model. That the model's
// own bytes are those of the statements is for Checkpoint to see.
func (c *Catalog) Attestation(ctx context.Context, m store.Model) (*Attested, error) {
	if m.Attestation == "" {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "it carries no signature, for it was made before models were signed; if you know where it came from, `firekeep model sign %s` signs it", m.ID)
	}
	a, err := c.vault.Open(ctx, m.Attestation, m.AttestationDigest)
	if err != nil {
		return nil, err
	}
	if a.Manifest.Subject != m.UID || a.Manifest.Base != m.Digest {
		return nil, rft.Errorf(rft.KindDataLoss, "its signature is that of another model")
	}
	out := &Attested{}
	data := map[string][]byte{}
	for _, name := range []string{provenance.FileBundle, provenance.FileProvenance, provenance.FileBOM} {
		if data[name], err = a.Read(ctx, name); err != nil {
			return nil, err
		}
		out.Files = append(out.Files, File{Name: name, Data: data[name]})
	}
	keys, err := c.signing.Verifiers(ctx)
	if err != nil {
		return nil, err
	}
	out.Checked, err = provenance.Check(data[provenance.FileBundle], data[provenance.FileProvenance], keys)
	if err != nil {
		// Another process may have rotated the key.
		if e := c.signing.Reload(ctx); e != nil {
			return nil, e
		}
		if keys, e := c.signing.Verifiers(ctx); e == nil {
			out.Checked, err = provenance.Check(data[provenance.FileBundle], data[provenance.FileProvenance], keys)
		}
	}
	if err != nil {
		return nil, err
	}
	if out.Record.ModelUID != m.UID || out.Record.Manifest != m.Digest {
		return nil, rft.Errorf(rft.KindDataLoss, "its provenance is that of another model")
	}
	if out.Bundle.Digest(provenance.FileBOM) != provenance.Sum(data[provenance.FileBOM]) {
		return nil, rft.Errorf(rft.KindDataLoss, "its bill of materials is not the one that was signed")
	}
	return out, nil
}

// RefuseLoad names the model in the reason and writes it to the audit log. Failures
// of storage and of keys are no verdict about the model and pass as they are.
func (c *Catalog) RefuseLoad(ctx context.Context, m store.Model, reason error) error {
	kind := rft.KindOf(reason)
	if kind != rft.KindDataLoss && kind != rft.KindFailedPrecondition || custody.IsRefusal(reason) || custody.IsOutage(reason) {
		return reason
	}
	err := rft.Wrap(kind, reason, "%s is not loaded: %s", m.Name(), rft.PublicMessage(reason))
	act := store.Act{Account: m.Account, Actor: "firekeep", Method: "LoadModel", Resource: m.Name(),
		Detail: map[string]string{"digest": m.Digest, "reason": rft.PublicMessage(reason)}}
	if e := c.record(context.WithoutCancel(ctx), act, string(kind)); e != nil {
		return e
	}
	return err
}

// record writes an act that changes no row.
func (c *Catalog) record(ctx context.Context, act store.Act, result string) error {
	if c.Audit != nil {
		_, err := c.Audit.Record(ctx, act, result)
		return err
	}
	var refusal error
	if result != "OK" {
		refusal = rft.Errorf(rft.Kind(result), "refused")
	}
	return c.db.Record(ctx, act, refusal)
}

// SigningKeys are the keys that sign models here.
func (c *Catalog) SigningKeys() *provenance.Keys { return c.signing }

// SignModel signs a READY model as it lies there, in the name of whoever asks:
// for models of homes that are older than signatures, and after a key was lost.
// The record says so; it claims nothing of how the model came to be.
func (c *Catalog) SignModel(ctx context.Context, m store.Model, by string, act store.Act) (store.Model, error) {
	if m.State != store.StateReady {
		return m, rft.Errorf(rft.KindFailedPrecondition, "%s is not READY but %s", m.Name(), m.State)
	}
	account, err := c.db.Account(ctx, m.Account)
	if err != nil {
		return m, err
	}
	s := Signing{AccountUID: account.UID, Version: "signed-" + store.NewUID()}
	s.Record = provenance.Record{BuildType: provenance.BuildSign, Builder: provenance.Builder(""), AttestationActor: by, AuditIndex: -1, Ended: c.db.Now(),
		External: map[string]string{"model": m.Name(), "importedFrom": m.ImportedFrom, "fineTuningJob": m.FineTuningJob}}
	if m.Kind == store.KindBase {
		if err := c.VerifyWeights(ctx, m); err != nil {
			return m, err
		}
		s.Leaves = WeightsSubject(m.Digest)
		s.Record.Subjects = s.Leaves
	} else if err := c.subjectsOf(ctx, m, &s); err != nil {
		return m, err
	}
	bundle, err := c.Attest(ctx, &m, s)
	if err != nil {
		return m, err
	}
	act.Detail = map[string]string{"model": m.Name(), "digest": m.Digest, "bundle": bundle}
	before, err := c.db.Attest(ctx, m.UID, m.Digest, m.Attestation, m.AttestationDigest, act)
	if err != nil {
		_ = c.vault.Remove(context.WithoutCancel(ctx), m.Attestation) // else an orphan for fsck
		return m, err
	}
	if before.Attestation != "" {
		_ = c.vault.Remove(context.WithoutCancel(ctx), before.Attestation)
	}
	return m, nil
}

// subjectsOf reads every file of an adapter, so that what is signed is what is there.
func (c *Catalog) subjectsOf(ctx context.Context, m store.Model, s *Signing) error {
	a, err := c.vault.Open(ctx, m.Artifact, m.Digest)
	if err != nil {
		return err
	}
	if a.Manifest.Subject != m.UID {
		return rft.Errorf(rft.KindDataLoss, "the files of %s are those of another model", m.Name())
	}
	for _, f := range a.Manifest.Files {
		if _, err := a.Read(ctx, f.Name); err != nil {
			return err
		}
		r := provenance.Resource{Name: f.Name, SHA256: f.SHA256}
		s.Record.Subjects = append(s.Record.Subjects, r)
		if f.Name == FileConfig || f.Name == FileAdapter {
			s.Leaves = append(s.Leaves, r)
		}
	}
	base, err := c.db.ModelByUID(ctx, m.BaseUID)
	if err != nil {
		return err
	}
	s.Record.Dependencies = []provenance.Dependency{{Name: provenance.RoleBase, URI: base.Name(), SHA256: base.Digest}}
	return nil
}

// host is the key of this installation, which seals what belongs to no account;
// nil in a catalog that only reads rows.
func (v *Vault) host() seal.KEK {
	if v == nil {
		return nil
	}
	return v.keys.Host
}

// Policy is what an account demands of its models.
func (c *Catalog) Policy(ctx context.Context, account string) (provenance.Policy, error) {
	row, ok, err := c.db.ModelPolicy(ctx, account)
	if err != nil || !ok {
		return provenance.Policy{}, err
	}
	p, err := provenance.ParsePolicy(row.Rules)
	if err != nil {
		return p, rft.Wrap(rft.KindDataLoss, err, "the policy of %s for models cannot be read", rft.AccountName(account))
	}
	return p, nil
}

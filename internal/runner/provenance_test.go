package runner_test

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	ggcr "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/runner"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// trained is a home with a base, a dataset and two checkpoints, the second of
// which continues the first. It may push to the registry at host.
func trained(t *testing.T) (h *home, host string) {
	t.Helper()
	h = newHome(t)
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(t.Output(), "", 0))))
	t.Cleanup(server.Close)
	host = strings.TrimPrefix(server.URL, "http://")
	h.config.Registries = map[string]runner.Registry{host: {PlainHTTP: true}}
	h.config.Objects.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	h.run(t)
	h.base(t)
	h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(4, 2, varied)))
	h.wait(t, h.step(t, job.StepRequest{Dataset: "rows", BaseModel: "tiny", OutputModel: "m1", Params: small()}).UID)
	h.wait(t, h.step(t, job.StepRequest{Dataset: "rows", WarmStartFrom: "m1", OutputModel: "m2"}).UID)
	return h, host
}

func (h *home) model(t *testing.T, id string) store.Model {
	t.Helper()
	m, err := h.db.Model(t.Context(), "main", id)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (h *home) verifiers(t *testing.T) []seal.VerifyingKey {
	t.Helper()
	keys, err := h.catalog.SigningKeys().Verifiers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// export writes a model below the customer's directory.
func (h *home) export(t *testing.T, id, to string) (string, store.Job) {
	t.Helper()
	dir := filepath.Join(h.dir, "customer", to)
	j, err := h.jobs.Export(t.Context(), "main", id, "file://"+dir+"/", "ann", act)
	if err != nil {
		t.Fatal(err)
	}
	return dir, h.end(t, j.UID)
}

func (h *home) importAdapter(t *testing.T, id, dir string) store.Job {
	t.Helper()
	_, j, err := h.catalog.ImportModel(t.Context(), catalog.NewImport{Account: "main", ID: id, Source: "file://" + dir + "/", BaseModel: "tiny"}, act)
	if err != nil {
		t.Fatal(err)
	}
	return h.end(t, j.UID)
}

// TestProvenance: a checkpoint says what it was made from, an export verifies
// without a server, an import holds the signature against the files, and the
// policy of the account is asked.
func TestProvenance(t *testing.T) {
	h, host := trained(t)
	t.Run("record", h.testRecord)
	t.Run("directory", h.testDirectory)
	t.Run("import", h.testImport)
	t.Run("load", h.testLoad)
	t.Run("policy", h.testPolicy)
	t.Run("registry", func(t *testing.T) { h.testRegistry(t, host) })
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
}

func (h *home) testRecord(t *testing.T) {
	m1, m2, base := h.model(t, "m1"), h.model(t, "m2"), h.model(t, "tiny")
	a, err := h.catalog.Attestation(t.Context(), m2)
	if err != nil {
		t.Fatal(err)
	}
	data, objects, err := h.db.DatasetByUID(t.Context(), func() string {
		d, err := h.db.Dataset(t.Context(), "main", "rows")
		if err != nil {
			t.Fatal(err)
		}
		return d.UID
	}())
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{provenance.RoleBase: base.Digest, provenance.RoleDataset: data.IndexDigest, provenance.RoleObject: "sha256:" + objects[0].SHA256,
		provenance.RoleIncoming: h.adapterOf(t, "m1"), provenance.RoleEngine: "sha256:" + h.config.Host.Engine.SHA256()}
	for role, digest := range want {
		if d, ok := a.Record.Named(role); !ok || "sha256:"+d.SHA256 != digest {
			t.Errorf("%s: %+v, want %s", role, d, digest)
		}
	}
	if d, _ := a.Record.Named(provenance.RoleIncoming); d.Annotations["checkpoint"] != m1.Digest {
		t.Errorf("%+v", d)
	}
	if a.Record.BuildType != provenance.BuildStep || a.Record.Invocation != m2.FineTuningJob || a.Record.Manifest != m2.Digest || !strings.HasSuffix(a.Record.Builder, "sandbox=process") {
		t.Errorf("%+v", a.Record)
	}
	if len(a.Record.Metrics) == 0 {
		t.Error("no metrics")
	}
	for _, f := range []string{catalog.FileConfig, catalog.FileAdapter, catalog.FileOptimizer} {
		if a.Digest(f) == "" {
			t.Errorf("%s is not covered", f)
		}
	}
	// The statement itself, as any other program reads it.
	var envelope struct{ Payload []byte }
	var s struct {
		Predicate struct {
			BuildDefinition struct {
				ExternalParameters struct {
					Loss            string
					Seed            int64
					HyperParameters map[string]any
				}
				InternalParameters struct{ KernelLevel, SandboxLevel string }
			}
		}
	}
	i := slices.IndexFunc(a.Files, func(f catalog.File) bool { return f.Name == provenance.FileProvenance })
	if err := json.Unmarshal(a.Files[i].Data, &envelope); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(envelope.Payload, &s); err != nil {
		t.Fatal(err)
	}
	def := s.Predicate.BuildDefinition
	if x := def.ExternalParameters; x.Loss != "GRPO" || x.Seed != 7 || x.HyperParameters["learningRate"] != 1e-2 || x.HyperParameters["loraRank"] != 4.0 || len(x.HyperParameters) < 25 {
		t.Errorf("%+v", x)
	}
	if def.InternalParameters.KernelLevel == "" || def.InternalParameters.SandboxLevel != "process" {
		t.Errorf("%+v", def.InternalParameters)
	}
	// A base is signed too.
	if b, err := h.catalog.Attestation(t.Context(), base); err != nil || b.Record.BuildType != provenance.BuildImport {
		t.Errorf("%v", err)
	} else if d, ok := b.Record.Named(provenance.RoleSource); !ok || d.SHA256 == "" {
		t.Errorf("%+v", b.Record.Dependencies)
	}
}

func (h *home) testDirectory(t *testing.T) {
	dir, j := h.export(t, "m2", "signed")
	if j.State != rft.StateCompleted {
		t.Fatalf("%+v", j.Status)
	}
	c, err := provenance.VerifyDirectory(dir, h.verifiers(t))
	if err != nil || c.Record.Model != "accounts/main/models/m2" {
		t.Fatalf("%v", err)
	}
	foreign, err := seal.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provenance.VerifyDirectory(dir, []seal.VerifyingKey{foreign.Public()}); rft.KindOf(err) != rft.KindDataLoss {
		t.Errorf("another key: %v", err)
	}
}

func (h *home) testImport(t *testing.T) {
	dir, _ := h.export(t, "m1", "again")
	if j := h.importAdapter(t, "back", dir); j.State != rft.StateCompleted {
		t.Fatalf("%+v", j.Status)
	}
	a, err := h.catalog.Attestation(t.Context(), h.model(t, "back"))
	if err != nil {
		t.Fatal(err)
	}
	if d := a.Record.Dependencies; !slices.ContainsFunc(d, func(d provenance.Dependency) bool { return d.URI == provenance.FileProvenance }) {
		t.Errorf("the record does not lead back to the source's: %+v", d)
	}
	refused := func(id string, change func(dir string), says string) {
		t.Helper()
		from := filepath.Join(h.dir, "customer", id)
		if err := os.CopyFS(from, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		change(from)
		if j := h.importAdapter(t, id, from); j.State != rft.StateFailed || !strings.Contains(j.Status.Message, says) {
			t.Errorf("%s: %s %+v, want %q", id, j.State, j.Status, says)
		}
	}
	bundle := func(dir string) string { return filepath.Join(dir, provenance.FileBundle) }
	refused("changed-weights", func(dir string) { flip(t, filepath.Join(dir, catalog.FileAdapter)) }, "is not the file that was signed")
	refused("changed-config", func(dir string) {
		path := filepath.Join(dir, catalog.FileConfig)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, ' '), 0o644); err != nil {
			t.Fatal(err)
		}
	}, "is not the file that was signed")
	refused("changed-bundle", func(dir string) { flip(t, bundle(dir)) }, "signature is not accepted")
	foreign, err := seal.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	resign := func(dir string) {
		var files []provenance.Resource
		for _, f := range []string{catalog.FileConfig, catalog.FileAdapter} {
			data, err := os.ReadFile(filepath.Join(dir, f))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, provenance.Resource{Name: f, SHA256: provenance.Sum(data)})
		}
		raw, err := provenance.SignModel(foreign, "x", files)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(bundle(dir), raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	refused("wrong-key", resign, "not trusted")

	// Unsigned sources come in until the policy demands a signature; a key that
	// the policy names is as good as ours.
	plain := filepath.Join(h.dir, "customer", "plain")
	if err := os.CopyFS(plain, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(bundle(plain)); err != nil {
		t.Fatal(err)
	}
	if j := h.importAdapter(t, "unsigned", plain); j.State != rft.StateCompleted {
		t.Errorf("%+v", j.Status)
	}
	h.policy(t, provenance.Policy{RequireSignature: true, TrustedKeys: []string{foreign.Public().PEM()}})
	defer h.policy(t, provenance.Policy{})
	refused("demanded", func(dir string) {
		if err := os.Remove(bundle(dir)); err != nil {
			t.Fatal(err)
		}
	}, "requires signed models")
	trusted := filepath.Join(h.dir, "customer", "trusted")
	if err := os.CopyFS(trusted, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	resign(trusted)
	if j := h.importAdapter(t, "trusted", trusted); j.State != rft.StateCompleted {
		t.Errorf("%+v", j.Status)
	}
}

func (h *home) policy(t *testing.T, p provenance.Policy) {
	t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.db.SetModelPolicy(t.Context(), store.ModelPolicy{Account: "main", Rules: raw, UpdatedBy: "ann"}, act); err != nil {
		t.Fatal(err)
	}
}

// testLoad: what serving, a warm start and an export load is refused without a
// signature, with one by another key, and with that of other bytes; each refusal
// is audited, and an explicit signature heals the first.
func (h *home) testLoad(t *testing.T) {
	good := h.model(t, "m1")
	point := func(prefix, digest string) {
		t.Helper()
		if _, err := h.db.Attest(t.Context(), good.UID, good.Digest, prefix, digest, act); err != nil {
			t.Fatal(err)
		}
	}
	defer point(good.Attestation, good.AttestationDigest)
	refused := func(what, says string) {
		t.Helper()
		m := h.model(t, "m1")
		if _, _, err := h.catalog.Adapter(t.Context(), m); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: serving: %v, want %q", what, err, says)
		}
		p, err := h.db.ListAudit(t.Context(), "main", store.AuditRange{}, store.ListOptions{Limit: 1, Filter: []store.Term{{Field: "method", Op: "=", Value: "LoadModel"}}})
		if err != nil || len(p.Items) != 1 || p.Items[0].Result == "OK" || !strings.Contains(p.Items[0].Detail["reason"], says) {
			t.Errorf("%s: audit %+v, %v", what, p.Items, err)
		}
		j := h.end(t, h.step(t, job.StepRequest{Dataset: "rows", WarmStartFrom: "m1", OutputModel: "never"}).UID)
		if j.State != rft.StateFailed || !strings.Contains(j.Status.Message, says) {
			t.Errorf("%s: warm start: %s %+v", what, j.State, j.Status)
		}
		if _, j := h.export(t, "m1", "never"); j.State != rft.StateFailed || !strings.Contains(j.Status.Message, says) {
			t.Errorf("%s: export: %s %+v", what, j.State, j.Status)
		}
	}
	point("", "")
	refused("missing", "carries no signature")

	a, err := h.catalog.Attestation(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	account, err := h.db.Account(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	put := func(version string, files []catalog.File) {
		t.Helper()
		prefix := catalog.AttestationPrefix(account.UID, good.UID, version)
		digest, err := h.catalog.Vault().Put(t.Context(), prefix, catalog.Manifest{Kind: "attestation", Subject: good.UID, Base: good.Digest}, files)
		if err != nil {
			t.Fatal(err)
		}
		point(prefix, digest)
		t.Cleanup(func() {
			if err := h.catalog.Vault().Remove(context.WithoutCancel(t.Context()), prefix); err != nil {
				t.Error(err)
			}
		})
	}
	foreign, err := seal.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	attest := func(k *seal.SigningKey, change func(*provenance.Resource)) []catalog.File {
		leaves := []provenance.Resource{{Name: catalog.FileConfig, SHA256: a.Digest(catalog.FileConfig)}, {Name: catalog.FileAdapter, SHA256: a.Digest(catalog.FileAdapter)}}
		change(&leaves[1])
		subjects := append(slices.Clone(leaves), provenance.Resource{Name: catalog.FileOptimizer, SHA256: a.Digest(catalog.FileOptimizer)})
		made, err := provenance.Attest(k, "m1", leaves, provenance.Record{BuildType: provenance.BuildStep, Subjects: subjects, ModelUID: good.UID, ManifestDigest: good.Digest, AuditIndex: -1}, provenance.BOM{Name: "m1"})
		if err != nil {
			t.Fatal(err)
		}
		return []catalog.File{{Name: provenance.FileBundle, Data: made.Bundle}, {Name: provenance.FileProvenance, Data: made.Provenance}, {Name: provenance.FileBOM, Data: made.BOM}}
	}
	put("wrong-key", attest(foreign, func(*provenance.Resource) {}))
	refused("wrong key", "not trusted")
	own, err := h.catalog.SigningKeys().Signer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put("wrong-digest", attest(own, func(r *provenance.Resource) { r.SHA256 = provenance.Sum([]byte("other weights")) }))
	refused("wrong digest", "has not the digest that was signed")
	other, err := h.catalog.Attestation(t.Context(), h.model(t, "m2"))
	if err != nil {
		t.Fatal(err)
	}
	put("other-model", other.Files)
	refused("another model's", "another model")

	point("", "")
	signed, err := h.catalog.SignModel(t.Context(), h.model(t, "m1"), "ann", act)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.catalog.Vault().Remove(context.WithoutCancel(t.Context()), signed.Attestation); err != nil {
			t.Error(err)
		}
	})
	if _, _, err := h.catalog.Adapter(t.Context(), h.model(t, "m1")); err != nil {
		t.Errorf("after an explicit signature: %v", err)
	}
	// A model that an old key signed is loaded after a rotation, by other processes too.
	old := h.verifiers(t)
	if _, err := h.catalog.SigningKeys().Rotate(t.Context(), act); err != nil {
		t.Fatal(err)
	}
	if now := h.verifiers(t); len(now) != len(old)+1 || now[0].ID() == old[0].ID() {
		t.Errorf("%d keys after a rotation of %d", len(now), len(old))
	}
	if _, _, err := h.catalog.Adapter(t.Context(), h.model(t, "m2")); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
}

// testPolicy: an export waits for another principal, leaves only to where it may
// go and only with the result that is required, and what was approved is what runs.
func (h *home) testPolicy(t *testing.T) {
	defer h.policy(t, provenance.Policy{})
	h.policy(t, provenance.Policy{Destinations: []string{"s3://elsewhere/"}})
	if _, j := h.export(t, "m2", "out1"); j.State != rft.StateFailed || j.Status.Code != string(rft.KindPermissionDenied) {
		t.Errorf("a destination that is not allowed: %s %+v", j.State, j.Status)
	}
	h.policy(t, provenance.Policy{Require: []provenance.Threshold{{Metric: "rewardMean", Min: ptr(100.0)}}})
	if _, j := h.export(t, "m2", "out2"); j.State != rft.StateFailed || !strings.Contains(j.Status.Message, "requires rewardMean") {
		t.Errorf("a result that is not reached: %s %+v", j.State, j.Status)
	}
	h.policy(t, provenance.Policy{RequireApproval: true, Require: []provenance.Threshold{{Metric: "rewardMean", Min: ptr(0.0)}}})
	if _, j := h.export(t, "m2", "out3"); j.State != rft.StateFailed || !strings.Contains(j.Status.Message, "approval") {
		t.Errorf("without approval: %s %+v", j.State, j.Status)
	}
	for _, name := range []string{"out1", "out2", "out3"} {
		if _, err := os.Stat(filepath.Join(h.dir, "customer", name)); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	dir := filepath.Join(h.dir, "customer", "approved")
	j, m, spec, err := h.jobs.PrepareExport(t.Context(), "main", "m2", "file://"+dir+"/", "ann")
	if err != nil {
		t.Fatal(err)
	}
	r, err := h.db.CreateExportRequest(t.Context(), store.ExportRequest{Account: "main", Model: m.Name(), ModelUID: m.UID, ModelDigest: m.Digest, Destination: spec.URL, RequestedBy: "ann"}, 1e12, act)
	if err != nil {
		t.Fatal(err)
	}
	approve := func(by, url string) (store.ExportRequest, store.Job, error) {
		queued, sent := j, spec
		sent.Approval, sent.URL = r.ID, url
		if queued.Spec, err = sent.JSON(); err != nil {
			t.Fatal(err)
		}
		queued.UID, queued.ID = store.NewUID(), r.ID
		r, err := h.db.DecideExport(t.Context(), "main", r.ID, by, "", &queued, act)
		return r, queued, err
	}
	if _, _, err := approve("ann", spec.URL); rft.KindOf(err) != rft.KindPermissionDenied {
		t.Errorf("who asked approved: %v", err)
	}
	_, queued, err := approve("bob", spec.URL)
	if err != nil {
		t.Fatal(err)
	}
	h.wait(t, queued.UID)
	if _, err := provenance.VerifyDirectory(dir, h.verifiers(t)); err != nil {
		t.Error(err)
	}
	if _, _, err := approve("bob", spec.URL); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("approved twice: %v", err)
	}
	// The approval of one destination is none for another.
	sent := spec
	sent.Approval, sent.URL = r.ID, strings.Replace(spec.URL, "approved", "smuggled", 1)
	raw, err := sent.JSON()
	if err != nil {
		t.Fatal(err)
	}
	smuggled, err := h.db.CreateJob(t.Context(), store.Job{Account: "main", Kind: store.JobExport, Spec: raw, BaseModel: m.Name()}, act)
	if err != nil {
		t.Fatal(err)
	}
	if j := h.end(t, smuggled.UID); j.State != rft.StateFailed || j.Status.Code != string(rft.KindPermissionDenied) {
		t.Errorf("another destination: %s %+v", j.State, j.Status)
	}
}

// testRegistry pushes to a registry with one implementation of the protocol and
// reads back with another.
func (h *home) testRegistry(t *testing.T, host string) {
	push := func(url string) store.Job {
		t.Helper()
		j, err := h.jobs.Export(t.Context(), "main", "m2", url, "ann", act)
		if err != nil {
			t.Fatal(err)
		}
		return h.end(t, j.UID)
	}
	if j := push("oci://registry.example.org/team/m2:v1"); j.State != rft.StateFailed || !strings.Contains(j.Status.Message, "registries") {
		t.Errorf("a registry that nobody allowed: %s %+v", j.State, j.Status)
	}
	j := push("oci://" + host + "/team/m2:v1")
	if j.State != rft.StateCompleted {
		t.Fatalf("%s %+v", j.State, j.Status)
	}
	var result catalog.ExportResult
	if err := json.Unmarshal(j.Result, &result); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host+"/team/m2:v1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := image.Digest()
	if err != nil || digest.String() != result.Digest {
		t.Errorf("%s, want %s, %v", digest, result.Digest, err)
	}
	dir := t.TempDir()
	pull(t, image, dir)
	if _, err := provenance.VerifyDirectory(dir, h.verifiers(t)); err != nil {
		t.Errorf("what was pulled does not verify: %v", err)
	}
	index, err := remote.Referrers(ref.Context().Digest(result.Digest))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, d := range manifest.Manifests {
		got, err := remote.Get(ref.Context().Digest(d.Digest.String()))
		if err != nil {
			t.Fatal(err)
		}
		var m struct{ ArtifactType string } // of the manifest: the index of this registry shows another
		if err := json.Unmarshal(got.Manifest, &m); err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, m.ArtifactType)
	}
	slices.Sort(kinds)
	if want := []string{"application/vnd.cyclonedx+json", "application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.dsse.envelope.v1+json"}; !slices.Equal(kinds, want) {
		t.Errorf("referrers %q, want %q", kinds, want)
	}
	// Pushed again it is the same artefact; a tag that names another one stays.
	if again := push("oci://" + host + "/team/m2:v1"); again.State != rft.StateCompleted {
		t.Errorf("%+v", again.Status)
	}
	m1, err := h.jobs.Export(t.Context(), "main", "m1", "oci://"+host+"/team/m2:v1", "ann", act)
	if err != nil {
		t.Fatal(err)
	}
	if j := h.end(t, m1.UID); j.State != rft.StateFailed || j.Status.Code != string(rft.KindAlreadyExists) {
		t.Errorf("a tag was moved: %s %+v", j.State, j.Status)
	}
}

// pull writes the layers of an artefact under their names.
func pull(t *testing.T, image ggcr.Image, dir string) {
	t.Helper()
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Config.MediaType != "application/vnd.cncf.model.config.v1+json" {
		t.Errorf("config %s", manifest.Config.MediaType)
	}
	for _, d := range manifest.Layers {
		layer, err := image.LayerByDigest(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		r, err := layer.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, d.Annotations["org.opencontainers.image.title"]), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	oci "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Registry is what the operator says of an OCI registry. Registries that the
// operator does not name are not spoken to: their addresses come from API users.
type Registry struct {
	// PlainHTTP speaks to it without TLS.
	PlainHTTP bool `json:"plainHttp"`
}

// Media types of the CNCF model specification, and of what refers to a model.
const (
	ociModel        = "application/vnd.cncf.model.manifest.v1+json"
	ociModelConfig  = "application/vnd.cncf.model.config.v1+json"
	ociWeight       = "application/vnd.cncf.model.weight.v1.raw"
	ociWeightConfig = "application/vnd.cncf.model.weight.config.v1.raw"
	ociDoc          = "application/vnd.cncf.model.doc.v1.raw"
	ociFilePath     = "org.cncf.model.filepath"

	ociBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"
	ociDSSE   = "application/vnd.dsse.envelope.v1+json"
	ociBOM    = "application/vnd.cyclonedx+json"
)

// push writes a model and the statements about it to a registry: files as
// layers, so that a plain pull gives a directory that verifies, and signature,
// provenance and bill of materials as referrers, where tools look for them. The
// tag comes last; one that names something else is not moved.
func (a *attempt) push(to provenance.Reference, m store.Model, list []catalog.File) (catalog.ExportResult, error) {
	result := catalog.ExportResult{URL: to.String()}
	repo, err := a.repository(to)
	if err != nil {
		return result, err
	}
	created := map[string]string{oci.AnnotationCreated: m.Created.UTC().Format(time.RFC3339)} // pushed again, it is the same artefact
	config, err := a.pushConfig(repo, m, list)
	if err != nil {
		return result, registryError(to, err)
	}
	var layers []oci.Descriptor
	for _, f := range list {
		d, err := a.pushBlob(repo, layerType(f.Name), f.Data)
		if err != nil {
			return result, registryError(to, err)
		}
		d.Annotations = map[string]string{oci.AnnotationTitle: f.Name, ociFilePath: f.Name}
		layers = append(layers, d)
		result.Files, result.Bytes = append(result.Files, f.Name), result.Bytes+d.Size
	}
	manifest, err := oras.PackManifest(a.ctx, repo, oras.PackManifestVersion1_1, ociModel,
		oras.PackManifestOptions{ConfigDescriptor: &config, Layers: layers, ManifestAnnotations: created})
	if err != nil {
		return result, registryError(to, err)
	}
	for _, f := range list {
		if kind := referrerType(f.Name); kind != "" {
			if err := a.refer(repo, manifest, kind, f, created); err != nil {
				return result, registryError(to, err)
			}
		}
	}
	if err := a.tag(repo, to, manifest); err != nil {
		return result, err
	}
	result.Digest = manifest.Digest.String()
	return result, nil
}

// tag names the manifest unless the name is taken.
func (a *attempt) tag(repo *remote.Repository, to provenance.Reference, manifest oci.Descriptor) error {
	switch there, err := repo.Resolve(a.ctx, to.Tag); {
	case err == nil && there.Digest == manifest.Digest:
		return nil
	case err == nil:
		return rft.Errorf(rft.KindAlreadyExists, "%s exists already and is another artefact; choose another tag", to)
	case !errors.Is(err, errdef.ErrNotFound):
		return registryError(to, err)
	}
	if err := repo.Tag(a.ctx, manifest, to.Tag); err != nil {
		return registryError(to, err)
	}
	return nil
}

// repository opens a repository under the account's login.
func (a *attempt) repository(to provenance.Reference) (*remote.Repository, error) {
	known, ok := a.Registries[to.Host]
	if !ok {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "the registry %s is not one that this server may speak to; its operator names them in `registries` of config.json", to.Host)
	}
	repo, err := remote.NewRepository(to.Host + "/" + to.Repository)
	if err != nil {
		return nil, rft.Wrap(rft.KindInvalidArgument, err, "%s is not a repository", to)
	}
	login, err := a.Catalog.RegistryLogin(a.ctx, a.job.Account, to.Host)
	if err != nil {
		return nil, err
	}
	if !login.Password.Empty() {
		if _, err := a.logged("UseRegistryLogin", map[string]string{"registry": to.Host, "repository": to.Repository}); err != nil {
			return nil, err
		}
	}
	repo.PlainHTTP = known.PlainHTTP
	repo.Client = &auth.Client{Client: a.Objects.HTTPClient(), Cache: auth.NewCache(), Credential: func(_ context.Context, host string) (auth.Credential, error) {
		if host != to.Host || login.Password.Empty() {
			return auth.EmptyCredential, nil
		}
		return auth.Credential{Username: login.Username, Password: login.Password.Reveal()}, nil
	}}
	return repo, nil
}

// pushBlob writes a blob that is not there yet.
func (a *attempt) pushBlob(repo *remote.Repository, kind string, data []byte) (oci.Descriptor, error) {
	d := content.NewDescriptorFromBytes(kind, data)
	if there, err := repo.Blobs().Exists(a.ctx, d); err != nil || there {
		return d, err
	}
	return d, repo.Blobs().Push(a.ctx, d, bytes.NewReader(data))
}

// refer pushes a statement about the manifest.
func (a *attempt) refer(repo *remote.Repository, manifest oci.Descriptor, kind string, f catalog.File, created map[string]string) error {
	d, err := a.pushBlob(repo, kind, f.Data)
	if err != nil {
		return err
	}
	d.Annotations = map[string]string{oci.AnnotationTitle: f.Name}
	_, err = oras.PackManifest(a.ctx, repo, oras.PackManifestVersion1_1, kind,
		oras.PackManifestOptions{Subject: &manifest, Layers: []oci.Descriptor{d}, ManifestAnnotations: created})
	return err
}

// pushConfig writes the model's configuration.
func (a *attempt) pushConfig(repo *remote.Repository, m store.Model, list []catalog.File) (oci.Descriptor, error) {
	var c struct {
		Descriptor struct {
			CreatedAt string `json:"createdAt"`
			Name      string `json:"name"`
			Version   string `json:"version"`
		} `json:"descriptor"`
		Config struct {
			Format string `json:"format"`
		} `json:"config"`
		ModelFS struct {
			Type    string   `json:"type"`
			DiffIDs []string `json:"diffIds"`
		} `json:"modelfs"`
	}
	c.Descriptor.CreatedAt, c.Descriptor.Name, c.Descriptor.Version = m.Created.UTC().Format(time.RFC3339), m.ID, m.Digest
	c.Config.Format, c.ModelFS.Type = "safetensors", "layers"
	for _, f := range list {
		c.ModelFS.DiffIDs = append(c.ModelFS.DiffIDs, catalog.Digest(f.Data))
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return oci.Descriptor{}, err
	}
	return a.pushBlob(repo, ociModelConfig, raw)
}

func layerType(name string) string {
	switch {
	case strings.HasSuffix(name, ".safetensors"):
		return ociWeight
	case name == catalog.FileConfig:
		return ociWeightConfig
	}
	return ociDoc
}

func referrerType(name string) string {
	switch name {
	case provenance.FileBundle:
		return ociBundle
	case provenance.FileProvenance:
		return ociDSSE
	case provenance.FileBOM:
		return ociBOM
	}
	return ""
}

// registryError gives a failure of a registry its kind. Its text may hold what
// the registry answered, so it is not shown.
func registryError(to provenance.Reference, err error) error {
	if rft.KindOf(err) != rft.KindUnknown {
		return err
	}
	if status := statusOf(err); status == 401 || status == 403 {
		return rft.Wrap(rft.KindPermissionDenied, err, "the registry %s refuses the push to %s; `firekeep model login %s` stores a login", to.Host, to.Repository, to.Host)
	} else if status >= 400 && status < 500 && status != 408 && status != 429 {
		return rft.Wrap(rft.KindFailedPrecondition, err, "the registry %s refuses the push to %s with status %d", to.Host, to.Repository, status)
	}
	return rft.Wrap(rft.KindUnavailable, err, "the registry %s does not take the push", to.Host)
}

// statusOf is the HTTP status of a registry's refusal, 0 = none.
func statusOf(err error) int {
	var r *errcode.ErrorResponse
	if errors.As(err, &r) {
		return r.StatusCode
	}
	return 0
}

package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// Vault keeps sealed artefacts in the home bucket. An artefact is a set of
// files under a prefix with a manifest that names their digests; it exists when
// the manifest does. Prefixes are never used twice.
type Vault struct {
	home objstore.Bucket
	kek  seal.KEK
}

// NewVault returns the vault over a home bucket, sealing under kek.
func NewVault(home objstore.Bucket, kek seal.KEK) *Vault { return &Vault{home: home, kek: kek} }

// associated binds what is sealed to its place: moved elsewhere it does not open.
func associated(key string) []byte { return []byte("firekeep/artefact\x00" + key) }

// Home is the home bucket.
func (v *Vault) Home() objstore.Bucket { return v.home }

// Names of the files of an adapter, and the manifest's own.
const (
	FileConfig    = "adapter_config.json"
	FileAdapter   = "adapter_model.safetensors"
	FileOptimizer = "optimizer.safetensors"
	FileOriginal  = "original.safetensors"
	FileManifest  = "manifest.json"

	sealedSuffix = ".sealed"
)

// Bounds of what is read back into memory.
const (
	maxManifestBytes = 1 << 20
	maxFileBytes     = 16 << 30
)

// Manifest describes an artefact. Its bytes are what a model's digest is of.
type Manifest struct {
	Version int    `json:"version"` // 1
	Kind    string `json:"kind"`    // "adapter", "resume-point"
	Subject string `json:"subject"` // UID of the model or of the job
	Job     string `json:"job,omitempty"`
	Base    string `json:"base"` // digest of the base's prepared weights
	// Level and Precision say what computed it.
	Level     string         `json:"level,omitempty"`
	Precision string         `json:"precision,omitempty"`
	Files     []ManifestFile `json:"files"`
}

// ManifestFile is one file of an artefact, before sealing.
type ManifestFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex
}

// File is a file to be sealed.
type File struct {
	Name   string
	Data   []byte
	SHA256 string // hex, as the receiver of the bytes computed it; "" = compute
}

// ModelPrefix, ResumePrefix and datasetPrefix are places in the home bucket.
// The fence in a path keeps a runner that lost its lease from meeting the files
// of its successor.
func ModelPrefix(account, model string, fence int64) string {
	return fmt.Sprintf("%s/models/%s/%d/", account, model, fence)
}

// ResumePrefix is where the resume point of an update lies.
func ResumePrefix(account, job string, fence, update int64) string {
	return fmt.Sprintf("%s/jobs/%s/%d/%d/", account, job, fence, update)
}

// IndexKey is where the index of a dataset lies.
func IndexKey(account, dataset, job string, fence int64) string {
	return fmt.Sprintf("%s%s-%d.index", datasetPrefix(account, dataset), job, fence)
}

func datasetPrefix(account, dataset string) string {
	return fmt.Sprintf("%s/datasets/%s/", account, dataset)
}

// Put writes an artefact, its files first and the manifest last, and returns
// the manifest's digest. m.Files is filled in here. On an error the prefix may
// hold files without a manifest, which fsck calls orphans.
func (v *Vault) Put(ctx context.Context, prefix string, m Manifest, files []File) (digest string, err error) {
	m.Version, m.Files = 1, nil
	for _, f := range files {
		if f.SHA256 == "" {
			sum := sha256.Sum256(f.Data)
			f.SHA256 = hex.EncodeToString(sum[:])
		}
		if err := v.putSealed(ctx, prefix+f.Name+sealedSuffix, f.Data); err != nil {
			return "", err
		}
		m.Files = append(m.Files, ManifestFile{Name: f.Name, Size: int64(len(f.Data)), SHA256: f.SHA256})
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", rft.Wrap(rft.KindInternal, err, "the manifest cannot be written")
	}
	if _, err := v.home.Create(ctx, prefix+FileManifest, bytes.NewReader(raw), objstore.PutOptions{Size: int64(len(raw)), ContentType: "application/json"}); err != nil {
		return "", err
	}
	return Digest(raw), nil
}

// Digest is how digests are written everywhere: sha256:hex.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// putSealed seals b into a new object.
func (v *Vault) putSealed(ctx context.Context, key string, b []byte) error {
	r, w := io.Pipe()
	go func() {
		sealed, err := seal.NewWriter(w, v.kek, associated(key))
		if err == nil {
			_, err = sealed.Write(b)
		}
		if err == nil {
			err = sealed.Close()
		}
		w.CloseWithError(err)
	}()
	_, err := v.home.Create(ctx, key, r, objstore.PutOptions{Size: -1, ContentType: "application/octet-stream"})
	r.CloseWithError(err) // ends the writer when Create gave up early
	return err
}

// getSealed opens what putSealed wrote; at most limit bytes.
func (v *Vault) getSealed(ctx context.Context, key string, limit int64) ([]byte, error) {
	raw, err := v.open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer raw.Close()
	plain, err := seal.NewReader(raw, v.kek, associated(key))
	if err != nil {
		return nil, broken(err, key)
	}
	var b bytes.Buffer
	if n, err := b.ReadFrom(io.LimitReader(plain, limit+1)); err != nil {
		return nil, broken(err, key)
	} else if n > limit {
		return nil, rft.Errorf(rft.KindDataLoss, "%s is longer than its manifest says", key)
	}
	return b.Bytes(), nil
}

// broken gives a failed read of an artefact its kind.
func broken(err error, key string) error {
	if k := rft.KindOf(err); k != rft.KindUnknown {
		return err
	}
	return rft.Wrap(rft.KindDataLoss, err, "%s does not open: its bytes or its key were changed", key)
}

func (v *Vault) open(ctx context.Context, key string) (io.ReadCloser, error) {
	info, err := v.home.Stat(ctx, key)
	if rft.KindOf(err) == rft.KindNotFound {
		return nil, rft.Wrap(rft.KindDataLoss, err, "%s is missing from the home bucket", key)
	}
	if err != nil {
		return nil, err
	}
	return v.home.Open(ctx, key, info.Pin, 0, -1)
}

// Artifact is an artefact whose manifest has been checked.
type Artifact struct {
	Manifest Manifest
	vault    *Vault
	prefix   string
}

// Open reads the manifest under prefix and holds it against digest.
func (v *Vault) Open(ctx context.Context, prefix, digest string) (*Artifact, error) {
	r, err := v.open(ctx, prefix+FileManifest)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, maxManifestBytes+1))
	if err != nil {
		return nil, broken(err, prefix+FileManifest)
	}
	if got := Digest(raw); got != digest {
		return nil, rft.Errorf(rft.KindDataLoss, "%s has digest %s instead of %s", prefix+FileManifest, got, digest)
	}
	a := &Artifact{vault: v, prefix: prefix}
	if err := json.Unmarshal(raw, &a.Manifest); err != nil {
		return nil, rft.Wrap(rft.KindDataLoss, err, "%s is not a manifest", prefix+FileManifest)
	}
	if a.Manifest.Version != 1 {
		return nil, rft.Errorf(rft.KindUnimplemented, "%s has version %d; this program knows 1", prefix+FileManifest, a.Manifest.Version)
	}
	return a, nil
}

// Has reports whether the artefact has a file.
func (a *Artifact) Has(name string) bool { return a.file(name) != nil }

func (a *Artifact) file(name string) *ManifestFile {
	for i := range a.Manifest.Files {
		if a.Manifest.Files[i].Name == name {
			return &a.Manifest.Files[i]
		}
	}
	return nil
}

// Read unseals a file and holds it against the manifest.
func (a *Artifact) Read(ctx context.Context, name string) ([]byte, error) {
	f := a.file(name)
	if f == nil || f.Size < 0 || f.Size > maxFileBytes {
		return nil, rft.Errorf(rft.KindDataLoss, "%s names no usable %s", a.prefix+FileManifest, name)
	}
	b, err := a.vault.getSealed(ctx, a.prefix+name+sealedSuffix, f.Size)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != f.SHA256 || int64(len(b)) != f.Size {
		return nil, rft.Errorf(rft.KindDataLoss, "%s does not have the digest of its manifest", a.prefix+name)
	}
	return b, nil
}

// Remove deletes an artefact, the manifest first: what a crash leaves is an
// orphan, not a broken artefact.
func (v *Vault) Remove(ctx context.Context, prefix string) error {
	if err := v.home.Delete(ctx, prefix+FileManifest); err != nil {
		return err
	}
	return v.removeAll(ctx, prefix)
}

func (v *Vault) removeAll(ctx context.Context, prefix string) error {
	var keys []string
	err := v.home.List(ctx, prefix, "", func(i objstore.Info) error {
		keys = append(keys, i.Key)
		return nil
	})
	for _, k := range keys {
		if e := v.home.Delete(ctx, k); e != nil && err == nil {
			err = e
		}
	}
	return err
}

package catalog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// Vault keeps sealed artefacts in the home bucket. An artefact is a set of
// files under a prefix with a manifest that names their digests; it exists when
// the manifest does. Prefixes are never used twice.
type Vault struct {
	home objstore.Bucket
	keys *custody.Keys
}

// NewVault returns the vault over a home bucket, sealing under the keys of accounts.
func NewVault(home objstore.Bucket, keys *custody.Keys) *Vault { return &Vault{home: home, keys: keys} }

// Keys are the keys of accounts.
func (v *Vault) Keys() *custody.Keys { return v.keys }

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
	Version int    `json:"version"` // 2; 1 = sealed under the key of the host, without an envelope
	Kind    string `json:"kind"`    // "adapter", "resume-point"
	Subject string `json:"subject"` // UID of the model or of the job
	Job     string `json:"job,omitempty"`
	Base    string `json:"base"` // digest of the base's prepared weights
	// Level and Precision say what computed it.
	Level     string `json:"level,omitempty"`
	Precision string `json:"precision,omitempty"`
	// Canary is what the trainer's final adapter said; nil in manifests of imports
	// and of older programs.
	Canary *engine.Canary `json:"canary,omitempty"`
	Files  []ManifestFile `json:"files"`
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
	return v.Begin(ctx, prefix).Commit(m, files)
}

// Digest is how digests are written everywhere: sha256:hex.
func Digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func (v *Vault) open(ctx context.Context, key string) (io.ReadCloser, error) {
	info, err := v.home.Stat(ctx, key)
	if err != nil {
		return nil, missing(err, key)
	}
	return v.home.Open(ctx, key, info.Pin, 0, -1)
}

// Artifact is an artefact whose manifest has been checked.
type Artifact struct {
	Manifest Manifest
	vault    *Vault
	prefix   string
	ahead    map[string][]byte // files that were read already
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
	if a.Manifest.Version != 1 && a.Manifest.Version != 2 {
		return nil, rft.Errorf(rft.KindUnimplemented, "%s has version %d; this program knows 1 and 2", prefix+FileManifest, a.Manifest.Version)
	}
	return a, nil
}

// SHA256 is the hex digest of a file, which Read holds its bytes against; "" where
// there is none.
func (a *Artifact) SHA256(name string) string {
	if f := a.file(name); f != nil {
		return f.SHA256
	}
	return ""
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

// readAhead reads files for the first Read of each.
func (a *Artifact) readAhead(ctx context.Context, names ...string) error {
	ahead := map[string][]byte{}
	for _, name := range names {
		b, err := a.Read(ctx, name)
		if err != nil {
			return err
		}
		ahead[name] = b
	}
	a.ahead = ahead
	return nil
}

// Read unseals a file and holds it against the manifest. One goroutine at a time
// reads an artefact.
func (a *Artifact) Read(ctx context.Context, name string) ([]byte, error) {
	if b, ok := a.ahead[name]; ok {
		delete(a.ahead, name) // the caller's own
		return b, nil
	}
	f := a.file(name)
	if f == nil || f.Size < 0 || f.Size > maxFileBytes {
		return nil, rft.Errorf(rft.KindDataLoss, "%s names no usable %s", a.prefix+FileManifest, name)
	}
	b, err := a.vault.getSealed(ctx, a.prefix, a.prefix+name+sealedSuffix, f.Size, f.Size)
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != f.SHA256 || int64(len(b)) != f.Size {
		return nil, rft.Errorf(rft.KindDataLoss, "%s does not have the digest of its manifest", a.prefix+name)
	}
	return b, nil
}

// Remove deletes an artefact, its envelope first: from then on no copy of its
// files opens. Then the manifest: what a crash leaves is an orphan.
func (v *Vault) Remove(ctx context.Context, prefix string) error {
	if err := v.home.Delete(ctx, EnvelopeKey(prefix)); err != nil {
		return err
	}
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

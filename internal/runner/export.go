package runner

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// exportManifest is the file that ends an export: a prefix without it is not whole.
const exportManifest = provenance.FileExport

// leaving is what an export writes: the adapter, verified, and the statements
// about it. The account's policy is asked here once more: it may have changed
// since the export was asked for, and what was approved is one version of a
// model for one destination.
func (a *attempt) leaving(m store.Model, spec catalog.ExportSpec) ([]catalog.File, error) {
	signed, err := a.Catalog.Attestation(a.ctx, m)
	if err != nil {
		return nil, rft.Wrap(rft.KindOf(err), err, "%s is not exported: %s", m.Name(), rft.PublicMessage(err))
	}
	if err := a.Catalog.MayLeave(a.ctx, a.job.Account, m, spec, signed.Record); err != nil {
		return nil, err
	}
	config, tensors, err := a.Catalog.Adapter(a.ctx, m)
	if err != nil {
		return nil, err
	}
	list := []catalog.File{{Name: catalog.FileConfig, Data: config}, {Name: catalog.FileAdapter, Data: tensors}}
	list = append(list, signed.Files...)
	// For people to look at; who verifies brings a key from elsewhere.
	list = append(list, catalog.File{Name: provenance.FileKey, Data: []byte(signed.Key.PEM())})
	_, err = a.logged("ExportModel", map[string]string{"model": m.Name(), "digest": m.Digest, "url": spec.URL, "approval": spec.Approval})
	return list, err
}

// deliver writes files to a bucket or a registry.
func (a *attempt) deliver(m store.Model, url string, list []catalog.File) (catalog.ExportResult, error) {
	if provenance.IsOCI(url) {
		to, err := provenance.ParseOCI(url)
		if err != nil {
			return catalog.ExportResult{}, err
		}
		return a.push(to, m, list)
	}
	to, err := objstore.ParseURL(url)
	if err != nil {
		return catalog.ExportResult{}, err
	}
	return a.exportFiles(to, m, list)
}

// exportFiles writes files and then the manifest. An object that is there with
// the same bytes counts as written, so that an export which died can be repeated.
func (a *attempt) exportFiles(to objstore.URL, m store.Model, list []catalog.File) (catalog.ExportResult, error) {
	b := a.to(to, identity.Write)
	result := catalog.ExportResult{URL: to.String()}
	type line struct {
		Name   string `json:"name"`
		Size   int    `json:"size"`
		Digest string `json:"digest"`
	}
	manifest := struct {
		Model  string `json:"model"`
		Base   string `json:"base"`
		Digest string `json:"digest"`
		Files  []line `json:"files"`
	}{Model: m.Name(), Base: m.BaseModel, Digest: m.Digest}
	for _, f := range list {
		manifest.Files = append(manifest.Files, line{f.Name, len(f.Data), catalog.Digest(f.Data)})
	}
	raw, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return result, rft.Wrap(rft.KindInternal, err, "the export's manifest cannot be written")
	}
	for _, f := range append(slices.Clone(list), catalog.File{Name: exportManifest, Data: raw}) {
		if err := a.put(b, to, f); err != nil {
			return result, err
		}
		result.Files = append(result.Files, f.Name)
		result.Bytes += int64(len(f.Data))
	}
	return result, nil
}

// put creates an object, or finds it there with the same bytes.
func (a *attempt) put(b objstore.Bucket, to objstore.URL, f catalog.File) error {
	at, data := to.Join(f.Name), f.Data
	_, err := b.Create(a.ctx, at.Key, bytes.NewReader(data), objstore.PutOptions{Size: int64(len(data)), SHA256: catalog.Digest(data)[len("sha256:"):]})
	if rft.KindOf(err) != rft.KindAlreadyExists {
		return err
	}
	if same, e := a.sameBytes(a.to(to, identity.Read), at.Key, data); e == nil && same {
		return nil
	}
	return rft.Wrap(rft.KindAlreadyExists, err, "%s exists already with other content; name another prefix", at)
}

func (a *attempt) sameBytes(b objstore.Bucket, key string, data []byte) (bool, error) {
	info, err := b.Stat(a.ctx, key)
	if err != nil || info.Pin.Size != int64(len(data)) {
		return false, err
	}
	r, err := b.Open(a.ctx, key, info.Pin, 0, -1)
	if err != nil {
		return false, err
	}
	defer r.Close()
	got, err := io.ReadAll(io.LimitReader(r, int64(len(data))+1))
	return bytes.Equal(got, data), err
}

// orderTargets brings known targets into the order of adapters.
func orderTargets(t []string) []string {
	var out []string
	for _, k := range engine.Targets {
		if slices.Contains(t, k) {
			out = append(out, k)
		}
	}
	for _, k := range t {
		if !slices.Contains(out, k) {
			out = append(out, k) // unknown ones stay, for the engine to name
		}
	}
	return out
}

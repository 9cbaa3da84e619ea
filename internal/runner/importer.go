package runner

import (
	"encoding/json"
	"io"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/store"
	"github.com/firekeep/firekeep/internal/wire"
)

// modelFile is one file of a model's source, pinned.
type modelFile struct {
	name string
	size int64
	open func() (io.ReadCloser, error)
}

// importModel brings a model in: weights through an import child, a LoRA as it
// is, proven by loading it.
func (a *attempt) importModel() error {
	var spec catalog.ImportSpec
	if err := json.Unmarshal(a.job.Spec, &spec); err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the job's description cannot be read")
	}
	m, err := a.DB.ModelByUID(a.ctx, spec.UID)
	if err != nil {
		return err
	}
	if err := a.advance(rft.StateRunning); err != nil {
		return err
	}
	files, err := a.modelFiles(spec)
	if err != nil {
		return err
	}
	if m.Kind == store.KindAdapter {
		err = a.importAdapter(m, spec, files)
	} else {
		err = a.importBase(m, spec, files)
	}
	if err == nil && catalog.IsUpload(spec.Source) {
		// The model is READY without them; what a failure leaves stands in the
		// database and goes with the model.
		if e := a.Catalog.ForgetUpload(a.ctx, m.UID); e != nil {
			a.Log.Warn("the files of an upload were not removed", "error", e.Error())
		}
	}
	return err
}

// importBase prepares the weights of a base model.
func (a *attempt) importBase(m store.Model, spec catalog.ImportSpec, files []modelFile) error {
	signature, signer, err := a.sourceSignature(files)
	if err != nil {
		return err
	}
	if files, err = chooseBase(files, spec.Source); err != nil {
		return err
	}
	started := a.DB.Now()
	child, err := a.Host.Start(a.ctx, a.options("import", nil))
	if err != nil {
		return err
	}
	defer child.Close()
	out, err := a.Catalog.NewWeights(a.ctx, m, a.account, a.lease.Fence())
	if err != nil {
		return err
	}
	defer out.Abort()
	read := &sums{}
	done, err := child.Import(a.ctx, wire.ImportTask{Name: baseName(m, spec), Source: spec.Source, Expects: len(files), BFloat16: a.roundsWeights()}, read.over(sequence(files)), out)
	if err != nil {
		return err
	}
	if err := read.signed(signature); err != nil {
		return err
	}
	if m.Config, err = json.Marshal(done.Config); err != nil {
		return rft.Wrap(rft.KindInternal, err, "the model's configuration cannot be stored")
	}
	m.Parameters, m.ContextLength, m.HasChat, m.Digest, m.Size = done.Parameters, done.Config.MaxPositions, done.HasChat, done.SHA256, done.Size
	if err := a.advance(rft.StateWriting); err != nil {
		return err
	}
	place, err := out.Finish(&m)
	if err != nil {
		return err
	}
	weights := catalog.WeightsSubject(m.Digest)
	made := imported{spec.Source, signer, started, weights, weights, read.dependencies(signature), done.Config.Family, child.Report().Level}
	return a.finishImport(m, place, made, map[string]string{"source": done.Source})
}

// finishImport signs a model whose content is stored, and shows it if it fits into
// what the account may store. A model that is not shown leaves nothing.
func (a *attempt) finishImport(m store.Model, place func() error, made imported, detail map[string]string) error {
	bundle, err := a.attestImport(&m, made)
	if err == nil {
		detail["model"], detail["digest"], detail["bundle"] = m.Name(), m.Digest, bundle
		err = a.showImport(m, place, runnerAct(a.job, "FinishImport", detail))
	}
	if err != nil {
		a.discard(m)
	}
	return err
}

func (a *attempt) showImport(m store.Model, place func() error, act store.Act) error {
	account, err := a.DB.Account(a.ctx, a.job.Account) // its quota may be another than at the start
	if err != nil {
		return err
	}
	room := store.Room{Account: account.ID}
	if a.StorageBytes != nil {
		room.Limit = a.StorageBytes(account)
	}
	return a.DB.FinishImport(a.ctx, a.job.UID, a.lease.Fence(), m, place, room, act)
}

// roundsWeights says whether this host's steps and chats multiply in bfloat16, as
// far as its configuration decides.
func (a *attempt) roundsWeights() bool {
	if a.Precision != broker.PrecisionAuto && a.Precision != broker.BFloat16 {
		return false
	}
	choice, err := a.Host.Choose(a.ctx, a.Level, a.Precision)
	return err == nil && choice.Precision == broker.BFloat16
}

// baseName is what exported adapters will name as their base: the hub's name
// when the model came from there, else the model's own.
func baseName(m store.Model, spec catalog.ImportSpec) string {
	if name, ok := strings.CutPrefix(spec.Source, "hf://"); ok {
		return name
	}
	return m.ID
}

// chooseBase picks the files that an import needs, in the order of names. Of a
// directory these are the safetensors and what describes them; a GGUF stands alone.
func chooseBase(files []modelFile, source string) ([]modelFile, error) {
	pick := func(keep func(name string) bool) []modelFile {
		var out []modelFile
		for _, f := range files {
			if keep(f.name) {
				out = append(out, f)
			}
		}
		return out
	}
	gguf := pick(func(n string) bool { return strings.HasSuffix(n, ".gguf") })
	tensors := pick(func(n string) bool { return strings.HasSuffix(n, ".safetensors") })
	switch {
	case len(tensors) > 0:
		return pick(func(n string) bool {
			return strings.HasSuffix(n, ".safetensors") || strings.HasSuffix(n, ".safetensors.index.json") ||
				slices.Contains([]string{"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
					"added_tokens.json", "chat_template.jinja", "chat_template.json"}, n)
		}), nil
	case len(gguf) == 1:
		return gguf, nil
	case len(gguf) > 1:
		return nil, rft.Errorf(rft.KindInvalidArgument, "%s holds %d GGUF files; name one of them", source, len(gguf))
	}
	return nil, rft.Errorf(rft.KindInvalidArgument, "%s holds no model: neither .safetensors nor .gguf files (pickled .bin and .pt files are never read)", source)
}

// sequence opens one file after another.
func sequence(files []modelFile) iter.Seq2[broker.File, error] {
	return func(yield func(broker.File, error) bool) {
		for _, f := range files {
			body, err := f.open()
			if err != nil {
				yield(broker.File{}, err)
				return
			}
			ok := yield(broker.File{Name: f.name, Size: f.size, Body: body}, nil)
			body.Close()
			if !ok {
				return
			}
		}
	}
}

// modelFiles lists the files of a source.
func (a *attempt) modelFiles(spec catalog.ImportSpec) ([]modelFile, error) {
	source := spec.Source
	if catalog.IsUpload(source) {
		return a.uploadedFiles(spec.UID)
	}
	if name, ok := strings.CutPrefix(source, "hf://"); ok {
		return a.hubFiles(name)
	}
	u, err := objstore.ParseURL(source)
	if err != nil {
		return nil, err
	}
	b := a.to(u, identity.Read)
	infos, err := a.find(b, u, maxModelFiles)
	if err != nil {
		return nil, err
	}
	root := u.Key[:strings.LastIndexByte(u.Key, '/')+1]
	var out []modelFile
	for _, i := range infos {
		name := strings.TrimPrefix(i.Key, root)
		if strings.Contains(name, "/") || name == "" {
			continue // a model is one directory; subdirectories hold other formats
		}
		out = append(out, modelFile{name: name, size: i.Pin.Size, open: func() (io.ReadCloser, error) {
			return b.Open(a.ctx, i.Key, i.Pin, 0, -1)
		}})
	}
	return out, nil
}

// uploadedFiles are the files of a model that came through the API, sealed.
func (a *attempt) uploadedFiles(uid string) ([]modelFile, error) {
	files, err := a.DB.UploadFiles(a.ctx, uid)
	if err != nil {
		return nil, err
	}
	var out []modelFile
	for _, f := range files {
		if !f.Arrived() {
			return nil, rft.Errorf(rft.KindFailedPrecondition, "the upload was announced anew; send its files and validate it again")
		}
		out = append(out, modelFile{name: f.Name, size: f.Size, open: func() (io.ReadCloser, error) { return a.Catalog.OpenUpload(a.ctx, f) }})
	}
	return out, nil
}

// maxModelFiles bounds the files under the prefix of a model.
const maxModelFiles = 10_000

// Bounds of an adapter that is imported.
const (
	maxAdapterConfigBytes = 1 << 20
	maxAdapterBytes       = 4 << 30
)

// importAdapter stores a PEFT adapter after a sampling child has loaded it.
func (a *attempt) importAdapter(m store.Model, spec catalog.ImportSpec, list []modelFile) error {
	started := a.DB.Now()
	signature, signer, err := a.sourceSignature(list)
	if err != nil {
		return err
	}
	config, err := readFile(list, catalog.FileConfig, maxAdapterConfigBytes)
	if err != nil {
		return err
	}
	tensors, err := readFile(list, catalog.FileAdapter, maxAdapterBytes)
	if err != nil {
		return err
	}
	files := []catalog.File{{Name: catalog.FileConfig, Data: config}, {Name: catalog.FileAdapter, Data: tensors}}
	read := digested(files)
	if err := read.signed(signature); err != nil {
		return err
	}
	if err := describeAdapter(&m, config); err != nil {
		return err
	}
	base, err := a.DB.ModelByUID(a.ctx, m.BaseUID)
	if err != nil {
		return err
	}
	level, err := a.proveAdapter(base, config, tensors)
	if err != nil {
		return err
	}
	m.ContextLength, m.HasChat, m.Parameters = base.ContextLength, base.HasChat, base.Parameters
	if err := a.advance(rft.StateWriting); err != nil {
		return err
	}
	m.Artifact = catalog.ModelPrefix(a.account, m.UID, a.lease.Fence())
	m.Size = int64(len(config) + len(tensors))
	manifest := catalog.Manifest{Kind: "adapter", Subject: m.UID, Job: a.job.UID, Base: base.Digest}
	if m.Digest, err = a.Catalog.Vault().Put(a.ctx, m.Artifact, manifest, files); err != nil {
		return err
	}
	subjects := catalog.Subjects(files)
	from := append(read.dependencies(signature), provenance.Dependency{Name: provenance.RoleBase, URI: base.Name(), SHA256: base.Digest})
	return a.finishImport(m, nil, imported{spec.Source, signer, started, subjects, subjects, from, "", level}, map[string]string{})
}

// proveAdapter lets an engine child load the adapter: it checks every tensor's
// name and shape against the base. level is what held the child.
func (a *attempt) proveAdapter(base store.Model, config, tensors []byte) (level sandbox.Level, err error) {
	weights, err := a.Catalog.Weights(a.ctx, base)
	if err != nil {
		return "", err
	}
	defer weights.Close()
	child, err := a.Host.Start(a.ctx, a.options("import", weights))
	if err != nil {
		return "", err
	}
	defer child.Close()
	s, err := child.StartSampling(a.ctx, wire.SampleTask{MaxSequences: 1, MaxContext: 16, CacheBytes: 64 << 20})
	if err != nil {
		return "", err
	}
	_, err = s.Load(a.ctx, "import", config, tensors, 0)
	return child.Report().Level, err
}

// describeAdapter takes rank, alpha and targets from adapter_config.json.
func describeAdapter(m *store.Model, config []byte) error {
	var c struct {
		PeftType string   `json:"peft_type"`
		Rank     int      `json:"r"`
		Alpha    *float64 `json:"lora_alpha"`
		Targets  any      `json:"target_modules"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return rft.Errorf(rft.KindInvalidArgument, "adapter_config.json is not valid JSON of the expected shape")
	}
	switch {
	case c.PeftType != "LORA":
		return rft.Errorf(rft.KindInvalidArgument, "adapter_config.json: peft_type must be LORA")
	case c.Rank <= 0:
		return rft.Errorf(rft.KindInvalidArgument, "adapter_config.json: r is missing or not positive")
	case c.Alpha == nil:
		return rft.Errorf(rft.KindInvalidArgument, "adapter_config.json: lora_alpha is missing; loaders would silently take 8")
	}
	list, ok := c.Targets.([]any)
	if !ok || len(list) == 0 {
		return rft.Errorf(rft.KindInvalidArgument, "adapter_config.json: target_modules must be a list of module names")
	}
	m.Rank, m.Alpha, m.Targets = c.Rank, *c.Alpha, nil
	for _, t := range list {
		name, ok := t.(string)
		if !ok {
			return rft.Errorf(rft.KindInvalidArgument, "adapter_config.json: target_modules must hold strings")
		}
		m.Targets = append(m.Targets, path.Ext("." + name)[1:]) // a full module path or its suffix
	}
	m.Targets = orderTargets(m.Targets)
	return nil
}

// readFile reads a named file of a source whole.
func readFile(list []modelFile, name string, limit int64) ([]byte, error) {
	for _, f := range list {
		if f.name != name {
			continue
		}
		if f.size > limit {
			return nil, rft.Errorf(rft.KindInvalidArgument, "%s has %d bytes; at most %d are allowed", name, f.size, limit)
		}
		body, err := f.open()
		if err != nil {
			return nil, err
		}
		defer body.Close()
		b, err := io.ReadAll(io.LimitReader(body, limit+1))
		if err == nil && f.size >= 0 && int64(len(b)) != f.size {
			err = rft.Errorf(rft.KindFailedPrecondition, "%s has not the %d bytes that were announced", name, f.size)
		}
		return b, err
	}
	return nil, rft.Errorf(rft.KindInvalidArgument, "the source has no %s", name)
}

// export writes an adapter to a bucket prefix as a PEFT directory: create-only,
// the manifest last.
func (a *attempt) export() error {
	var spec catalog.ExportSpec
	if err := json.Unmarshal(a.job.Spec, &spec); err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the job's description cannot be read")
	}
	m, err := a.DB.ModelByUID(a.ctx, spec.UID)
	if err != nil {
		return err
	}
	if m.Kind != store.KindAdapter {
		return rft.Errorf(rft.KindUnimplemented, "%s is a base model; only adapters can be exported", m.Name())
	}
	if err := a.advance(rft.StateRunning); err != nil {
		return err
	}
	list, err := a.leaving(m, spec)
	if err != nil {
		return err
	}
	if err := a.advance(rft.StateWriting); err != nil {
		return err
	}
	result, err := a.deliver(m, spec.URL, list)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return rft.Wrap(rft.KindInternal, err, "the export's result cannot be stored")
	}
	act := runnerAct(a.job, "FinishExport", map[string]string{"model": m.Name(), "digest": m.Digest, "url": spec.URL})
	return a.DB.Finish(a.ctx, a.job.UID, a.lease.Fence(), store.OK(), raw, act)
}

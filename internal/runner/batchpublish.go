package runner

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// answers are the objects of a dataset of answers: those with responses first, in
// the order of the rows, then those with errors.
type answers struct {
	objects []store.Object
	files   []store.UploadFile // names of sealed objects
	index   catalog.IndexWriter
	bytes   int64
}

func (a *answers) add(o store.Object, blocks [][32]byte) int {
	a.objects = append(a.objects, o)
	a.index.Object(o.Pin.Size, blocks)
	a.bytes += o.Pin.Size
	return len(a.objects) - 1
}

// publish makes the dataset of answers READY: content first, then its index, then
// the one transaction that shows both.
func (b *batchRun) publish() error {
	out, _, err := b.DB.DatasetByUID(b.ctx, b.spec.UID)
	if err != nil {
		return err
	}
	made := &answers{}
	if b.spec.OutputURL == "" {
		err = b.seal(made, out)
	} else {
		err = b.list(made)
	}
	if err != nil {
		return err
	}
	raw, err := made.index.Bytes()
	if err != nil {
		return rft.Wrap(rft.KindInternal, err, "the index of the answers cannot be written")
	}
	out.Index = catalog.IndexKey(b.account, out.UID, b.job.UID, b.lease.Fence())
	if out.IndexDigest, err = b.Catalog.Vault().PutIndex(b.ctx, out.Index, raw); err != nil {
		return err
	}
	n := *b.progress.Requests
	out.Uploaded = b.spec.OutputURL == ""
	out.Counts = store.Counts{Objects: int64(len(made.objects)), Bytes: made.bytes, Rows: n.Answered + n.Failed, Groups: made.index.Groups}
	act := runnerAct(b.job, "FinishBatchInferenceJob", map[string]string{"dataset": out.Name(), "digest": out.IndexDigest,
		"answered": strconv.FormatInt(n.Answered, 10), "failed": strconv.FormatInt(n.Failed, 10)})
	if err := b.DB.FinishBatch(b.ctx, b.job.UID, b.lease.Fence(), out, made.objects, made.files, b.progress, act); err != nil {
		return err
	}
	b.dropParts(b.ctx)
	return nil
}

// seal copies the parts into one sealed file of responses and one of errors.
func (b *batchRun) seal(made *answers, out store.Dataset) error {
	for _, f := range []struct {
		name  string
		lines func(part) []int64
	}{
		{fileResults, func(p part) []int64 { return p.ResultLines }},
		{fileFailures, func(p part) []int64 { return p.FailureLines }},
	} {
		var all []int64
		for _, p := range b.parts {
			all = append(all, f.lines(p)...)
		}
		if len(all) == 0 {
			continue
		}
		r := &partReader{run: b, file: f.name, hash: newBlockHash()}
		o, err := b.Catalog.Vault().PutAnswers(b.ctx, b.account, out.UID, r)
		if r.err != nil {
			err = r.err
		}
		if err != nil {
			return err
		}
		if whole := r.hash.whole(); whole != o.SHA256 {
			return rft.Errorf(rft.KindInternal, "the answers were not sealed as they were read")
		}
		if err := lines(&made.index, made.add(o, r.hash.blocks), all, 0, 1); err != nil {
			return err
		}
		made.files = append(made.files, store.UploadFile{Name: f.name, Batch: b.job.UID, Size: o.Pin.Size, Key: o.Key, SHA256: o.SHA256})
	}
	return nil
}

// list takes the parts as they lie in the customer's bucket, and writes the file
// that ends them: a prefix without it is not whole.
func (b *batchRun) list(made *answers) error {
	take := func(at *placed, lengths []int64) error {
		if at == nil {
			return nil
		}
		return lines(&made.index, made.add(at.Object, at.Blocks), lengths, 0, 1)
	}
	for _, p := range b.parts {
		if err := take(p.Results, p.ResultLines); err != nil {
			return err
		}
	}
	for _, p := range b.parts {
		if err := take(p.Failures, p.FailureLines); err != nil {
			return err
		}
	}
	return b.endPrefix(made)
}

// batchManifest is the name of the file that ends a prefix of answers.
const batchManifest = "manifest.json"

func (b *batchRun) endPrefix(made *answers) error {
	type file struct {
		Name   string `json:"name"`
		Size   int64  `json:"size"`
		SHA256 string `json:"sha256"`
	}
	m := struct {
		Job   string `json:"job"`
		Model string `json:"model"`
		Files []file `json:"files"`
	}{Job: b.job.Name(), Model: b.spec.Model}
	for _, o := range made.objects {
		m.Files = append(m.Files, file{o.Key[len(b.at.Key):], o.Pin.Size, o.SHA256})
	}
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return rft.Wrap(rft.KindInternal, err, "the manifest of the answers cannot be written")
	}
	return b.put(b.to, b.at, catalog.File{Name: batchManifest, Data: raw})
}

// dropParts removes what the answers were made of; what a failure leaves is found
// by fsck.
func (a *attempt) dropParts(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	dropped, err := a.DB.DropResumePoints(ctx, a.job.UID)
	if err != nil {
		a.Log.Warn("the parts of a finished batch stay", "job", a.job.Name(), "error", err)
	}
	a.removePoints(dropped)
}

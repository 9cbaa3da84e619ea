package runner

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Files of a part, and of the answers that are made of them.
const (
	filePart     = "part.json"
	fileResults  = "results.jsonl"
	fileFailures = "errors.jsonl"
)

// part is some neighbouring rows' answers. Its JSON holds lengths, counts and
// digests.
type part struct {
	Number int            `json:"number"`
	From   int64          `json:"from"` // number of the first row
	Counts store.Requests `json:"counts"`
	// ResultLines and FailureLines are the bytes of each line, newline included.
	ResultLines  []int64 `json:"resultLines,omitempty"`
	FailureLines []int64 `json:"failureLines,omitempty"`
	// Results and Failures lie in the customer's bucket; nil there are none, or they
	// are sealed with this.
	Results  *placed `json:"results,omitempty"`
	Failures *placed `json:"failures,omitempty"`

	results, failures []byte
	point             store.ResumePoint
}

// placed is an object of answers in the customer's bucket.
type placed struct {
	Object store.Object        `json:"object"`
	Blocks [][sha256.Size]byte `json:"blocks"`
}

func (p *part) rows() int64 { return p.Counts.Answered + p.Counts.Failed }

func (p *part) full() bool {
	return p.rows() >= partRows || len(p.results)+len(p.failures) >= partBytes
}

func (p *part) add(a answer) {
	p.Counts.Add(a.counts)
	if a.failed {
		p.failures = append(p.failures, a.line...)
		p.FailureLines = append(p.FailureLines, int64(len(a.line)))
		return
	}
	p.results = append(p.results, a.line...)
	p.ResultLines = append(p.ResultLines, int64(len(a.line)))
}

// files are what is sealed of a part.
func (p *part) files(content bool) ([]catalog.File, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "a part cannot be described")
	}
	list := []catalog.File{{Name: filePart, Data: raw}}
	if content && len(p.results) > 0 {
		list = append(list, catalog.File{Name: fileResults, Data: p.results})
	}
	if content && len(p.failures) > 0 {
		list = append(list, catalog.File{Name: fileFailures, Data: p.failures})
	}
	return list, nil
}

// openPart reads what an earlier attempt finished.
func (b *batchRun) openPart(point store.ResumePoint) (p part, err error) {
	a, err := b.Catalog.Vault().Open(b.ctx, point.Artifact, point.Digest)
	if err != nil {
		return p, err
	}
	raw, err := a.Read(b.ctx, filePart)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return p, rft.Wrap(rft.KindDataLoss, err, "a part of the answers cannot be read")
	}
	p.point = point
	return p, nil
}

// place writes a part into the customer's bucket, if it belongs there.
func (b *batchRun) place(p *part) (err error) {
	if b.to == nil {
		return nil
	}
	if p.Results, err = b.placeFile("results", p.Number, p.results); err != nil {
		return err
	}
	p.Failures, err = b.placeFile("errors", p.Number, p.failures)
	return err
}

// openBucket opens the place of answers that belong into the customer's bucket.
func (b *batchRun) openBucket() (err error) {
	if b.spec.OutputURL == "" {
		return nil
	}
	if b.at, err = objstore.ParseURL(b.spec.OutputURL); err != nil {
		return err
	}
	b.to, b.back = b.attempt.to(b.at, identity.Write), b.attempt.to(b.at, identity.Read)
	return nil
}

// placeFile writes one file. One that is there with the same bytes is that of an
// attempt which died before it could say so; one with other bytes, from an attempt
// on other kernels, stays, and nothing names it.
func (b *batchRun) placeFile(kind string, number int, data []byte) (*placed, error) {
	if len(data) == 0 {
		return nil, nil
	}
	name := fmt.Sprintf("%s-%05d.jsonl", kind, number)
	err := b.put(b.to, b.at, catalog.File{Name: name, Data: data})
	if rft.KindOf(err) == rft.KindAlreadyExists {
		name = fmt.Sprintf("%s-%05d-%d.jsonl", kind, number, b.lease.Fence())
		err = b.put(b.to, b.at, catalog.File{Name: name, Data: data})
	}
	if err != nil {
		return nil, err
	}
	at := b.at.Join(name)
	info, err := b.back.Stat(b.ctx, at.Key)
	if err != nil {
		return nil, err
	}
	h := newBlockHash()
	h.Write(data)
	o := store.Object{Key: at.Key, Pin: info.Pin, SHA256: h.whole()}
	if info.Pin.Size != int64(len(data)) {
		return nil, rft.Errorf(rft.KindAborted, "%s was replaced while it was written", at)
	}
	return &placed{Object: o, Blocks: h.blocks}, nil
}

// lines puts the lines of an object into an index.
func lines(w *catalog.IndexWriter, object int, lengths []int64, offset, line int64) error {
	for _, n := range lengths {
		if err := w.Group(object, offset, n, line, 1); err != nil {
			return err
		}
		offset += n
		line++
	}
	return nil
}

// partReader reads one file of all parts, one part in memory at a time.
type partReader struct {
	run  *batchRun
	file string
	next int
	open bytes.Reader
	hash *blockHash
	err  error // of reading, not of who reads
}

// Read implements io.Reader.
func (r *partReader) Read(b []byte) (int, error) {
	for r.open.Len() == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if r.next == len(r.run.parts) {
			return 0, io.EOF
		}
		if r.err = r.load(r.run.parts[r.next]); r.err != nil {
			return 0, r.err
		}
		r.next++
	}
	n, err := r.open.Read(b)
	r.hash.Write(b[:n])
	return n, err
}

func (r *partReader) load(p part) error {
	a, err := r.run.Catalog.Vault().Open(r.run.ctx, p.point.Artifact, p.point.Digest)
	if err != nil || !a.Has(r.file) {
		return err
	}
	data, err := a.Read(r.run.ctx, r.file)
	r.open.Reset(data)
	return err
}

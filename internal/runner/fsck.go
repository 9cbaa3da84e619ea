package runner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Finding is something that fsck found wrong.
type Finding struct {
	// Kind is stable: "database", "account", "connection", "base", "adapter",
	// "resume-point", "dataset", "job", "reserved-name", "orphan", "unfinished-file".
	Kind     string `json:"kind"`
	Resource string `json:"resource"` // name of the row, or key of the object
	Message  string `json:"message"`
	// Harmless: nothing acknowledged is affected, and Repair removes it.
	Harmless bool `json:"harmless"`
	// Unchecked: it could not be looked at, because its key is disabled or out of
	// reach. That says nothing about it.
	Unchecked bool `json:"unchecked,omitempty"`
	Repaired  bool `json:"repaired,omitempty"`
}

// Fsck verifies everything durable: the rows against each other, and the home
// against the rows, every byte of it. No server may use the home meanwhile:
// what a running job writes would look like an orphan.
type Fsck struct {
	DB      *store.DB
	Catalog *catalog.Catalog
	// Identity opens the secrets of connections; nil leaves them out.
	Identity identity.Source
	// BucketDir is the directory of the home bucket, searched for files that a
	// crash left unfinished; "" when the bucket is not a directory.
	BucketDir string
	// Repair removes what is harmless, unless the database itself is damaged.
	Repair bool

	repair bool
	found  []Finding
	snap   store.Snapshot
	named  map[string]bool // keys of the home bucket that rows account for, and prefixes of artefacts
}

// Run returns what is wrong; an error means that it could not look.
func (f *Fsck) Run(ctx context.Context) ([]Finding, error) {
	f.found, f.named, f.repair = nil, map[string]bool{}, f.Repair
	ctx = custody.For(ctx, custody.Use{Purpose: "fsck", Actor: "fsck"})
	problems, err := f.DB.Check(ctx)
	if err != nil {
		f.add("database", "database", "the database cannot be read: "+rft.PublicMessage(err))
		return f.found, nil
	}
	for _, p := range problems {
		f.add("database", "database", p)
		f.repair = false // what looks like an orphan may belong to a row that is lost
	}
	if f.snap, err = f.DB.Snapshot(ctx); err != nil {
		f.add("database", "database", "rows cannot be read: "+rft.PublicMessage(err))
		return f.found, nil
	}
	for _, check := range []func(context.Context) error{f.connections, f.models, f.points, f.datasets, f.uploads, f.jobs, f.strangers, f.unfinished} {
		if err := check(ctx); err != nil {
			return f.found, err
		}
		if ctx.Err() != nil {
			return f.found, rft.Wrap(rft.KindCancelled, ctx.Err(), "fsck was cancelled")
		}
	}
	return f.found, nil
}

func (f *Fsck) add(kind, resource, message string) {
	f.found = append(f.found, Finding{Kind: kind, Resource: resource, Message: message})
}

// harmless reports something that repair removes.
func (f *Fsck) harmless(kind, resource, message string, repair func() error) {
	n := Finding{Kind: kind, Resource: resource, Message: message, Harmless: true}
	if f.repair {
		if err := repair(); err != nil {
			n.Message += "; it could not be removed: " + rft.PublicMessage(err)
		} else {
			n.Repaired = true
		}
	}
	f.found = append(f.found, n)
}

// wrong reports err unless it is nil.
func (f *Fsck) wrong(kind, resource string, err error) {
	if err == nil {
		return
	}
	f.add(kind, resource, rft.PublicMessage(err))
	f.found[len(f.found)-1].Unchecked = custody.IsRefusal(err) || custody.IsOutage(err)
}

func (f *Fsck) connections(ctx context.Context) error {
	if f.Identity == nil {
		return nil
	}
	for _, c := range f.snap.Connections {
		name := rft.Name{Account: c.Account, Collection: rft.Connections, ID: c.ID}.String()
		u, err := objstore.ParseURL(c.URLPrefix)
		switch {
		case err != nil:
		case identity.Auth(c.Auth).Federated(): // what it exchanges is not here
			_, err = catalog.BrokerConnection(ctx, f.DB, c)
		default:
			_, err = f.Identity.Credential(ctx, identity.Job{Account: c.Account, Kind: "probe", ID: "fsck"}, u.Join("fsck"), identity.Read)
		}
		f.wrong("connection", name, err)
	}
	return nil
}

func (f *Fsck) models(ctx context.Context) error {
	live := map[string]bool{}
	for _, j := range f.snap.Jobs {
		live[j.UID] = !j.State.Terminal()
	}
	byUID := map[string]store.Model{}
	for _, m := range f.snap.Models {
		byUID[m.UID] = m
	}
	for _, m := range f.snap.Models {
		if m.Attestation != "" && m.State == store.StateReady {
			f.wrong("attestation", m.Name(), f.attestation(ctx, m))
		}
		switch {
		case m.State == store.StateReserved && !live[m.JobUID]:
			f.harmless("reserved-name", m.Name(), "the name is reserved by a step that is over", func() error {
				return f.DB.FreeReserved(ctx, m.UID, store.Act{Account: m.Account, Actor: "fsck", Method: "FreeReserved", Resource: m.Name()})
			})
		case m.State == store.StateReady && m.Kind == store.KindBase:
			if m.Artifact != "" {
				f.named[m.Artifact] = true
			}
			f.wrong("base", m.Name(), f.Catalog.VerifyWeights(ctx, m))
			if !json.Valid(m.Config) {
				f.add("base", m.Name(), "its configuration cannot be read")
			}
		case m.State == store.StateReady && m.Kind == store.KindAdapter:
			f.wrong("adapter", m.Name(), f.adapter(ctx, m, byUID))
		case m.State != store.StateUploading && m.State != store.StateReserved:
			f.add("adapter", m.Name(), fmt.Sprintf("it has the impossible state %q", m.State))
		}
	}
	return nil
}

// adapter opens every file of a checkpoint.
func (f *Fsck) adapter(ctx context.Context, m store.Model, byUID map[string]store.Model) error {
	a, err := f.artifact(ctx, m.Artifact, m.Digest)
	if err != nil {
		return err
	}
	base, ok := byUID[m.BaseUID]
	switch {
	case a.Manifest.Subject != m.UID:
		return rft.Errorf(rft.KindDataLoss, "its manifest is that of another model")
	case !ok:
		return rft.Errorf(rft.KindDataLoss, "its base model is gone")
	case a.Manifest.Base != base.Digest:
		return rft.Errorf(rft.KindDataLoss, "it was trained on other weights than those of %s", base.Name())
	case !a.Has(catalog.FileConfig) || !a.Has(catalog.FileAdapter):
		return rft.Errorf(rft.KindDataLoss, "its manifest names no adapter")
	}
	return nil
}

// attestation verifies the signed statements about a model. One that was never
// signed is none: it is refused when it is to be loaded.
func (f *Fsck) attestation(ctx context.Context, m store.Model) error {
	if _, err := f.artifact(ctx, m.Attestation, m.AttestationDigest); err != nil {
		return err
	}
	_, err := f.Catalog.Attestation(ctx, m)
	return err
}

// artifact opens an artefact with all its files.
func (f *Fsck) artifact(ctx context.Context, prefix, digest string) (*catalog.Artifact, error) {
	f.named[prefix] = true // all below it: files of a damaged artefact are no orphans
	a, err := f.Catalog.Vault().Open(ctx, prefix, digest)
	if err != nil {
		return nil, err
	}
	for _, file := range a.Manifest.Files {
		if _, err := a.Read(ctx, file.Name); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (f *Fsck) points(ctx context.Context) error {
	for _, p := range f.snap.Points {
		i := slices.IndexFunc(f.snap.Jobs, func(j store.Job) bool { return j.UID == p.JobUID })
		if i < 0 {
			f.add("resume-point", p.Artifact, "its job is gone")
			continue
		}
		j := f.snap.Jobs[i]
		name := fmt.Sprintf("%s, update %d", j.Name(), p.Update)
		a, err := f.artifact(ctx, p.Artifact, p.Digest)
		if err == nil && a.Manifest.Subject != p.JobUID {
			err = rft.Errorf(rft.KindDataLoss, "its manifest is that of another job")
		}
		f.wrong("resume-point", name, err)
		if j.State.Terminal() && !j.State.Resumable() {
			f.harmless("resume-point", name, "its job is over", func() error {
				_, err := f.DB.DropResumePoints(ctx, j.UID)
				if err == nil {
					err = f.Catalog.Vault().Remove(ctx, p.Artifact)
				}
				return err
			})
		}
	}
	return nil
}

func (f *Fsck) datasets(ctx context.Context) error {
	for _, d := range f.snap.Datasets {
		objects := f.snap.Objects[d.UID]
		if d.Uploaded {
			for _, o := range objects {
				f.wrong("dataset", d.Name(), f.rows(ctx, o))
			}
		}
		if d.State != store.StateReady {
			continue
		}
		f.named[d.Index], f.named[catalog.EnvelopeKey(d.Index)] = true, true
		index, err := f.Catalog.Vault().Index(ctx, d)
		switch {
		case err != nil:
		case len(index.Objects) != len(objects):
			err = rft.Errorf(rft.KindDataLoss, "its index describes %d objects, %d are pinned", len(index.Objects), len(objects))
		case index.Groups != d.Counts.Groups:
			err = rft.Errorf(rft.KindDataLoss, "its index holds %d groups, %d were counted", index.Groups, d.Counts.Groups)
		default:
			for i, o := range objects {
				if o.Pin.Size != index.Objects[i].Size {
					err = rft.Errorf(rft.KindDataLoss, "object %q is pinned with %d bytes and indexed with %d", o.Key, o.Pin.Size, index.Objects[i].Size)
				}
			}
		}
		f.wrong("dataset", d.Name(), err)
	}
	return nil
}

// uploads reads the files that arrived and that nothing was made of yet.
func (f *Fsck) uploads(ctx context.Context) error {
	all, err := f.DB.AllUploadFiles(ctx)
	for _, file := range all {
		o := store.Object{Key: file.Key, Pin: objstore.Pin{Size: file.Size}}
		if file.Arrived() && !f.named[o.Key+"/"] {
			f.wrong("upload", file.Owner, f.rows(ctx, o))
		}
	}
	return err
}

// rows reads uploaded rows whole.
func (f *Fsck) rows(ctx context.Context, o store.Object) error {
	f.named[o.Key+"/"] = true
	r, err := f.Catalog.Vault().OpenRows(ctx, o, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != o.SHA256 {
		return rft.Errorf(rft.KindDataLoss, "%s does not have its digest any more", o.Key)
	}
	return nil
}

func (f *Fsck) jobs(context.Context) error {
	models, datasets := map[string]bool{}, map[string]bool{}
	for _, m := range f.snap.Models {
		models[m.UID] = true
	}
	for _, d := range f.snap.Datasets {
		datasets[d.UID] = true
	}
	trainers := map[string]bool{}
	for _, j := range f.snap.Jobs {
		trainers[j.UID] = j.KeepsAlive()
	}
	for _, j := range f.snap.Jobs {
		f.wrong("job", j.Name(), jobState(j))
		if j.Kind == store.JobBatch && !j.State.Terminal() {
			var spec job.BatchSpec
			if err := json.Unmarshal(j.Spec, &spec); err != nil || !datasets[spec.DatasetUID] || !datasets[spec.UID] || !models[spec.ModelUID] {
				f.add("job", j.Name(), "its description cannot be read, or one of its datasets or its model is gone")
			}
		}
		if j.Kind == store.JobMerge && !j.State.Terminal() {
			var spec job.MergeSpec
			if err := json.Unmarshal(j.Spec, &spec); err != nil || !models[spec.AdapterUID] || !models[spec.BaseUID] || !models[spec.UID] {
				f.add("job", j.Name(), "its description cannot be read, or one of its models, or the name of its output, is gone")
			}
		}
		if !j.Kind.Trains() {
			continue
		}
		if j.Trainer != "" && !trainers[j.Trainer] {
			f.add("job", j.Name(), "the trainer whose step it is is gone")
		}
		var spec job.StepSpec
		switch err := json.Unmarshal(j.Spec, &spec); {
		case err != nil:
			f.add("job", j.Name(), "its description cannot be read")
		case j.State.Terminal():
		case !models[spec.BaseUID]:
			f.add("job", j.Name(), "its base model is gone")
		case j.KeepsAlive():
			if state, err := j.TrainerState(); err != nil {
				f.add("job", j.Name(), "what its next step begins with cannot be read")
			} else if uid := state.ModelUID; uid != "" && !models[uid] {
				f.add("job", j.Name(), "the LoRA that its next step begins with is gone")
			}
		case !datasets[spec.DatasetUID]:
			f.add("job", j.Name(), "its dataset is gone")
		case j.Kind != store.JobTrain && spec.WarmUID != "" && !models[spec.WarmUID]: // a trainer's step begins with what the trainer names
			f.add("job", j.Name(), "the LoRA that it continues is gone")
		case !models[spec.OutputUID]:
			f.add("job", j.Name(), "the name of its output is not reserved")
		}
	}
	return nil
}

// jobState checks a job's state against its lease and its times.
func jobState(j store.Job) error {
	bad := func(format string, args ...any) error { return rft.Errorf(rft.KindDataLoss, format, args...) }
	switch {
	case !slices.Contains(rft.States(), j.State):
		return bad("it has the impossible state %q", j.State)
	case j.State.Terminal() && j.Completed.IsZero():
		return bad("it is %s without a time of completion", j.State)
	case !j.State.Terminal() && !j.Completed.IsZero():
		return bad("it is %s but has a time of completion", j.State)
	case (j.State.Terminal() || j.State.Queued()) && j.Owner != "":
		return bad("it is %s but %s holds a lease", j.State, j.Owner)
	case j.KeepsAlive() && j.Owner != "":
		return bad("it waits for steps but %s holds a lease", j.Owner)
	case !j.State.Terminal() && !j.State.Queued() && j.Owner == "" && !j.KeepsAlive():
		return bad("it is %s but nobody holds a lease", j.State)
	case j.Fence < int64(j.Attempt):
		return bad("its fence %d is behind its %d attempts", j.Fence, j.Attempt)
	}
	return nil
}

// strangers finds objects and weights that no row names: what crashes leave.
func (f *Fsck) strangers(ctx context.Context) error {
	home := f.Catalog.Vault().Home()
	var orphans []string
	err := home.List(ctx, "", "", func(i objstore.Info) error {
		if !f.named[i.Key] && !f.named[i.Key[:strings.LastIndexByte(i.Key, '/')+1]] {
			orphans = append(orphans, i.Key)
		}
		return nil
	})
	for _, k := range orphans {
		f.harmless("orphan", k, "no row names this object", func() error { return home.Delete(ctx, k) })
	}
	if err != nil {
		return err
	}
	digests, others, err := f.Catalog.Bases().Files()
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, m := range f.snap.Models {
		used[m.Digest] = used[m.Digest] || m.Kind == store.KindBase && !catalog.Private(m)
	}
	for _, d := range digests {
		if !used[d] {
			f.harmless("orphan", d, "no model has these prepared weights", func() error { return f.Catalog.Bases().Remove(d) })
		}
	}
	for _, name := range others {
		f.harmless("unfinished-file", name, "a file in the directory of models that is no prepared weights", func() error { return f.Catalog.Bases().RemoveOther(name) })
	}
	return nil
}

// unfinished finds temporary files that a crash left in the home bucket.
func (f *Fsck) unfinished(context.Context) error {
	if f.BucketDir == "" {
		return nil
	}
	return filepath.WalkDir(f.BucketDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasPrefix(e.Name(), ".firekeep-") {
			return err
		}
		rel, _ := filepath.Rel(f.BucketDir, path) // path lies below BucketDir
		f.harmless("unfinished-file", rel, "a write that was never finished", func() error { return os.Remove(path) })
		return nil
	})
}

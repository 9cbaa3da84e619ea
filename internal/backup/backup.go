// Package backup copies the home of a running server to another place and makes
// a home of such a copy. It holds no key: artefacts are copied as they lie,
// sealed, and what opens them is never copied.
//
// Everything in the home bucket is written once, before the row that names it,
// and removed after that row. So a copy of the bucket, a copy of the database
// and one more look at the bucket hold together: what the database names was
// there when it was copied. Only what went between the first look and the second
// can be missing; then it is done again.
//
// A backup is a prefix of a bucket:
//
//	files/firekeep.db, files/bucket/..., files/models/..., ...
//	manifest.json   written last; without it there is no backup
package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Names of a home, as `firekeep serve` lays it out.
const (
	database = "firekeep.db"
	bucket   = "bucket"
	models   = "models"
	auditLog = "audit"
)

// copied are the trees of a home that are copied file by file.
var copied = []string{bucket, models, auditLog}

// settings are small files that are copied as they are.
var settings = []string{"config.json"}

// Layout of a backup.
const (
	filesDir     = "files/"
	manifestName = "manifest.json"
	format       = "firekeep-backup/1"
	staging      = "backup.tmp" // in the home: the copy of the database
)

// Manifest describes a backup.
type Manifest struct {
	Format  string    `json:"format"`
	Version string    `json:"version"` // of the program that made it
	Created time.Time `json:"created"`
	Files   []File    `json:"files"`
	// LeftOut are names of the home that were not copied, keys among them.
	LeftOut []string `json:"leftOut"`
	// Dropped are resume points that went while they were copied.
	Dropped []string `json:"dropped,omitempty"`
}

// File is one file of the home.
type File struct {
	Name   string `json:"name"` // relative to the home, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Bytes is the size of all files.
func (m Manifest) Bytes() (n int64) {
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// Source is a home to be copied.
type Source struct {
	Home    string
	Version string
}

// creation is one backup in the making.
type creation struct {
	Source
	to     objstore.Bucket
	prefix string

	home      objstore.Bucket // the home bucket
	files     map[string]File
	artefacts map[string]catalog.Manifest // by the key of their manifest in the home bucket
}

// tries is how often the database is copied again because something that it
// names went meanwhile. After the last one, resume points are left out.
const tries = 4

// Create copies the home into prefix of a bucket, which must be empty.
func (s Source) Create(ctx context.Context, to objstore.Bucket, prefix string) (Manifest, error) {
	if err := requireEmpty(ctx, to, prefix); err != nil {
		return Manifest{}, err
	}
	home, err := objstore.OpenDir(filepath.Join(s.Home, bucket))
	if err != nil {
		return Manifest{}, err
	}
	defer home.Close()
	c := &creation{Source: s, to: to, prefix: prefix, home: home, files: map[string]File{}, artefacts: map[string]catalog.Manifest{}}
	unlock, err := c.stage()
	if err != nil {
		return Manifest{}, err
	}
	defer unlock()
	m := Manifest{Format: format, Version: s.Version, Created: time.Now().UTC()}
	if err := c.audit(ctx); err != nil {
		return m, err
	}
	if m.Dropped, err = c.consistent(ctx); err != nil {
		return m, err
	}
	if m.LeftOut, err = c.rest(ctx); err != nil {
		return m, err
	}
	for _, f := range c.files {
		m.Files = append(m.Files, f)
	}
	slices.SortFunc(m.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return m, rft.Wrap(rft.KindInternal, err, "the backup cannot be described")
	}
	_, err = to.Create(ctx, prefix+manifestName, bytes.NewReader(raw), objstore.PutOptions{Size: int64(len(raw)), ContentType: "application/json"})
	return m, err
}

func requireEmpty(ctx context.Context, to objstore.Bucket, prefix string) error {
	err := to.List(ctx, prefix, "", func(i objstore.Info) error {
		what := "something else"
		if i.Key == prefix+manifestName || strings.HasPrefix(i.Key, prefix+filesDir) {
			what = "a backup, or what is left of one that did not end"
		}
		return rft.Errorf(rft.KindAlreadyExists, "the place of the backup holds %s; name an empty one", what)
	})
	return err
}

// stage makes the directory for the copy of the database, and keeps other
// backups of this home out.
func (c *creation) stage() (done func(), err error) {
	unlock, err := lock(filepath.Join(c.Home, "lock.backup"))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(c.Home, staging)
	if err = os.RemoveAll(dir); err == nil { // of a backup that was killed
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		unlock()
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be made", dir)
	}
	return func() { os.RemoveAll(dir); unlock() }, nil
}

// consistent copies the trees and the database until they hold together.
func (c *creation) consistent(ctx context.Context) (dropped []string, err error) {
	path := filepath.Join(c.Home, staging, database)
	for try := 1; ; try++ {
		if err := c.trees(ctx); err != nil {
			return nil, err
		}
		if err := os.RemoveAll(path); err != nil {
			return nil, rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be replaced", path)
		}
		if err := store.CopyTo(ctx, filepath.Join(c.Home, database), path); err != nil {
			return nil, err
		}
		if err := c.trees(ctx); err != nil {
			return nil, err
		}
		missing, err := c.settle(ctx, path, try == tries, &dropped)
		if err != nil {
			return nil, err
		}
		if missing == "" {
			return dropped, c.put(ctx, database, func() (io.ReadCloser, int64, error) { return open(path) })
		}
		if try == tries {
			return nil, rft.Errorf(rft.KindAborted, "%s went while it was copied, %d times; try again when less is being deleted", missing, tries)
		}
	}
}

// settle holds the copy of the database against what was copied and returns
// something that is missing. With drop, resume points that are missing are
// removed from the copy.
func (c *creation) settle(ctx context.Context, path string, drop bool, dropped *[]string) (missing string, err error) {
	db, err := store.Open(ctx, path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }() // which brings the journal into the file
	snap, err := db.Snapshot(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range snap.Points {
		if c.holds(p.Artifact) {
			continue
		}
		if !drop {
			return p.Artifact, nil
		}
		if err := db.DropResumePoint(ctx, p.JobUID, p.Update); err != nil {
			return "", err
		}
		*dropped = append(*dropped, p.Artifact)
	}
	attestations, err := db.Attestations(ctx)
	if err != nil {
		return "", err
	}
	for model, place := range attestations {
		if !c.holds(place) {
			return "the signature of " + model, nil
		}
	}
	return c.missing(snap), nil
}

// holds reports whether an artefact was copied whole.
func (c *creation) holds(prefix string) bool {
	m, ok := c.artefacts[prefix+catalog.FileManifest]
	return ok && !slices.ContainsFunc(m.Keys(prefix), func(key string) bool { return !c.has(bucket + "/" + key) })
}

// under reports whether something of the home bucket below a prefix was copied.
func (c *creation) under(prefix string) bool {
	for name := range c.files {
		if strings.HasPrefix(name, bucket+"/"+prefix) {
			return true
		}
	}
	return false
}

func (c *creation) has(name string) bool { _, ok := c.files[name]; return ok }

// missing names something durable that rows name and that was not copied.
func (c *creation) missing(snap store.Snapshot) string {
	for _, m := range snap.Models {
		switch {
		case m.State != store.StateReady:
		case m.Kind == store.KindAdapter && !c.holds(m.Artifact), m.Kind == store.KindBase && m.Artifact != "" && !c.under(m.Artifact),
			m.Kind == store.KindBase && m.Artifact == "" && !c.has(models+"/"+strings.TrimPrefix(m.Digest, "sha256:")+".prepared"):
			return m.Name()
		}
	}
	for _, d := range snap.Datasets {
		if d.State == store.StateReady && !c.has(bucket+"/"+d.Index) {
			return d.Name()
		}
		for _, o := range snap.Objects[d.UID] {
			if d.Uploaded && slices.ContainsFunc(catalog.Parts(o), func(key string) bool { return !c.has(bucket + "/" + key) }) {
				return d.Name()
			}
		}
	}
	return ""
}

// trees copies what is in the home bucket and among the models and was not
// copied before. What goes meanwhile is passed over.
func (c *creation) trees(ctx context.Context) error {
	err := c.home.List(ctx, "", "", func(i objstore.Info) error {
		return c.put(ctx, bucket+"/"+i.Key, func() (io.ReadCloser, int64, error) {
			r, err := c.home.Open(ctx, i.Key, i.Pin, 0, -1)
			return r, i.Pin.Size, err
		})
	})
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(c.Home, models))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return rft.Wrap(rft.KindUnavailable, err, "the directory of models cannot be read")
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") { // hidden files are unfinished
			continue
		}
		if err := c.put(ctx, models+"/"+e.Name(), func() (io.ReadCloser, int64, error) { return open(filepath.Join(c.Home, models, e.Name())) }); err != nil {
			return err
		}
	}
	return nil
}

// audit copies the audit log before the database, so that it holds no entry whose
// row is not copied, and its heads before its tiles, so that every tile that a head
// speaks of is there. The first start makes the rest of it from the rows.
func (c *creation) audit(ctx context.Context) error {
	for _, tiles := range []bool{false, true, true} { // tiles twice: a narrow one may go when a wider one comes
		if err := c.auditFiles(ctx, tiles); err != nil {
			return err
		}
	}
	return nil
}

func (c *creation) auditFiles(ctx context.Context, tiles bool) error {
	root := filepath.Join(c.Home, auditLog)
	var names []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // none yet, or a tile that a wider one has replaced
		}
		if err != nil || !e.Type().IsRegular() || strings.HasSuffix(path, ".lock") {
			return err
		}
		name := auditLog + filepath.ToSlash(strings.TrimPrefix(path, root))
		if strings.Contains(name, "/tile/") == tiles {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "the audit log cannot be read")
	}
	for _, name := range names {
		if err := c.put(ctx, name, func() (io.ReadCloser, int64, error) { return open(filepath.Join(c.Home, filepath.FromSlash(name))) }); err != nil {
			return err
		}
	}
	return nil
}

// rest copies settings and lists what is left out.
func (c *creation) rest(ctx context.Context) (left []string, err error) {
	entries, err := os.ReadDir(c.Home)
	if err != nil {
		return nil, rft.Wrap(rft.KindUnavailable, err, "%s cannot be read", c.Home)
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case slices.Contains(copied, name), name == database, strings.HasPrefix(name, database+"-"), strings.HasPrefix(name, "lock"), name == staging:
		case slices.Contains(settings, name):
			if err := c.put(ctx, name, func() (io.ReadCloser, int64, error) { return open(filepath.Join(c.Home, name)) }); err != nil {
				return nil, err
			}
		default:
			left = append(left, name)
		}
	}
	return left, nil
}

// put copies one file, unless it was copied before or is gone.
func (c *creation) put(ctx context.Context, name string, source func() (io.ReadCloser, int64, error)) error {
	if c.has(name) {
		return nil
	}
	r, size, err := source()
	if gone(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close()
	sum := sha256.New()
	var manifest bytes.Buffer
	taken := io.TeeReader(r, sum)
	if strings.HasSuffix(name, "/"+catalog.FileManifest) && size <= maxManifestBytes {
		taken = io.TeeReader(taken, &manifest)
	}
	if _, err := c.to.Create(ctx, c.prefix+filesDir+name, taken, objstore.PutOptions{Size: size}); err != nil {
		return err
	}
	var m catalog.Manifest
	if manifest.Len() > 0 && json.Unmarshal(manifest.Bytes(), &m) == nil {
		c.artefacts[strings.TrimPrefix(name, bucket+"/")] = m
	}
	c.files[name] = File{Name: name, Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))}
	return nil
}

// maxManifestBytes bounds what is read of an artefact's manifest.
const maxManifestBytes = 1 << 20

// gone reports whether a file was removed after it was listed.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, objstore.ErrChanged) || rft.KindOf(err) == rft.KindNotFound
}

// open opens a file with its size.
func open(path string) (io.ReadCloser, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", path)
	}
	if err != nil {
		f.Close()
		return nil, 0, rft.Wrap(rft.KindUnavailable, err, "%s cannot be read", path)
	}
	return f, info.Size(), nil
}

package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/e2e/tiny"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/runner"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// Environment of a child process of the crash test.
const (
	crashHome  = "FIREKEEP_TEST_CRASH_HOME"
	crashWrite = "FIREKEEP_TEST_CRASH_WRITE"
	crashWhen  = "FIREKEEP_TEST_CRASH_WHEN"
	engineEnv  = "FIREKEEP_TEST_ENGINE"
)

var enginePath string

func TestMain(m *testing.M) {
	sandbox.Init()
	if os.Getenv(crashHome) != "" {
		crashMain()
		return
	}
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "firekeep-runner")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	enginePath = filepath.Join(dir, "firekeep-engine")
	build := exec.Command("go", "build", "-o", enginePath, "github.com/firekeep/firekeep/cmd/firekeep-engine")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// home is a whole Firekeep without its API: database, home bucket, weights,
// and a runner with the real engine in the real sandbox.
type home struct {
	dir     string
	db      *store.DB
	kek     seal.KEK
	keys    *custody.Keys
	bucket  *tapped
	catalog *catalog.Catalog
	jobs    *job.Service
	config  runner.Config
}

// tapped is the home bucket with a tap on what it creates.
type tapped struct {
	objstore.Bucket
	before, after atomic.Pointer[func(key string)]
}

func (b *tapped) Create(ctx context.Context, key string, r io.Reader, o objstore.PutOptions) (objstore.Info, error) {
	if f := b.before.Load(); f != nil {
		(*f)(key)
	}
	i, err := b.Bucket.Create(ctx, key, r, o)
	if f := b.after.Load(); f != nil && err == nil {
		(*f)(key)
	}
	return i, err
}

func openHome(ctx context.Context, dir string, log io.Writer) (*home, error) {
	h := &home{dir: dir}
	var err error
	if h.db, err = store.Open(ctx, filepath.Join(dir, "firekeep.db")); err != nil {
		return nil, err
	}
	if h.kek, err = seal.OpenOrCreateKeyring(filepath.Join(dir, "keyring.json")); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "bucket"), 0o700); err != nil {
		return nil, err
	}
	bucket, err := objstore.OpenDir(filepath.Join(dir, "bucket"))
	if err != nil {
		return nil, err
	}
	h.bucket = &tapped{Bucket: bucket}
	bases, err := catalog.NewBases(filepath.Join(dir, "models"))
	if err != nil {
		return nil, err
	}
	h.keys = custody.New(custody.Config{DB: h.db, Dir: filepath.Join(dir, "keys"), Host: h.kek})
	h.catalog = catalog.New(h.db, catalog.NewVault(h.bucket, h.keys), bases)
	h.jobs = job.New(h.catalog)
	engine := enginePath
	if engine == "" {
		engine = os.Getenv(engineEnv)
	}
	program, err := sandbox.OpenProgram(engine)
	if err != nil {
		return nil, err
	}
	l := slog.New(slog.NewTextHandler(log, nil))
	h.config = runner.Config{DB: h.db, Catalog: h.catalog, Identity: catalog.Credentials(h.db, h.kek, nil), Objects: objstore.Config{FileRoots: []string{dir}},
		Host: &broker.Host{Launcher: sandbox.New(), Engine: program, Build: "test", Log: l}, Log: l, ID: "test"}
	h.config.Router = serving.NewRouter(h.config.Host, control.Models{Catalog: h.catalog}, serving.Options{})
	return h, nil
}

var act = store.Act{Account: "main", Actor: "test"}

func newHome(t *testing.T) *home {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	h, err := openHome(t.Context(), dir, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.config.Router.Close(); h.db.Close() })
	if _, err := h.db.CreateAccount(t.Context(), store.Account{ID: "main"}, act); err != nil {
		t.Fatal(err)
	}
	return h
}

// run starts the runner; the test's end stops it.
func (h *home) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runner.New(h.config).Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the runner: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// write puts a file below the home that customers' buckets stand for.
func (h *home) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(h.dir, "customer", name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return "file://" + path
}

// rows is a dataset of n groups of samples; rewards are never all equal.
func rows(n, samples int, reward func(group, sample int) float64) string {
	var b strings.Builder
	for g := range n {
		list := make([]map[string]any, samples)
		for s := range samples {
			list[s] = map[string]any{"evals": map[string]float64{"score": reward(g, s)}, "messages": []map[string]string{
				{"role": "user", "content": fmt.Sprintf("question %d", g)}, {"role": "assistant", "content": fmt.Sprintf("answer %d", (g*7+s*3)%11)}}}
		}
		line, err := json.Marshal(map[string]any{"samples": list})
		if err != nil {
			panic(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

func varied(g, s int) float64 { return math.Mod(float64(g*3+s), 5) / 4 }

// wait returns a job once it is over; unless it COMPLETED the test fails.
func (h *home) wait(t *testing.T, uid string) store.Job {
	t.Helper()
	j := h.end(t, uid)
	if j.State != rft.StateCompleted {
		t.Fatalf("%s is %s: %+v", j.Name(), j.State, j.Status)
	}
	return j
}

func (h *home) end(t *testing.T, uid string) store.Job {
	t.Helper()
	j, err := h.jobs.Wait(t.Context(), uid)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// base imports the tiny model.
func (h *home) base(t *testing.T) store.Model {
	t.Helper()
	dir := filepath.Join(h.dir, "customer", "tiny")
	if err := tiny.Write(dir, tiny.Default, 1); err != nil {
		t.Fatal(err)
	}
	m, j, err := h.catalog.ImportModel(t.Context(), catalog.NewImport{Account: "main", ID: "tiny", Source: "file://" + dir + "/"}, act)
	if err != nil {
		t.Fatal(err)
	}
	h.wait(t, j.UID)
	if m, err = h.db.Model(t.Context(), "main", m.ID); err != nil || m.State != store.StateReady {
		t.Fatalf("%+v, %v", m, err)
	}
	return m
}

// dataset registers a URL and waits for its validation.
func (h *home) dataset(t *testing.T, id, url string) store.Dataset {
	t.Helper()
	d, err := h.catalog.CreateDataset(t.Context(), catalog.NewDataset{Account: "main", ID: id, ExternalURL: url}, act)
	if err != nil {
		t.Fatal(err)
	}
	h.wait(t, h.validation(t, d).UID)
	if d, err = h.db.Dataset(t.Context(), "main", id); err != nil || d.State != store.StateReady {
		t.Fatalf("%+v, %v", d, err)
	}
	return d
}

func (h *home) validation(t *testing.T, d store.Dataset) store.Job {
	t.Helper()
	p, err := h.db.ListJobs(t.Context(), d.Account, store.JobValidation, store.ListOptions{Filter: []store.Term{{Field: "dataset", Op: "=", Value: d.Name()}}})
	if err != nil || len(p.Items) == 0 {
		t.Fatalf("no validation: %v", err)
	}
	return p.Items[0]
}

func ptr[T any](v T) *T { return &v }

// small are parameters that give several updates and resume points.
func small() job.Params {
	return job.Params{LoraRank: ptr(4), LearningRate: ptr(1e-2), Epochs: ptr(2), BatchSizeSamples: ptr(6), MaxContextLength: ptr(256), ResumeEvery: ptr(1), Seed: ptr(int64(7))}
}

func (h *home) step(t *testing.T, r job.StepRequest) store.Job {
	t.Helper()
	r.Account = "main"
	j, err := h.jobs.CreateStep(t.Context(), r, act)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// calm runs a step that nothing disturbs; what its model, "calm", holds is what a
// disturbed one has to hold. The base "tiny" and the dataset "rows" stay.
func (h *home) calm(t *testing.T) {
	t.Helper()
	stop := h.run(t)
	h.base(t)
	h.dataset(t, "rows", h.write(t, "rows.jsonl", rows(8, 3, varied)))
	h.wait(t, h.step(t, job.StepRequest{ID: "calm", Dataset: "rows", BaseModel: "tiny", OutputModel: "calm", Params: small()}).UID)
	stop()
}

// atPoint calls f at the n-th manifest of a job that a bucket is given: those of its
// resume points.
func atPoint(n int, f func()) *func(key string) {
	tap := func(key string) {
		if strings.Contains(key, "/jobs/") && strings.HasSuffix(key, catalog.FileManifest) {
			if n--; n == 0 {
				f()
			}
		}
	}
	return &tap
}

// fsck returns what is wrong with the home.
func (h *home) fsck(t *testing.T, repair bool) []runner.Finding {
	t.Helper()
	f := runner.Fsck{DB: h.db, Catalog: h.catalog, Identity: h.config.Identity, BucketDir: filepath.Join(h.dir, "bucket"), Repair: repair}
	found, err := f.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// crashMain is a server that dies by kill -9 at one of its writes to the home
// bucket, before or after it, and else ends when no job is left.
func crashMain() {
	ctx, cancel := context.WithCancel(context.Background())
	h, err := openHome(ctx, os.Getenv(crashHome), io.Discard)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	at, _ := strconv.ParseInt(os.Getenv(crashWrite), 10, 64)
	var n atomic.Int64
	die := func(string) {
		if n.Add(1) == at {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if os.Getenv(crashWhen) == "before" {
		h.bucket.before.Store(&die)
	} else {
		h.bucket.after.Store(&die)
	}
	done := make(chan error, 1)
	go func() { done <- runner.New(h.config).Run(ctx) }()
	for _, kind := range append(slices.Clone(store.TrainingKinds), store.JobBatch, store.JobMerge) {
		jobs, e := h.db.ListJobs(ctx, "main", kind, store.ListOptions{})
		for _, j := range jobs.Items {
			if !j.KeepsAlive() {
				h.jobs.Wait(ctx, j.UID)
			}
		}
		err = errors.Join(err, e)
	}
	cancel()
	<-done
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

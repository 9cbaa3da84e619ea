// Command security measures what the trust chain costs a step, for `make
// bench-security`: the sandbox's start, sealing what a step writes, signing its
// checkpoint and waiting for the audit log, with the real parts on a home of its
// own. Their sum is held against a step of 30 seconds.
//
//	security -engine PATH -stage PATH [-adapter BYTES] [-points N] [-home DIR] [-json FILE]
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/firekeep/firekeep/internal/audit"
	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/provenance"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// The step that the costs are held against, and its limits.
const (
	stepSeconds  = 30
	maxShare     = 0.02
	maxStartTime = 30 * time.Millisecond
)

type options struct {
	engine, stage, home, json string
	adapter                   int
	points                    int
}

func main() {
	sandbox.Init()
	var o options
	flag.StringVar(&o.engine, "engine", "bin/firekeep-engine", "engine program")
	flag.StringVar(&o.stage, "stage", "bin/firekeep-stage", "program that prepares children, as the product has it inside")
	flag.StringVar(&o.home, "home", "", "directory for the home; default a temporary one, which may be memory")
	flag.StringVar(&o.json, "json", "", "file for the results")
	flag.IntVar(&o.adapter, "adapter", 19_500_000, "bytes of the adapter; the optimiser's state has twice as many")
	flag.IntVar(&o.points, "points", 2, "resume points of the step, beside its checkpoint")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "security:", err)
		os.Exit(1)
	}
}

// result is what was measured, in milliseconds.
type result struct {
	SandboxStart  spread  `json:"sandboxStartMs"`
	ColdToHello   spread  `json:"engineHelloMs"` // start until the engine has passed its self-tests
	PlainWrite    spread  `json:"plainWriteMs"`  // the files of one resume point, unsealed but durable
	SealedWrite   spread  `json:"sealedWriteMs"`
	Sign          spread  `json:"signMs"`
	AuditWait     spread  `json:"auditWaitMs"`
	WaitsPerPhase int     `json:"auditWaitsPerPhase"`
	Phases        int     `json:"phases"`
	StepMs        float64 `json:"costOfStepMs"`
	Share         float64 `json:"shareOfStep"`
	Holds         bool    `json:"holds"`
}

// spread is the median and the worst of some runs.
type spread struct{ Median, Worst float64 }

// measure runs f n times.
func measure(n int, f func(i int) (time.Duration, error)) (spread, error) {
	var all []float64
	for i := range n {
		d, err := f(i)
		if err != nil {
			return spread{}, err
		}
		all = append(all, float64(d)/1e6)
	}
	slices.Sort(all)
	return spread{all[len(all)/2], all[len(all)-1]}, nil
}

// timed makes a function that measure can run.
func timed(f func(i int) error) func(int) (time.Duration, error) {
	return func(i int) (time.Duration, error) {
		begun := time.Now()
		err := f(i)
		return time.Since(begun), err
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.home == "" {
		if o.home, err = os.MkdirTemp("", "firekeep-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.home)
	}
	h, err := openHome(ctx, o.home)
	if err != nil {
		return err
	}
	defer h.close()
	var r result
	for _, part := range []func(context.Context, options, *result) error{h.starts, h.writes, h.signs, h.waits} {
		if err := part(ctx, o, &r); err != nil {
			return err
		}
	}
	// A step mints credentials and opens keys before it reads, and signs before
	// its checkpoint is shown: two phases that wait, once each.
	r.Phases, r.WaitsPerPhase = 2, 1
	seal := max(0, r.SealedWrite.Median-r.PlainWrite.Median)
	r.StepMs = r.SandboxStart.Median + float64(o.points+1)*seal + r.Sign.Median + float64(r.Phases*r.WaitsPerPhase)*r.AuditWait.Median
	r.Share = r.StepMs / (stepSeconds * 1000)
	r.Holds = r.Share <= maxShare && r.SandboxStart.Median <= float64(maxStartTime.Milliseconds())
	r.print(o)
	if o.json != "" {
		raw, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(o.json, append(raw, '\n'), 0o644); err != nil {
			return err
		}
	}
	if !r.Holds {
		return errors.New("a limit is missed")
	}
	return nil
}

func (r result) print(o options) {
	line := func(what string, s spread) { fmt.Printf("%-44s %9.2f ms  (worst %.2f)\n", what, s.Median, s.Worst) }
	line("sandbox: start of an engine child", r.SandboxStart)
	line("  until it has passed its self-tests", r.ColdToHello)
	line(fmt.Sprintf("write of a resume point, %d MB, plain", 3*o.adapter/1_000_000), r.PlainWrite)
	line("  the same, sealed", r.SealedWrite)
	line("sign a checkpoint (bundle, provenance, BOM)", r.Sign)
	line("audit: wait of one phase until logged", r.AuditWait)
	fmt.Printf("%-44s %9.2f ms  = %.2f %% of a %d s step (limit %.0f %%): sandbox + %d x sealing + signing + %d audit waits\n", "whole step", r.StepMs, 100*r.Share, stepSeconds,
		100*maxShare, o.points+1, r.Phases*r.WaitsPerPhase)
}

// home is the durable part of a server.
type home struct {
	dir     string
	db      *store.DB
	log     *audit.Log
	bucket  objstore.Bucket
	catalog *catalog.Vault
	account store.Account
}

func openHome(ctx context.Context, dir string) (*home, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	h := &home{dir: dir}
	kek, err := seal.OpenOrCreateKeyring(filepath.Join(dir, "keyring.json"))
	if err != nil {
		return nil, err
	}
	if h.db, err = store.Open(ctx, filepath.Join(dir, "firekeep.db")); err != nil {
		return nil, err
	}
	if h.account, err = h.db.CreateAccount(ctx, store.Account{ID: "main"}, store.Act{Actor: "bench", Method: "CreateAccount"}); err != nil {
		return nil, err
	}
	if h.log, err = audit.Start(ctx, audit.Config{DB: h.db, KEK: kek, Dir: filepath.Join(dir, "audit")}); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(dir, "bucket"), 0o700); err != nil {
		return nil, err
	}
	if h.bucket, err = objstore.OpenDir(filepath.Join(dir, "bucket")); err != nil {
		return nil, err
	}
	keys := custody.New(custody.Config{DB: h.db, Dir: filepath.Join(dir, "keys"), Host: kek, Audit: h.log})
	h.catalog = catalog.NewVault(h.bucket, keys)
	return h, nil
}

func (h *home) close() {
	h.bucket.Close()
	h.log.Close()
	h.db.Close()
}

// starts launches engine children as a step does.
func (h *home) starts(ctx context.Context, o options, r *result) error {
	program, err := sandbox.OpenProgram(o.engine)
	if err != nil {
		return err
	}
	defer program.Close()
	stage, err := sandbox.OpenProgram(o.stage)
	if err != nil {
		return err
	}
	defer stage.Close()
	host := &broker.Host{Launcher: sandbox.NewWith(sandbox.Options{Stage: stage}), Engine: program, Build: "bench"}
	var hello []float64
	r.SandboxStart, err = measure(21, func(int) (time.Duration, error) {
		begun := time.Now()
		child, err := host.Start(ctx, broker.Options{Name: "step", Threads: 1})
		if err != nil {
			return 0, err
		}
		defer child.Close()
		hello = append(hello, float64(time.Since(begun))/1e6)
		return child.Report().Took, nil
	})
	slices.Sort(hello)
	if len(hello) > 0 {
		r.ColdToHello = spread{hello[len(hello)/2], hello[len(hello)-1]}
	}
	return err
}

// files are those of a resume point; they do not compress.
func files(adapter int) []catalog.File {
	data := make([]byte, 3*adapter)
	rand.Read(data)
	return []catalog.File{{Name: catalog.FileConfig, Data: []byte(`{}`)}, {Name: catalog.FileAdapter, Data: data[:adapter]}, {Name: catalog.FileOptimizer, Data: data[adapter:]}}
}

// writes puts the same files in place plain and sealed, in turns.
func (h *home) writes(ctx context.Context, o options, r *result) error {
	list := files(o.adapter)
	for i, f := range list { // the runner has the digests already
		list[i].SHA256 = provenance.Sum(f.Data)
	}
	plain := func(i int) error {
		for _, f := range list {
			file, err := os.Create(filepath.Join(h.dir, fmt.Sprintf("plain-%d-%s", i, f.Name)))
			if err != nil {
				return err
			}
			_, err = file.Write(f.Data)
			if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
				return err
			}
		}
		return nil
	}
	sealed := func(i int) error {
		_, err := h.catalog.Put(ctx, catalog.ResumePrefix(h.account.UID, "job", 1, int64(i)), catalog.Manifest{Kind: "resume-point", Subject: "job"}, list)
		return err
	}
	var plainTimes []time.Duration
	var err error
	r.SealedWrite, err = measure(7, func(i int) (time.Duration, error) {
		d, err := timed(plain)(i)
		if err != nil {
			return 0, err
		}
		plainTimes = append(plainTimes, d)
		return timed(sealed)(i)
	})
	if err != nil {
		return err
	}
	r.PlainWrite, err = measure(len(plainTimes), func(i int) (time.Duration, error) { return plainTimes[i], nil })
	return err
}

// signs makes the three statements of a checkpoint, whose digests are known.
func (h *home) signs(_ context.Context, _ options, r *result) error {
	key, err := seal.NewSigningKey()
	if err != nil {
		return err
	}
	list := catalog.Subjects(files(1000))
	record := provenance.Record{BuildType: provenance.BuildStep, Subjects: list, Builder: provenance.Builder("process"), Started: time.Now(), Ended: time.Now(), ManifestDigest: "sha256:" + provenance.Sum(nil)}
	r.Sign, err = measure(51, timed(func(int) error {
		_, err := provenance.Attest(key, "model", list, record, provenance.BOM{Family: "llama", Trained: true})
		return err
	}))
	return err
}

// waits records acts one after another, as phases do.
func (h *home) waits(ctx context.Context, _ options, r *result) (err error) {
	r.AuditWait, err = measure(101, timed(func(int) error {
		_, err := h.log.Record(ctx, store.Act{Account: "main", Actor: "runner", Method: "MintCredential", Resource: "accounts/main/jobs/x"}, "OK")
		return err
	}))
	return err
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/runner"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/sandbox/embedded"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/server"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// defaultListen is the address of the API.
const defaultListen = "127.0.0.1:8080"

// Times of an orderly stop: requests get the first to end, then jobs are given
// back to the queue.
const (
	drainTime = 5 * time.Second
	stopTime  = 25 * time.Second
)

// serveCmd runs control plane, runner and serving in one process.
type serveCmd struct {
	Listen string `help:"Address of the HTTP API; 127.0.0.1:8080 by default." placeholder:"HOST:PORT"`
	Engine string `help:"Engine program instead of the one inside." placeholder:"PATH" hidden:""`
}

// Run implements a command.
func (c *serveCmd) Run(a *app) error {
	home, err := filepath.Abs(a.home)
	if err != nil {
		return rft.Wrap(rft.KindInvalidArgument, err, "--home is not a path")
	}
	unlock, err := openHome(home)
	if err != nil {
		return err
	}
	defer unlock()
	config, err := loadConfig(home)
	if err != nil {
		return err
	}
	config.defaults(c.Listen, a.Env("HOME"))
	if err := requireKeyring(home, config.dsn(home)); err != nil {
		return err
	}
	forbidCores()
	s := &service{home: home, config: config, version: a.Version, log: newLog(a, config.LogLevel), env: a.Env}
	defer s.close()
	wrote, err := s.open(a.ctx, c.Engine)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", config.Listen)
	if err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "cannot listen on %s: %s", config.Listen, cause(err))
	}
	if wrote != "" {
		fmt.Fprintf(a.Stdout, "wrote the admin key to %s\n", wrote)
	}
	url := "http://" + l.Addr().String()
	fmt.Fprintf(a.Stdout, "ready %s (home %s, account %s)\n", url, home, mainAccount)
	return s.run(a.ctx, l)
}

// cause is the operating system's word for an error, without addresses that the
// message has already.
func cause(err error) string {
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		return sys.Err.Error()
	}
	return "the address cannot be used"
}

// defaults fills in what depends on how the server is started.
func (c *Config) defaults(listen, userHome string) {
	if listen != "" {
		c.Listen = listen
	}
	if c.Listen == "" {
		c.Listen = defaultListen
	}
	host, _, _ := net.SplitHostPort(c.Listen)
	if c.FileRoots == nil && loopback(host) && filepath.IsAbs(userHome) && filepath.Clean(userHome) != "/" {
		c.FileRoots = []string{filepath.Clean(userHome)}
	}
	if c.Uploads == "" {
		c.Uploads = control.UploadsSealed
	}
	switch c.HubURL {
	case "":
		c.HubURL = defaultHub
	case "-":
		c.HubURL = ""
	}
	if c.Cores == 0 {
		c.Cores = runtime.NumCPU()
	}
}

func newLog(a *app, level string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // checked with the config; "" is info
	return slog.New(slog.NewJSONHandler(a.Stderr, &slog.HandlerOptions{Level: l}))
}

// service is everything that serve puts together. Fields are closed in the
// opposite order of their opening.
type service struct {
	home    string
	config  Config
	version string
	log     *slog.Logger
	env     func(string) string

	db     *store.DB
	engine *sandbox.Program
	router *serving.Router
	runner *runner.Runner
	http   *server.Server
	closes []func()
}

func (s *service) onClose(f func()) { s.closes = append(s.closes, f) }

func (s *service) close() {
	for i := len(s.closes) - 1; i >= 0; i-- {
		s.closes[i]()
	}
}

// open opens the home and builds the parts. It returns the path of the admin key
// when it wrote one.
func (s *service) open(ctx context.Context, enginePath string) (wrote string, err error) {
	kek, err := seal.OpenOrCreateKeyring(filepath.Join(s.home, keyringFile))
	if err != nil {
		return "", rft.Wrap(rft.KindFailedPrecondition, err, "the keyring %s cannot be opened", filepath.Join(s.home, keyringFile))
	}
	if s.db, err = store.Open(ctx, s.config.dsn(s.home)); err != nil {
		return "", err
	}
	s.onClose(func() { s.db.Close() })
	cat, err := openCatalog(s.home, s.db, kek)
	if err != nil {
		return "", err
	}
	s.onClose(func() { cat.Vault().Home().Close() })
	if wrote, err = bootstrap(ctx, s.db, s.home); err != nil {
		return "", err
	}
	if s.engine, err = embedded.Engine(enginePath); err != nil {
		return "", err
	}
	s.onClose(func() { s.engine.Close() })
	host := &broker.Host{Launcher: sandbox.New(), Engine: s.engine, Build: s.version, Log: s.log}
	shares := serving.NewShares(s.config.Cores, s.config.SamplingShare)
	s.router = serving.NewRouter(host, control.Models{Catalog: cat}, serving.Options{MaxSequences: s.config.MaxSequences, CacheBytes: s.config.CacheBytes, Shares: shares})
	s.onClose(func() { s.router.Close() })
	s.runner = runner.New(s.runnerConfig(cat, kek, host, shares))
	ops := &control.Control{DB: s.db, Keys: &authz.Keys{DB: s.db, Operator: mainAccount}, Catalog: cat, Jobs: job.New(cat), Router: s.router, KEK: kek, Log: s.log,
		Uploads: s.config.Uploads, StrictAccelerators: s.config.Accelerators == "strict",
		ManualDeployments: s.config.AutoDeploy != nil && !*s.config.AutoDeploy,
		Files:             control.FilePolicy{Roots: s.config.FileRoots, Never: []string{s.home}}}
	tracer, stop, err := newTracer(ctx, s.env, s.version)
	if err != nil {
		return "", err
	}
	s.onClose(stop)
	s.http = server.New(server.Options{Control: ops, Log: s.log, Tracer: tracer, Ready: s.db.Ping, Version: s.version})
	return wrote, nil
}

// openCatalog opens the home bucket and the directory of base models.
func openCatalog(home string, db *store.DB, kek seal.KEK) (*catalog.Catalog, error) {
	if err := os.MkdirAll(filepath.Join(home, bucketDir), 0o700); err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "the home bucket cannot be created")
	}
	bucket, err := objstore.OpenDir(filepath.Join(home, bucketDir))
	if err != nil {
		return nil, err
	}
	bases, err := catalog.NewBases(filepath.Join(home, modelsDir))
	if err != nil {
		return nil, err
	}
	return catalog.New(db, catalog.NewVault(bucket, kek), bases), nil
}

func (s *service) runnerConfig(cat *catalog.Catalog, kek seal.KEK, host *broker.Host, shares *serving.Shares) runner.Config {
	return runner.Config{
		DB: s.db, Catalog: cat, Host: host, Log: s.log, Objects: s.config.objstore(),
		Identity: catalog.Credentials(s.db, kek),
		// The lock on the home makes the name unique.
		ID: "embedded", Steps: s.config.Steps, Threads: s.config.Cores, Shares: shares, MemoryBytes: s.config.StepMemoryBytes, Level: s.config.KernelLevel, HubURL: s.config.HubURL,
	}
}

// run serves until ctx ends, then stops in order: no new requests, requests in
// work end, jobs go back to the queue, children end.
func (s *service) run(ctx context.Context, l net.Listener) error {
	h := s.http.HTTPServer()
	running, stopRunner := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRunner()
	failed := make(chan error, 2)
	runnerDone := make(chan struct{})
	go func() {
		defer close(runnerDone)
		if err := s.runner.Run(running); err != nil {
			failed <- err
		}
	}()
	go func() {
		if err := h.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- rft.Wrap(rft.KindUnavailable, err, "the HTTP server failed")
		}
	}()
	s.log.Info("ready", "listen", l.Addr().String(), "version", s.version, "engine", s.engine.SHA256())
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.log.Info("stopping")
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if h.Shutdown(drain) != nil {
		h.Close()
	}
	stopRunner()
	select {
	case <-runnerDone:
	case <-time.After(stopTime):
		s.log.Warn("a job did not end in time; its lease will run out")
	}
	return err
}

// otelEndpoint names where traces go; nothing is traced without it.
const otelEndpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"

// shown is a URL without user and query, for messages.
func shown(url string) string {
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		url = url[:i]
	}
	if i := strings.LastIndexByte(url, '@'); i >= 0 {
		return "..." + url[i:]
	}
	return url
}

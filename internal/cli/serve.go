package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/firekeep/firekeep/internal/audit"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/broker"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/runner"
	"github.com/firekeep/firekeep/internal/sandbox"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/server"
	"github.com/firekeep/firekeep/internal/server/rpc"
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
	listenFlags `embed:""`

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
	c.apply(&config)
	config.defaults(a.Env("HOME"))
	if err := requireKeyring(home, config.dsn(home)); err != nil {
		return err
	}
	forbidCores()
	l, err := config.open()
	if err != nil {
		return err
	}
	defer l.close()
	s := &service{home: home, config: config, version: a.Version, log: newLog(a, config.LogLevel), env: a.Env}
	defer s.close()
	wrote, err := s.open(a.ctx, c.Engine, l)
	if err != nil {
		return err
	}
	if wrote != "" {
		fmt.Fprintf(a.Stdout, "wrote the admin key to %s\n", wrote)
	}
	fmt.Fprintf(a.Stdout, "ready %s (home %s, account %s)\n", l.url(), home, mainAccount)
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
func (c *Config) defaults(userHome string) {
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
	audit  *audit.Log
	keys   *custody.Keys
	broker *identity.Broker
	issuer *issuer.Issuer
	engine *sandbox.Program
	host   *broker.Host
	router *serving.Router
	runner *runner.Runner
	ops    *control.Control
	http   *server.Server
	grpc   *grpc.Server
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
func (s *service) open(ctx context.Context, enginePath string, l *listeners) (wrote string, err error) {
	kek, err := seal.OpenOrCreateKeyring(filepath.Join(s.home, keyringFile))
	if err != nil {
		return "", rft.Wrap(rft.KindFailedPrecondition, err, "the keyring %s cannot be opened", filepath.Join(s.home, keyringFile))
	}
	if s.db, err = store.Open(ctx, s.config.dsn(s.home)); err != nil {
		return "", err
	}
	s.onClose(func() { s.db.Close() })
	if err := s.openAudit(ctx, kek); err != nil {
		return "", err
	}
	s.keys = openKeys(s.home, s.config, s.db, kek)
	s.keys.Log, s.keys.Audit = s.log, s.audit
	cat, err := openCatalog(s.home, s.db, s.keys)
	if err != nil {
		return "", err
	}
	cat.Audit = s.audit
	s.onClose(func() { cat.Close(); cat.Vault().Home().Close() })
	if wrote, err = bootstrap(ctx, s.db, s.home); err != nil {
		return "", err
	}
	if err := publishSigningKey(ctx, cat.SigningKeys(), s.home); err != nil {
		return "", err
	}
	program, launcher, free, err := s.config.Sandbox.programs(enginePath)
	if err != nil {
		return "", err
	}
	s.engine = program
	s.onClose(free)
	host := &broker.Host{Launcher: launcher, Engine: s.engine, Build: s.version, Log: s.log,
		Isolation: s.config.Sandbox.level(), Require: s.config.Sandbox.RequireLayers, CPUs: s.config.Cores, Speedup: openSpeedups(s.home, s.log).keep}
	s.host = host
	shares := serving.NewShares(s.config.Cores, s.config.SamplingShare)
	s.router = serving.NewRouter(host, control.Models{Catalog: cat, Stop: func(account string) { s.router.Stop(account, "") }}, serving.Options{MaxSequences: s.config.MaxSequences, MaxRequests: s.config.MaxSamplingRequests, Int8: s.config.SamplingInt8, CacheBytes: s.config.CacheBytes, Shares: shares,
		Level: s.config.KernelLevel, Precision: s.config.precision()})
	s.onClose(func() { s.router.Close() })
	if err := s.openIdentity(ctx, kek, s.audit); err != nil {
		return "", err
	}
	if err := s.mirrorAudit(s.broker); err != nil {
		return "", err
	}
	operator, err := operatorKey(s.home)
	if err != nil {
		return "", err
	}
	keys := &authz.Keys{DB: s.db, Operator: mainAccount, OperatorKeys: [][]byte{operator}, Defaults: s.config.Quotas.limits()}
	s.runner = runner.New(s.runnerConfig(cat, keys, host, shares))
	s.ops = &control.Control{DB: s.db, Audit: s.audit, Keys: keys, Tokens: &authz.Federation{AllowAddresses: s.config.AllowAddresses}, Shred: cat.Shred, Catalog: cat, Jobs: job.New(cat), Router: s.router, KEK: kek, Log: s.log,
		Broker: s.broker, Objects: s.config.objstore(), Issuer: s.issuer,
		Uploads: s.config.Uploads, StrictAccelerators: s.config.Accelerators == "strict",
		ManualDeployments: s.config.AutoDeploy != nil && !*s.config.AutoDeploy,
		Files:             control.FilePolicy{Roots: s.config.FileRoots, Never: []string{s.home}}}
	tracer, stop, err := newTracer(ctx, s.env, s.version)
	if err != nil {
		return "", err
	}
	s.onClose(stop)
	s.http = server.New(server.Options{Control: s.ops, Log: s.log, Tracer: tracer, Ready: s.db.Ping, Version: s.version, Hosts: l.hosts, PublicURL: s.config.PublicURL})
	s.grpc = rpc.New(rpc.Options{Control: s.ops, Log: s.log, TLS: l.tlsConfig(), Allow: s.http.AllowHost, BaseURL: func(authority string, front bool) string {
		if !front {
			authority = l.httpAuthority(authority)
		}
		return s.http.BaseURL(authority, l.certs != nil)
	}})
	if l.noGRPC != nil {
		s.log.Warn("no gRPC service; --grpc-listen names another address", "reason", rft.PublicMessage(l.noGRPC))
	}
	if l.certs != nil {
		l.certs.Failed = func(err error) { s.log.Error("the certificate was not changed", "reason", rft.PublicMessage(err)) }
	}
	return wrote, nil
}

// openCatalog opens the home bucket and the directory of base models.
func openCatalog(home string, db *store.DB, keys *custody.Keys) (*catalog.Catalog, error) {
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
	return catalog.New(db, catalog.NewVault(bucket, keys), bases), nil
}

func (s *service) runnerConfig(cat *catalog.Catalog, keys *authz.Keys, host *broker.Host, shares *serving.Shares) runner.Config {
	return runner.Config{
		DB: s.db, Catalog: cat, Host: host, Log: s.log, Audit: s.audit, Objects: s.config.objstore(),
		Identity: s.broker, Router: s.router,
		// The lock on the home makes the name unique.
		ID: "embedded", Steps: s.config.Steps, Threads: s.config.Cores, Shares: shares, MemoryBytes: s.config.StepMemoryBytes, Level: s.config.KernelLevel, Precision: s.config.precision(), HubURL: s.config.HubURL,
		Registries:   s.config.Registries,
		StorageBytes: func(a store.Account) int64 { return keys.LimitsOf(a).StorageBytes },
	}
}

// chooseKernels tests the processor before the first job waits for it.
func (s *service) chooseKernels(ctx context.Context) {
	c, err := s.host.Choose(ctx, s.config.KernelLevel, s.config.precision())
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.log.Error("no kernels for this configuration; jobs will fail", "error", err)
	default:
		s.log.Info("kernels", "level", c.Level, "precision", c.Precision, "reason", c.Reason)
	}
}

// run serves until ctx ends, then stops in order: no new requests, requests in
// work end, jobs go back to the queue, children end.
func (s *service) run(ctx context.Context, l *listeners) error {
	h := s.http.HTTPServer()
	h.Handler = rpc.Front(s.grpc, h.Handler)
	running, stopRunner := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRunner()
	failed := make(chan error, 3)
	runnerDone := make(chan struct{})
	go s.keys.Run(running)
	go s.chooseKernels(running)
	go s.ops.KeepConnections(running, nil)
	go s.ops.KeepDeployments(running, nil)
	go func() {
		defer close(runnerDone)
		if err := s.runner.Run(running); err != nil {
			failed <- err
		}
	}()
	go func() {
		if err := l.serveHTTP(h); err != nil {
			failed <- err
		}
	}()
	go func() {
		if err := l.serveGRPC(s.grpc); err != nil {
			failed <- err
		}
	}()
	s.log.Info("ready", "listen", l.String(), "version", s.version, "engine", s.engine.SHA256())
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
	stopGRPC(drain, s.grpc)
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

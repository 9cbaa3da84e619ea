// Package server is the HTTP skin of Firekeep: it reads requests, names the
// caller, calls the one method of package control that does the work, and
// writes the answer or the error in the shapes of the wire contract. It holds no
// logic of its own.
package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
)

// Limits bound what one request may cost.
const (
	maxBody       = 4 << 20          // a control plane request
	maxInference  = 32 << 20         // a chat, prompts included
	maxUpload     = 150 << 20        // a file, as in the contract
	readTimeout   = 60 * time.Second // of a JSON body
	uploadTimeout = 30 * time.Minute
	writeStall    = 60 * time.Second // a client that takes no bytes for so long is gone
	answerTimeout = 10 * time.Minute // of writing a whole answer
	maxStreams    = 256              // at once in one HTTP/2 connection
	quiet         = 20 * time.Second // after which a slow answer shows a sign of life
)

// Options configure a Server.
type Options struct {
	Control *control.Control
	Log     *slog.Logger
	// Tracer makes spans; nil = none.
	Tracer trace.Tracer
	// Ready reports whether the process can serve; nil = always.
	Ready func(context.Context) error
	// Hosts are the names by which the server may be called, beside localhost and
	// addresses.
	Hosts []string
	// PublicURL is what URLs of the server begin with where that is not the address
	// that clients call: behind a proxy. "" = the address they call.
	PublicURL string
	// Version is shown by /metrics.
	Version string
}

// Server is an http.Handler.
type Server struct {
	control *control.Control
	log     *slog.Logger
	tracer  trace.Tracer
	ready   func(context.Context) error
	table   *table
	metrics *metrics
	quiet   time.Duration // see keepAwake
	hosts   hosts
	public  string
	// closing ends when the server begins to stop.
	closing context.Context
	close   context.CancelFunc
	// strangers meters what is done for callers without a key.
	strangers meter
	// observe wraps the context of each request; tests count with it.
	observe func(context.Context, *route) context.Context
}

// New makes a Server.
func New(o Options) *Server {
	s := &Server{control: o.Control, log: o.Log, tracer: o.Tracer, ready: o.Ready, quiet: quiet, public: strings.TrimSuffix(o.PublicURL, "/"), metrics: newMetrics(o.Version, o.Control)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.tracer == nil {
		s.tracer = noop.NewTracerProvider().Tracer("")
	}
	s.table = newTable(s.routes())
	s.closing, s.close = context.WithCancel(context.Background())
	s.hosts = hosts{}
	for _, name := range o.Hosts {
		s.hosts[strings.ToLower(strings.TrimSuffix(name, "."))] = true
	}
	return s
}

// HTTPServer returns an http.Server for s with its timeouts set: a client that
// sends its header slowly, or its body (readTimeout), or takes its answer slowly
// (writeStall, answerTimeout), is gone.
func (s *Server) HTTPServer() *http.Server {
	// HTTP/2 without TLS too: gRPC speaks it, and may come by this address.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	h := &http.Server{
		Handler: s, Protocols: protocols, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: 2 * time.Minute, PingTimeout: 20 * time.Second},
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	h.RegisterOnShutdown(s.close)
	return h
}

// request is one request on its way through a handler.
type request struct {
	s      *Server
	w      *answer
	r      *http.Request
	id     string
	params map[string]string
	caller control.Caller
	shape  errorShape
	log    *slog.Logger
}

func (rq *request) ctx() context.Context { return rq.r.Context() }

// answer remembers what was written, for logs and metrics.
type answer struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	n, err := a.ResponseWriter.Write(b)
	a.bytes += int64(n)
	return n, err
}

func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	rq := &request{s: s, w: &answer{ResponseWriter: w}, r: r, id: requestID(r)}
	rq.log = s.log.With("request_id", rq.id)
	h := w.Header()
	h.Set("X-Request-Id", rq.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")

	rt, params, allow := s.table.find(r.Method, r.URL.EscapedPath())
	name := "unmatched"
	if rt != nil {
		rq.params, rq.shape, name = params, rt.Kind, rt.Pattern
	} else {
		rq.shape = shapeOf(r.URL.Path)
	}
	ctx, span := s.tracer.Start(r.Context(), r.Method+" "+name, trace.WithSpanKind(trace.SpanKindServer))
	rq.r = r.WithContext(ctx)
	defer func() {
		cut := recover()
		if cut != nil && cut != http.ErrAbortHandler {
			s.recovered(rq, cut)
			cut = nil
		}
		span.SetAttributes(attribute.String("http.route", name), attribute.Int("http.response.status_code", rq.w.status))
		span.End()
		s.metrics.request(r.Method, name, rq.w.status, time.Since(start))
		rq.log.InfoContext(ctx, "request", "method", r.Method, "route", name, "status", rq.w.status, "bytes", rq.w.bytes,
			"ms", time.Since(start).Milliseconds(), "caller", rq.caller.Principal)
		if cut != nil {
			panic(cut)
		}
	}()
	if err := s.serve(rq, rt, allow); err != nil {
		s.logFailure(rq, err)
		if rq.w.status == 0 {
			rq.writeError(err)
		}
	}
}

// sayRoom tells a caller whose account has a limit what is left of it, in the
// headers that clients of OpenAI's read. Tokens are not limited, so nothing is said
// of them.
func (rq *request) sayRoom() {
	limit, left, full, ok := rq.s.control.Room(rq.caller)
	if !ok {
		return
	}
	h := rq.w.Header()
	h.Set("X-Ratelimit-Limit-Requests", strconv.FormatInt(limit, 10))
	h.Set("X-Ratelimit-Remaining-Requests", strconv.FormatInt(left, 10))
	h.Set("X-Ratelimit-Reset-Requests", full.Round(time.Millisecond).String())
}

// serve authenticates, then runs the route.
func (s *Server) serve(rq *request, rt *route, allow []string) error {
	if err := s.guard(rq.r); err != nil {
		return err
	}
	if rt != nil && rt.public() {
		return rt.Handle(rq)
	}
	p, err := s.control.Authenticate(rq.ctx(), bearer(rq.r))
	if err != nil {
		return err
	}
	rq.caller = control.NewCaller(p, clientIP(rq.r), clip(rq.r.UserAgent(), 200))
	err = s.control.Admit(rq.caller)
	rq.sayRoom()
	if err != nil {
		return err
	}
	if rt == nil {
		return s.unmatched(rq, allow)
	}
	if s.observe != nil {
		rq.r = rq.r.WithContext(s.observe(rq.ctx(), rt))
	}
	return rt.Handle(rq)
}

// unmatched answers for paths that are not there.
func (s *Server) unmatched(rq *request, allow []string) error {
	path := rq.r.URL.EscapedPath()
	listed, _, _ := contract.find(rq.r.Method, path)
	if reason, known := unsupported(rq.r.Method, path); known && (listed != nil || len(allow) == 0) {
		return rft.Errorf(rft.KindUnimplemented, "%s", reason)
	}
	if len(allow) > 0 {
		rq.w.Header().Set("Allow", strings.Join(allow, ", "))
		return &statusError{http.StatusMethodNotAllowed, rft.Errorf(rft.KindUnimplemented, "method not allowed here; use %s", strings.Join(allow, " or "))}
	}
	if !isServedModel(path) {
		rq.shape = controlPlane // "model not found" would send its reader the wrong way
	}
	return rft.Errorf(rft.KindNotFound, "path not found; inference is under /v1/ and /inference/v1/, everything else under /v1/accounts/")
}

func (s *Server) recovered(rq *request, cut any) {
	// The value of a panic may quote content; its type and the stack do not.
	what := fmt.Sprintf("%T", cut)
	rq.log.ErrorContext(rq.ctx(), "panic in a handler", "type", what, "stack", string(debug.Stack()))
	if rq.w.status == 0 {
		rq.writeError(rft.Errorf(rft.KindInternal, "internal error"))
	}
}

// logFailure logs the cause of an error that the answer does not show.
func (s *Server) logFailure(rq *request, err error) {
	kind := rft.KindOf(err)
	level := slog.LevelDebug
	if kind.HTTPStatus() >= 500 {
		level = slog.LevelError
	}
	attrs := []any{"kind", string(kind), "message", rft.PublicMessage(err)}
	if cause := errors.Unwrap(err); cause != nil && kind.HTTPStatus() >= 500 {
		attrs = append(attrs, "cause", cause.Error())
	}
	rq.log.Log(rq.ctx(), level, "request failed", attrs...)
}

// bearer returns the key of a request, from either header of the contract.
func bearer(r *http.Request) string {
	if h := r.Header.Get("Authorization"); h != "" {
		scheme, key, ok := strings.Cut(h, " ")
		if ok && strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(key)
		}
	}
	return strings.TrimSpace(r.Header.Get("X-Api-Key"))
}

// requestID is the client's x-request-id when it is harmless, else a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id != "" && len(id) <= 128 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") == "" {
		return id
	}
	var b [12]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return host
}

func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.ToValidUTF8(s, "?")
}

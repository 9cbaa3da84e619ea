// Package rpc is the gRPC skin of Firekeep: the service of the Build SDK over
// the same operations as HTTP. It holds no logic of its own. Methods that the
// SDK has and this server does not answer UNIMPLEMENTED, to callers with a key
// only, like every other method.
package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/server/gatewaypb"
	"github.com/firekeep/firekeep/internal/serving"
)

// Limits bound what one connection and one call may cost. Clients of the SDK
// refuse answers of more than 4 MiB.
const (
	maxMessage     = 4 << 20
	maxStreams     = 256
	connectTimeout = 10 * time.Second
	callTimeout    = 2 * time.Minute
)

// Options configure a server.
type Options struct {
	Control *control.Control
	Log     *slog.Logger
	// TLS is the configuration of the listener; nil = plaintext HTTP/2, which the
	// SDK speaks on every port but 443.
	TLS *tls.Config
	// Allow says by which names the server may be called; nil = any.
	Allow func(host string) bool
	// BaseURL is what URLs of the HTTP API begin with for a client that called
	// authority: on the address of gRPC alone, or (front) on that of HTTP. nil =
	// http:// and the authority.
	BaseURL func(authority string, front bool) string
	// Observe wraps the context of each call; tests count with it. nil = none.
	Observe func(context.Context) context.Context
}

// skin implements the service.
type skin struct {
	gatewaypb.UnimplementedGatewayServer
	control *control.Control
	log     *slog.Logger
	allow   func(string) bool
	observe func(context.Context) context.Context
	base    func(string, bool) string
}

// New makes a gRPC server.
func New(o Options) *grpc.Server {
	s := &skin{control: o.Control, log: o.Log, allow: o.Allow, observe: o.Observe, base: o.BaseURL}
	if s.base == nil {
		s.base = func(authority string, _ bool) string { return "http://" + authority }
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	opts := []grpc.ServerOption{
		grpc.UnaryInterceptor(s.unary),
		grpc.StreamInterceptor(s.stream),
		grpc.UnknownServiceHandler(unimplemented),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(64 << 10), grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 10 * time.Minute, Time: 2 * time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	}
	if o.TLS != nil {
		c := o.TLS.Clone()
		c.NextProtos = []string{"h2"}
		opts = append(opts, grpc.Creds(credentials.NewTLS(c)))
	}
	g := grpc.NewServer(opts...)
	gatewaypb.RegisterGatewayServer(g, s)
	return g
}

// Front serves gRPC on the address of HTTP too: what is gRPC goes to g, the rest
// to next.
func Front(g *grpc.Server, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || !isGRPC(r.Header.Get("Content-Type")) {
			next.ServeHTTP(w, r)
			return
		}
		g.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), frontKey{}, true)))
	})
}

// isGRPC reports whether a media type is that of a gRPC call: application/grpc,
// or that with the name of an encoding.
func isGRPC(media string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(media), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

type frontKey struct{}

// baseURL is what URLs of the HTTP API begin with, for the caller.
func (s *skin) baseURL(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	front, _ := ctx.Value(frontKey{}).(bool)
	return s.base(first(md, ":authority"), front)
}

type callerKey struct{}

// caller is who makes the call; the interceptors put it there.
func caller(ctx context.Context) control.Caller {
	who, _ := ctx.Value(callerKey{}).(control.Caller)
	return who
}

// admit authenticates a call and takes it from its account's rate.
func (s *skin) admit(ctx context.Context) (control.Caller, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	if host := first(md, ":authority"); s.allow != nil && !s.allow(host) {
		return control.Caller{}, rft.Errorf(rft.KindInvalidArgument, "this server does not go by that name")
	}
	key, err := keyOf(md)
	if err != nil {
		return control.Caller{}, err
	}
	p, err := s.control.Authenticate(ctx, key)
	if err != nil {
		return control.Caller{}, err
	}
	agent := first(md, "user-agent")
	who := control.NewCaller(p, peerIP(ctx), strings.ToValidUTF8(agent[:min(len(agent), 200)], "?"))
	return who, s.control.Admit(who)
}

// keyOf is the key of a call: of x-api-key, which the SDK sends twice in some
// calls, or of authorization. Values that differ are refused, not chosen from.
func keyOf(md metadata.MD) (string, error) {
	var keys []string
	keys = append(keys, md.Get("x-api-key")...)
	for _, h := range md.Get("authorization") {
		scheme, key, ok := strings.Cut(h, " ")
		if !ok || !strings.EqualFold(scheme, "Bearer") {
			return "", rft.Errorf(rft.KindUnauthenticated, "authorization must be a Bearer key")
		}
		keys = append(keys, strings.TrimSpace(key))
	}
	for _, k := range keys {
		if k != keys[0] {
			return "", rft.Errorf(rft.KindUnauthenticated, "the call carries two different keys")
		}
	}
	if len(keys) == 0 {
		return "", rft.Errorf(rft.KindUnauthenticated, "an API key is required, in the metadata x-api-key")
	}
	return keys[0], nil
}

func first(md metadata.MD, key string) string {
	if v := md.Get(key); len(v) > 0 {
		return v[0]
	}
	return ""
}

func peerIP(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return ""
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return ""
	}
	return host
}

// unary runs one call.
func (s *skin) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (out any, err error) {
	start := time.Now()
	var who control.Caller
	defer func() {
		if cut := recover(); cut != nil {
			// The value of a panic may quote content; the stack does not.
			s.log.ErrorContext(ctx, "panic in a handler", "stack", string(debug.Stack()))
			out, err = nil, status.Error(codes.Internal, "internal error")
		}
		s.log.InfoContext(ctx, "call", "method", info.FullMethod, "code", status.Code(err).String(), "ms", time.Since(start).Milliseconds(), "caller", who.Principal)
	}()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if s.observe != nil {
		ctx = s.observe(ctx)
	}
	if who, err = s.admit(ctx); err == nil {
		out, err = handler(context.WithValue(ctx, callerKey{}, who), req)
	}
	if err == nil {
		err = s.control.Logged(ctx, who)
	}
	if err != nil {
		return nil, s.status(ctx, err)
	}
	mask(out, req)
	return out, nil
}

// stream authenticates what is no method of the service.
func (s *skin) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if _, err := s.admit(ss.Context()); err != nil {
		return s.status(ss.Context(), err)
	}
	return handler(srv, ss)
}

func unimplemented(any, grpc.ServerStream) error {
	return status.Error(codes.Unimplemented, "this server does not have this method")
}

// status is an error as gRPC has it: the kind's code and the public message.
func (s *skin) status(ctx context.Context, err error) error {
	kind := rft.KindOf(err)
	if kind.HTTPStatus() >= 500 {
		s.log.ErrorContext(ctx, "call failed", "kind", string(kind), "message", rft.PublicMessage(err), "cause", causeOf(err))
	}
	var busy *serving.Busy
	if errors.As(err, &busy) {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("retry-after", strconv.Itoa(max(1, int(busy.After.Seconds())))))
	}
	return status.Error(codes.Code(kind.GRPCCode()), rft.PublicMessage(err))
}

func causeOf(err error) string {
	if cause := errors.Unwrap(err); cause != nil {
		return cause.Error()
	}
	return ""
}

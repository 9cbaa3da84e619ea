package cli

import (
	"context"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/firekeep/firekeep/internal/rft"
)

// newTracer exports spans by OTLP over HTTP when the operator names an endpoint;
// otherwise nothing is traced. Spans hold routes and statuses.
func newTracer(ctx context.Context, env func(string) string, version string) (trace.Tracer, func(), error) {
	endpoint := env(otelEndpoint)
	if endpoint == "" {
		return noop.NewTracerProvider().Tracer(""), func() {}, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, nil, rft.FieldErrorf(otelEndpoint, "%s: %s is not an http URL", otelEndpoint, shown(endpoint))
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.JoinPath("v1", "traces").String()))
	if err != nil {
		return nil, nil, rft.Wrap(rft.KindUnavailable, err, "traces cannot be exported to %s", shown(endpoint))
	}
	p := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(resource.NewSchemaless(
		attribute.String("service.name", "firekeep"), attribute.String("service.version", version))))
	stop := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = p.Shutdown(ctx) // what is not sent by now is lost
	}
	return p.Tracer("github.com/firekeep/firekeep"), stop, nil
}

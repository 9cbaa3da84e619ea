package server

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/firekeep/firekeep/internal/control"
)

// metrics are this server's own: a registry per Server, and labels that are
// route patterns, states and codes only, never a name that a user chose.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	sampled  *prometheus.CounterVec
	handler  http.Handler
}

func newMetrics(version string, c *control.Control) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "firekeep_http_requests_total", Help: "Requests by route and status."},
			[]string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "firekeep_http_request_seconds", Help: "Time until the answer was complete.",
			Buckets: []float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30, 100}}, []string{"route"}),
		sampled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "firekeep_tokens_total", Help: "Tokens of inference."}, []string{"kind"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "firekeep_build_info", Help: "1; the label is the version.", ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.seconds, m.sampled, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if c != nil {
		m.registry.MustRegister(jobCollector{c}, auditCollector{c}, loadCollector{c})
	}
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return m
}

func (m *metrics) request(method, route string, status int, d time.Duration) {
	switch method {
	case "GET", "POST", "DELETE", "PATCH", "PUT", "HEAD", "OPTIONS":
	default:
		method = "other"
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(d.Seconds())
}

func (m *metrics) tokens(prompt, completion int) {
	m.sampled.WithLabelValues("prompt").Add(float64(prompt))
	m.sampled.WithLabelValues("completion").Add(float64(completion))
}

// jobCollector counts jobs by kind and state when it is asked.
type jobCollector struct{ c *control.Control }

var jobsDesc = prometheus.NewDesc("firekeep_jobs", "Jobs by kind and state.", []string{"kind", "state"}, nil)

// Describe implements prometheus.Collector.
func (j jobCollector) Describe(ch chan<- *prometheus.Desc) { ch <- jobsDesc }

// Collect implements prometheus.Collector.
func (j jobCollector) Collect(ch chan<- prometheus.Metric) {
	for _, n := range j.c.CountJobs(context.Background()) {
		ch <- prometheus.MustNewConstMetric(jobsDesc, prometheus.GaugeValue, float64(n.Count), string(n.Kind), string(n.State))
	}
}

// loadCollector counts loads of adapters by what their canary said.
type loadCollector struct{ c *control.Control }

var loadsDesc = prometheus.NewDesc("firekeep_adapter_loads_total", "Loads of adapters by what their canary said: proven, unrecorded, refused.", []string{"canary"}, nil)

// Describe implements prometheus.Collector.
func (l loadCollector) Describe(ch chan<- *prometheus.Desc) { ch <- loadsDesc }

// Collect implements prometheus.Collector.
func (l loadCollector) Collect(ch chan<- prometheus.Metric) {
	n := l.c.AdapterLoads()
	for canary, count := range map[string]int64{"proven": n.Proven, "unrecorded": n.Unrecorded, "refused": n.Refused} {
		ch <- prometheus.MustNewConstMetric(loadsDesc, prometheus.CounterValue, float64(count), canary)
	}
}

func serveMetrics(rq *request) error {
	if err := rq.s.control.MayReadMetrics(rq.ctx(), rq.caller); err != nil {
		return err
	}
	rq.s.metrics.handler.ServeHTTP(rq.w, rq.r)
	return nil
}

package server

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
)

// auditRoutes are the operations on the audit log.
func auditRoutes(cp func(method, pattern string, h func(*request) error) route) []route {
	const logs = "/v1/accounts/{account}/auditLogs"
	return []route{
		cp("GET", logs, listAuditLogs),
		cp("GET", logs+":head", auditHead),
		cp("GET", logs+":export", exportAuditLogs),
		cp("GET", logs+":follow", followAuditLogs),
	}
}

// auditQuery reads the parameters of the audit log's operations.
func (rq *request) auditQuery() (control.AuditQuery, error) {
	list, err := rq.list()
	if err != nil {
		return control.AuditQuery{}, err
	}
	q := control.AuditQuery{ListQuery: list, Email: clip(rq.query("email"), 254), Format: rq.query("format")}
	if q.After, err = rq.after(); err != nil {
		return q, err
	}
	if q.From, err = queryTime("startTime", rq.query("startTime")); err != nil {
		return q, err
	}
	q.To, err = queryTime("endTime", rq.query("endTime"))
	return q, err
}

// queryTime reads a time, the zero one where there is none.
func queryTime(field, s string) (t time.Time, err error) {
	if s == "" {
		return t, nil
	}
	if t, err = time.Parse(time.RFC3339Nano, s); err != nil {
		return t, rft.FieldErrorf(field, "%s: want an RFC 3339 time such as 2026-11-22T00:00:00Z", field)
	}
	return t, nil
}

func listAuditLogs(rq *request) error {
	q, err := rq.auditQuery()
	if err != nil {
		return err
	}
	v, err := rq.s.control.ListAuditLogs(rq.ctx(), rq.caller, rq.params["account"], q)
	return rq.reply(v, err)
}

func auditHead(rq *request) error {
	v, err := rq.s.control.AuditHead(rq.ctx(), rq.caller, rq.params["account"])
	return rq.reply(v, err)
}

// patient writes an answer of any length to a client that keeps taking it.
type patient struct {
	rq    *request
	rc    *http.ResponseController
	begun bool
}

func (p *patient) Write(b []byte) (int, error) {
	p.begun = true
	_ = p.rc.SetWriteDeadline(time.Now().Add(writeStall)) // servers of tests may have no deadlines
	n, err := p.rq.w.Write(b)
	if err != nil {
		return n, rft.Wrap(rft.KindCancelled, err, "the client went away")
	}
	return n, nil
}

// cut ends an answer that failed behind its status, where only a cut connection
// tells of it.
func (p *patient) cut(err error) error {
	if err != nil && p.begun {
		p.rq.s.logFailure(p.rq, err)
		panic(http.ErrAbortHandler)
	}
	return err
}

func exportAuditLogs(rq *request) error {
	q, err := rq.auditQuery()
	if err != nil {
		return err
	}
	write, err := rq.s.control.ExportAuditLogs(rq.ctx(), rq.caller, rq.params["account"], q)
	if err != nil {
		return err
	}
	rq.w.Header().Set("Content-Type", "application/jsonl")
	w := &patient{rq: rq, rc: http.NewResponseController(rq.w)}
	return w.cut(write(w))
}

// followAuditLogs answers with server-sent events: each has the entry's number as
// its id, so that a client that was cut off goes on behind the last one it saw.
func followAuditLogs(rq *request) error {
	q, err := rq.auditQuery()
	if err != nil {
		return err
	}
	if last := rq.r.Header.Get("Last-Event-ID"); last != "" && q.After == 0 {
		if q.After, err = strconv.ParseInt(last, 10, 64); err != nil || q.After < 0 {
			return rft.FieldErrorf("Last-Event-ID", "Last-Event-ID: want the number of an entry")
		}
	}
	ctx, cancel := rq.s.untilClosing(rq.ctx())
	defer cancel()
	run, err := rq.s.control.FollowAuditLogs(ctx, rq.caller, rq.params["account"], q)
	if err != nil {
		return err
	}
	h := rq.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	w := &patient{rq: rq, rc: http.NewResponseController(rq.w)}
	send := func(text []byte) error {
		if _, err := w.Write(text); err != nil {
			return err
		}
		return w.rc.Flush()
	}
	if err := send([]byte(":\n\n")); err != nil { // a comment: the stream has begun
		return w.cut(err)
	}
	return w.cut(run(func(seq int64, line []byte) error {
		var b bytes.Buffer
		b.WriteString("id: " + strconv.FormatInt(seq, 10) + "\ndata: ")
		b.Write(line)
		b.WriteString("\n\n")
		return send(b.Bytes())
	}, func() error { return send([]byte(":\n\n")) }))
}

// untilClosing ends ctx when the server begins to stop: a stream without an end
// would hold it up.
func (s *Server) untilClosing(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

// auditCollector tells of the audit log when it is asked.
type auditCollector struct{ c *control.Control }

var (
	auditEntriesDesc = prometheus.NewDesc("firekeep_audit_entries", "Audit entries by how far they have come: logged, signed, mirrored, waiting.", []string{"state"}, nil)
	auditLagDesc     = prometheus.NewDesc("firekeep_audit_mirror_lag_seconds", "How long the newest tree head has waited to be mirrored.", nil, nil)
	auditFailingDesc = prometheus.NewDesc("firekeep_audit_failing", "1 while the audit log cannot be written.", nil, nil)
	auditFailedDesc  = prometheus.NewDesc("firekeep_audit_failures_total", "Times that the audit log could not be written.", nil, nil)
	auditWaitsDesc   = prometheus.NewDesc("firekeep_audit_waits_total", "Acts that waited to be logged.", nil, nil)
	auditWaitedDesc  = prometheus.NewDesc("firekeep_audit_wait_seconds_total", "What they waited, together.", nil, nil)
)

// Describe implements prometheus.Collector.
func (a auditCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{auditEntriesDesc, auditLagDesc, auditFailingDesc, auditFailedDesc, auditWaitsDesc, auditWaitedDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (a auditCollector) Collect(ch chan<- prometheus.Metric) {
	s, ok := a.c.AuditStats(context.Background())
	if !ok {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(auditEntriesDesc, float64(s.Size), "logged")
	gauge(auditEntriesDesc, float64(s.HeadSize), "signed")
	gauge(auditEntriesDesc, float64(s.Mirrored), "mirrored")
	gauge(auditEntriesDesc, float64(s.Unlogged), "waiting")
	gauge(auditLagDesc, s.MirrorLag.Seconds())
	failing := 0.0
	if s.Failing {
		failing = 1
	}
	gauge(auditFailingDesc, failing)
	ch <- prometheus.MustNewConstMetric(auditFailedDesc, prometheus.CounterValue, float64(s.Failures))
	ch <- prometheus.MustNewConstMetric(auditWaitsDesc, prometheus.CounterValue, float64(s.Waits))
	ch <- prometheus.MustNewConstMetric(auditWaitedDesc, prometheus.CounterValue, s.Waited.Seconds())
}

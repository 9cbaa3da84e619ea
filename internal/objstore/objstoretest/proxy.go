package objstoretest

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
)

// Proxy stands before a real store and lets it fail.
type Proxy struct {
	*httptest.Server
	fault  atomic.Pointer[Fault]
	faults atomic.Int64
}

// Fault is a way to fail. Either hook may be nil.
type Fault struct {
	// Answer may answer a request itself and return true.
	Answer func(http.ResponseWriter, *http.Request) bool
	// Body may replace the body of an answer.
	Body func(*http.Response) io.ReadCloser
}

// NewProxy starts a proxy without faults.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{}
	p.fault.Store(&Fault{})
	quiet := log.New(io.Discard, "", 0)
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }, // the signature covers the host
		ModifyResponse: func(r *http.Response) error {
			if f := p.fault.Load(); f.Body != nil {
				r.Body = f.Body(r)
			}
			return nil
		},
		FlushInterval: -1, // what came before a cut did come
		ErrorLog:      quiet,
	}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := p.fault.Load(); f.Answer != nil && f.Answer(w, r) {
			p.faults.Add(1)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	p.Config.ErrorLog = quiet
	p.Start()
	t.Cleanup(p.Close)
	return p
}

// Set makes the store fail from now on; the zero Fault heals it.
func (p *Proxy) Set(f Fault) {
	p.faults.Store(0)
	p.fault.Store(&f)
}

// Faults is how often the present fault struck.
func (p *Proxy) Faults() int64 { return p.faults.Load() }

// IsRead reports whether a request reads an object's bytes.
func IsRead(r *http.Request) bool { return r.Method == http.MethodGet && r.Header.Get("Range") != "" }

// Status answers every n-th read with a status.
func (p *Proxy) Status(status int, n int64) Fault {
	var count atomic.Int64
	return Fault{Answer: func(w http.ResponseWriter, r *http.Request) bool {
		if !IsRead(r) || count.Add(1)%n != 0 {
			return false
		}
		w.WriteHeader(status)
		return true
	}}
}

// Reset breaks the connection of every n-th read instead of answering.
func (p *Proxy) Reset(n int64) Fault {
	var count atomic.Int64
	return Fault{Answer: func(w http.ResponseWriter, r *http.Request) bool {
		if !IsRead(r) || count.Add(1)%n != 0 {
			return false
		}
		p.faults.Add(1)
		panic(http.ErrAbortHandler)
	}}
}

// Cut breaks each answer to a read after the given number of bytes.
func (p *Proxy) Cut(bytes int) Fault {
	return Fault{Body: func(r *http.Response) io.ReadCloser {
		if !IsRead(r.Request) {
			return r.Body
		}
		p.faults.Add(1)
		return &cut{ReadCloser: r.Body, left: bytes}
	}}
}

// Trickle hands out answers to reads a few bytes at a time.
func (p *Proxy) Trickle(bytes int) Fault {
	return Fault{Body: func(r *http.Response) io.ReadCloser {
		if !IsRead(r.Request) {
			return r.Body
		}
		p.faults.Add(1)
		return &trickle{ReadCloser: r.Body, step: bytes}
	}}
}

type cut struct {
	io.ReadCloser
	left int
}

func (c *cut) Read(b []byte) (int, error) {
	if c.left == 0 {
		return 0, errors.New("cut")
	}
	n, err := c.ReadCloser.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

type trickle struct {
	io.ReadCloser
	step int
}

func (s *trickle) Read(b []byte) (int, error) { return s.ReadCloser.Read(b[:min(len(b), s.step)]) }

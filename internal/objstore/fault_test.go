package objstore_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/objstore/objstoretest"
	"github.com/firekeep/firekeep/internal/rft"
)

// faulty is a proxy before a real store. Its hooks may be nil.
type faulty struct {
	*httptest.Server
	// answer may answer a request itself and return true.
	answer func(http.ResponseWriter, *http.Request) bool
	// body may replace the body of an answer.
	body func(*http.Response) io.ReadCloser
}

func proxy(t *testing.T, s *objstoretest.Server) *faulty {
	target, err := url.Parse(s.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{}
	rp := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target); p.Out.Host = p.In.Host }, // the signature covers the host
		ModifyResponse: func(r *http.Response) error {
			if f.body != nil {
				r.Body = f.body(r)
			}
			return nil
		},
		ErrorLog: nil,
	}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.answer == nil || !f.answer(w, r) {
			rp.ServeHTTP(w, r)
		}
	}))
	f.Config.ErrorLog = nil
	t.Cleanup(f.Close)
	return f
}

// isRead reports whether a request reads an object's bytes.
func isRead(r *http.Request) bool { return r.Method == http.MethodGet && r.Header.Get("Range") != "" }

// cutBody breaks the connection after n bytes.
type cutBody struct {
	io.ReadCloser
	n int
}

func (c *cutBody) Read(p []byte) (int, error) {
	if c.n == 0 {
		return 0, errors.New("cut")
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.n)])
	c.n -= n
	return n, err
}

// TestFaults runs against both protocols.
func TestFaults(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *objstoretest.Server{"s3": objstoretest.VersityGW, "gs": objstoretest.FakeGCS} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			u := s.Bucket("faults")
			direct, p := s.Open(u), proxy(t, s)
			b, err := objstore.Open(t.Context(), u, s.Secret(), s.Config(p.URL))
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			tests := map[string]func(*testing.T, *faulty, objstore.Bucket, objstore.Bucket){
				"cut": cutReads, "unavailable": unavailable, "always": alwaysUnavailable, "changed": changedMidRead,
				"wrong read": wrongRead, "lost answer": lostAnswer, "refused": refused,
			}
			for name, test := range tests {
				t.Run(name, func(t *testing.T) {
					p.answer, p.body = nil, nil
					test(t, p, b, direct)
				})
			}
		})
	}
}

func put(t *testing.T, b objstore.Bucket, key string, body []byte) objstore.Info {
	t.Helper()
	info, err := b.Create(t.Context(), key, bytes.NewReader(body), objstore.PutOptions{Size: int64(len(body))})
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// cutReads breaks each connection after 100,000 bytes: the reader must get
// through a megabyte, exactly.
func cutReads(t *testing.T, p *faulty, b, direct objstore.Bucket) {
	body := objstoretest.Bytes(1, 1_000_003)
	info := put(t, direct, "cut", body)
	var reads atomic.Int64
	p.body = func(r *http.Response) io.ReadCloser {
		if !isRead(r.Request) {
			return r.Body
		}
		reads.Add(1)
		return &cutBody{ReadCloser: r.Body, n: 100_000}
	}
	got, err := objstoretest.ReadAll(t, b, "cut", info.Pin)
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if n := reads.Load(); n < 10 {
		t.Errorf("%d requests; nothing was cut", n)
	}
}

// unavailable refuses every second request with 503.
func unavailable(t *testing.T, p *faulty, b, _ objstore.Bucket) {
	var n atomic.Int64
	p.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		if n.Add(1)%2 == 0 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	for i, size := range []int{10, 12 << 20} {
		body := objstoretest.Bytes(uint64(i), size)
		info := put(t, b, "shaky"+strings.Repeat("x", i), body)
		got, err := objstoretest.ReadAll(t, b, info.Key, info.Pin)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if err := b.Delete(t.Context(), info.Key); err != nil {
			t.Error(err)
		}
	}
}

// alwaysUnavailable must end, with the kind that says so.
func alwaysUnavailable(t *testing.T, p *faulty, b, direct objstore.Bucket) {
	info := put(t, direct, "down", []byte("x"))
	var n atomic.Int64
	p.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		n.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	_, err := objstoretest.ReadAll(t, b, "down", info.Pin)
	if rft.KindOf(err) != rft.KindUnavailable {
		t.Errorf("read: %v", err)
	}
	if _, err := b.Stat(t.Context(), "down"); rft.KindOf(err) != rft.KindUnavailable {
		t.Errorf("stat: %v", err)
	}
	if _, err := b.Create(t.Context(), "down2", strings.NewReader("x"), objstore.PutOptions{Size: 1}); rft.KindOf(err) != rft.KindUnavailable {
		t.Errorf("create: %v", err)
	}
	if n.Load() > 200 {
		t.Errorf("%d requests", n.Load())
	}
}

// changedMidRead replaces the object while a reader's connection breaks.
func changedMidRead(t *testing.T, p *faulty, b, direct objstore.Bucket) {
	body := objstoretest.Bytes(1, 1<<20)
	info := put(t, direct, "moving", body)
	p.body = func(r *http.Response) io.ReadCloser {
		if !isRead(r.Request) {
			return r.Body
		}
		return &cutBody{ReadCloser: r.Body, n: 50_000}
	}
	r, err := b.Open(t.Context(), "moving", info.Pin, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := direct.Replace(t.Context(), "moving", info.Pin, bytes.NewReader(objstoretest.Bytes(2, 1<<20)), objstore.PutOptions{Size: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if !errors.Is(err, objstore.ErrChanged) || !bytes.Equal(got, body[1000:1000+len(got)]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// wrongRead lets the store answer other bytes; Verify must notice.
func wrongRead(t *testing.T, p *faulty, b, direct objstore.Bucket) {
	body := objstoretest.Bytes(1, 5000)
	info := put(t, direct, "wrong", body)
	p.body = func(r *http.Response) io.ReadCloser {
		if !isRead(r.Request) {
			return r.Body
		}
		all, _ := io.ReadAll(r.Body)
		all[len(all)/2] ^= 1
		return io.NopCloser(bytes.NewReader(all))
	}
	for _, want := range []rft.Kind{rft.KindDataLoss, ""} {
		if want == "" {
			p.body = nil
		}
		r, err := b.Open(t.Context(), "wrong", info.Pin, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(objstore.Verify(r, objstore.URL{Scheme: "s3", Bucket: "faults", Key: "wrong"}, 5000, sum(body)))
		if rft.KindOf(err) != want {
			t.Errorf("want %q: %v", want, err)
		}
		_ = r.Close()
	}
}

// lostAnswer lets a creation succeed and loses the answer: the repeated request
// must recognise its own object, and a second creation must still be refused.
func lostAnswer(t *testing.T, p *faulty, b, _ objstore.Bucket) {
	var lost atomic.Bool
	p.body = func(r *http.Response) io.ReadCloser {
		writes := r.Request.Method == http.MethodPut || r.Request.Method == http.MethodPost
		if writes && r.StatusCode == http.StatusOK && lost.CompareAndSwap(false, true) {
			r.StatusCode = http.StatusServiceUnavailable
			return io.NopCloser(strings.NewReader(""))
		}
		return r.Body
	}
	body := objstoretest.Bytes(3, 1000)
	info, err := b.Create(t.Context(), "lost", bytes.NewReader(body), objstore.PutOptions{Size: 1000})
	if err != nil || !lost.Load() {
		t.Fatalf("%v; lost %v", err, lost.Load())
	}
	if got, err := objstoretest.ReadAll(t, b, "lost", info.Pin); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := b.Create(t.Context(), "lost", bytes.NewReader(body), objstore.PutOptions{Size: 1000}); rft.KindOf(err) != rft.KindAlreadyExists {
		t.Errorf("second creation: %v", err)
	}
}

// refused maps the statuses of refusals.
func refused(t *testing.T, p *faulty, b, _ objstore.Bucket) {
	for status, kind := range map[int]rft.Kind{401: rft.KindPermissionDenied, 403: rft.KindPermissionDenied, 404: rft.KindNotFound, 400: rft.KindInvalidArgument, 301: rft.KindFailedPrecondition} {
		p.answer = func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(status); return true }
		if _, err := b.Stat(t.Context(), "refused"); rft.KindOf(err) != kind {
			t.Errorf("%d: %v of kind %s (%v)", status, err, rft.KindOf(err), errors.Unwrap(err))
		}
	}
}

package objstore

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// bounded is a transport under which no byte of a request's body is read once its
// answer is done with. A server may answer, 503 say, before it has read a chunk of an
// upload; http.Transport then goes on reading the chunk for a while, when the library of
// the store already fills the same memory with the next one.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.ContentLength <= 0 { // what streams is not used again, and may wait in a read
		return t.RoundTripper.RoundTrip(r)
	}
	end := &bodyEnd{}
	sent := r.WithContext(r.Context())
	sent.Body = &boundedBody{r.Body, end}
	if r.GetBody != nil {
		sent.GetBody = func() (io.ReadCloser, error) {
			again, err := r.GetBody()
			if err != nil {
				return nil, err
			}
			return &boundedBody{again, end}, nil
		}
	}
	answer, err := t.RoundTripper.RoundTrip(sent)
	if err != nil {
		end.come()
		return nil, err
	}
	answer.Body = &lastBody{answer.Body, end}
	return answer, nil
}

// CloseIdleConnections closes those of the transport below, as http.Client asks for.
func (t bounded) CloseIdleConnections() {
	(&http.Client{Transport: t.RoundTripper}).CloseIdleConnections()
}

// bodyEnd is when the body of a request may not be read any more.
type bodyEnd struct {
	mu   sync.Mutex // a read holds it
	came bool
}

func (e *bodyEnd) come() {
	e.mu.Lock()
	e.came = true
	e.mu.Unlock()
}

var errAnswered = errors.New("objstore: the request has been answered")

// boundedBody is a request's body up to its end.
type boundedBody struct {
	io.ReadCloser
	end *bodyEnd
}

func (b *boundedBody) Read(p []byte) (int, error) {
	b.end.mu.Lock()
	defer b.end.mu.Unlock()
	if b.end.came {
		return 0, errAnswered
	}
	return b.ReadCloser.Read(p)
}

// lastBody is an answer's body; who closes it is done with the request.
type lastBody struct {
	io.ReadCloser
	end *bodyEnd
}

func (b *lastBody) Close() error {
	b.end.come()
	return b.ReadCloser.Close()
}

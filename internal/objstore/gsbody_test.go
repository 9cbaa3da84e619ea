package objstore

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// readsOn is a transport that answers at once and keeps what it was to send, as
// http.Transport may where a server does not wait for a body.
type readsOn struct{ body io.Reader }

func (t *readsOn) RoundTrip(r *http.Request) (*http.Response, error) {
	t.body = r.Body
	if r.Method == http.MethodDelete {
		return nil, errors.New("lost")
	}
	return &http.Response{StatusCode: http.StatusServiceUnavailable, Body: http.NoBody}, nil
}

func (t *readsOn) CloseIdleConnections() { t.body = nil }

func TestNoBodyIsReadBehindItsAnswer(t *testing.T) {
	for _, method := range []string{http.MethodPut, http.MethodDelete} { // answered, and lost
		base := &readsOn{}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://store.test/", strings.NewReader("a chunk"))
		if err != nil {
			t.Fatal(err)
		}
		one := make([]byte, 1)
		answer, err := bounded{base}.RoundTrip(r)
		if method == http.MethodPut {
			if err != nil {
				t.Fatal(err)
			}
			if n, err := base.body.Read(one); n != 1 || err != nil {
				t.Errorf("%d %v: an answer that is still read ends the body", n, err)
			}
			answer.Body.Close()
		}
		if n, err := base.body.Read(one); n != 0 || !errors.Is(err, errAnswered) {
			t.Errorf("%s: %d bytes were read behind the answer, %v", method, n, err)
		}
		again, err := r.GetBody() // the caller's own is whole
		if err != nil {
			t.Fatal(err)
		}
		if whole, _ := io.ReadAll(again); string(whole) != "a chunk" {
			t.Errorf("%q", whole)
		}
		if (&http.Client{Transport: bounded{base}}).CloseIdleConnections(); base.body != nil {
			t.Error("idle connections stay open")
		}
	}
}

package api

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestUploadStreams: rows go out as they are read, with their length announced, and
// whole again when the request is tried again.
func TestUploadStreams(t *testing.T) {
	text := strings.Repeat("row\n", 1<<20)
	var got []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, h, err := r.FormFile("file")
		if err != nil || h.Filename != "rows.jsonl" || r.ContentLength <= int64(len(text)) {
			t.Errorf("%v, %d bytes", err, r.ContentLength)
			return
		}
		b, _ := io.ReadAll(f)
		if got = append(got, string(b)); len(got) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		io.WriteString(w, `{"filename":"rows.jsonl"}`)
	}))
	defer s.Close()
	c := &Client{BaseURL: s.URL}
	largest := int64(0)
	in := readerAt(func(p []byte, off int64) (int, error) {
		largest = max(largest, int64(len(p)))
		return strings.NewReader(text).ReadAt(p, off)
	})
	up, err := c.Upload(t.Context(), "main", "d", "rows.jsonl", in, int64(len(text)))
	if err != nil || up.Filename != "rows.jsonl" || len(got) != 2 || got[0] != text || got[1] != text {
		t.Errorf("%v, %d tries", err, len(got))
	}
	if largest > 1<<20 {
		t.Errorf("%d bytes were read at once", largest)
	}
}

type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

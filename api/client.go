package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Client talks to one server. The key travels in a header only.
type Client struct {
	BaseURL string // "http://127.0.0.1:8080"
	Key     string
	HTTP    *http.Client
	// Attempts bounds the tries of a request that may be repeated; 0 = 3.
	Attempts int
	// UserAgent names the program.
	UserAgent string
}

// maxAnswer bounds the body of an answer that is read into memory.
const maxAnswer = 256 << 20

// call sends a request and reads its answer into out (nil: ignored). A request
// is tried again when the server could not be reached or answered 429, 502,
// 503 or 504, unless it says x-should-retry: false.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body *payload
	if in != nil {
		b, err := marshalPlain(in)
		if err != nil {
			return err
		}
		body = bytesOf(b)
	}
	resp, err := c.send(ctx, method, path, query, "application/json", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return unavailable(err)
	}
	if out == nil || len(data) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return &Error{Kind: "UNKNOWN", HTTP: resp.StatusCode, Message: "the server's answer is not the JSON of this API; is the base URL right?"}
	}
	return nil
}

// payload is the body of a request, which may be sent several times.
type payload struct {
	size int64
	open func() io.Reader
}

func bytesOf(b []byte) *payload {
	return &payload{int64(len(b)), func() io.Reader { return bytes.NewReader(b) }}
}

// send returns a 2xx answer whose body is unread, or an error.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, contentType string, body *payload) (*http.Response, error) {
	attempts := c.Attempts
	if attempts == 0 {
		attempts = 3
	}
	for try := 1; ; try++ {
		resp, err := c.once(ctx, method, path, query, contentType, body)
		if err == nil && resp.StatusCode < 300 {
			return resp, nil
		}
		var wait time.Duration
		again := try < attempts
		if err != nil {
			err = unavailable(err)
		} else {
			data, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
			resp.Body.Close()
			err = errorOf(resp.StatusCode, resp.Header, data)
			again = again && mayRetry(resp)
			wait = retryAfter(resp.Header)
		}
		if !again || ctx.Err() != nil {
			return nil, err
		}
		if wait == 0 {
			wait = time.Duration(float64(200*time.Millisecond)*(0.75+rand.Float64()/2)) << (try - 1)
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(wait):
		}
	}
}

func (c *Client) once(ctx context.Context, method, path string, query url.Values, contentType string, body *payload) (*http.Response, error) {
	u := strings.TrimRight(c.BaseURL, "/") + path
	if len(query) > 0 {
		u += "?" + query.Encode()
	}
	var r io.Reader
	if body != nil {
		r = body.open()
	}
	req, err := http.NewRequestWithContext(ctx, method, u, r)
	if err != nil {
		return nil, errors.New("the base URL is not a URL")
	}
	if body != nil {
		req.ContentLength = body.size
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	if c.UserAgent != "" {
		req.Header.Set("User-Agent", c.UserAgent)
	}
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	return h.Do(req)
}

func mayRetry(resp *http.Response) bool {
	switch resp.Header.Get("X-Should-Retry") {
	case "true":
		return true
	case "false":
		return false
	}
	switch resp.StatusCode {
	case 429, 502, 503, 504:
		return true
	}
	return false
}

func retryAfter(h http.Header) time.Duration {
	s, err := strconv.ParseFloat(h.Get("Retry-After"), 64)
	if err != nil || s <= 0 || s > 60 {
		return 0
	}
	return time.Duration(s * float64(time.Second))
}

func unavailable(err error) error {
	if errors.Is(err, context.Canceled) {
		return &Error{Kind: "CANCELLED", Message: "cancelled"}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &Error{Kind: "DEADLINE_EXCEEDED", Message: "the server did not answer in time"}
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return &Error{Kind: "UNAVAILABLE", Message: "cannot reach the server: " + err.Error()}
}

// ListOptions are the query parameters of a list.
type ListOptions struct {
	PageSize  int
	PageToken string
	Filter    string
	OrderBy   string
	ReadMask  string
}

func (o ListOptions) values() url.Values {
	v := url.Values{}
	if o.PageSize > 0 {
		v.Set("pageSize", strconv.Itoa(o.PageSize))
	}
	for k, s := range map[string]string{"pageToken": o.PageToken, "filter": o.Filter, "orderBy": o.OrderBy, "readMask": o.ReadMask} {
		if s != "" {
			v.Set(k, s)
		}
	}
	return v
}

// Identity is whose key a Client holds.
type Identity struct {
	Account string // id
	Email   string
}

// Verify asks the server whose key this is.
func (c *Client) Verify(ctx context.Context) (Identity, error) {
	resp, err := c.send(ctx, "GET", "/verifyApiKey", nil, "", nil)
	if err != nil {
		return Identity{}, err
	}
	resp.Body.Close()
	return Identity{resp.Header.Get("X-Fireworks-Account-Id"), resp.Header.Get("X-Fireworks-Developer-Email")}, nil
}

// path is the escaped path below an account: path("main", "models", "m").
func path(account string, segments ...string) string {
	p := "/v1/accounts/" + url.PathEscape(account)
	for _, s := range segments {
		p += "/" + url.PathEscape(s)
	}
	return p
}

// Upload sends the content of a dataset as one multipart request. It is read as it
// goes out, and again from its start when the request is tried again.
func (c *Client) Upload(ctx context.Context, account, id, filename string, content io.ReaderAt, size int64) (*UploadedFile, error) {
	var frame bytes.Buffer
	w := multipart.NewWriter(&frame)
	_, err := w.CreateFormFile("file", filename)
	before := frame.Len()
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, err
	}
	head, tail := frame.Bytes()[:before], frame.Bytes()[before:]
	body := &payload{int64(frame.Len()) + size, func() io.Reader {
		return io.MultiReader(bytes.NewReader(head), io.NewSectionReader(content, 0, size), bytes.NewReader(tail))
	}}
	resp, err := c.send(ctx, "POST", path(account, "datasets", id)+":upload", nil, w.FormDataContentType(), body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := &UploadedFile{}
	return out, json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out)
}

package server

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
)

// use is what a handler read and wrote, by its types. Where a context carries one,
// handlers fill it in: the OpenAPI document is made of it.
type use struct {
	body, answer reflect.Type
	query        []string
}

type useKey struct{}

func (rq *request) note(f func(*use)) {
	if u, ok := rq.ctx().Value(useKey{}).(*use); ok {
		f(u)
	}
}

// readBody reads a request's body, at most limit bytes of it.
func (rq *request) readBody(limit int64) ([]byte, error) {
	rc := http.NewResponseController(rq.w)
	// Servers of tests may have no deadlines; then the limit on bytes remains.
	_ = rc.SetReadDeadline(time.Now().Add(readTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(rq.w, rq.r.Body, limit))
	if err != nil {
		return nil, bodyError(err, limit)
	}
	_ = rc.SetReadDeadline(time.Time{})
	return body, nil
}

func bodyError(err error, limit int64) error {
	var tooBig *http.MaxBytesError
	if errors.As(err, &tooBig) {
		return &statusError{http.StatusRequestEntityTooLarge, rft.Errorf(rft.KindInvalidArgument, "the request body is larger than %d MiB", limit>>20)}
	}
	return &statusError{http.StatusRequestTimeout, rft.Wrap(rft.KindCancelled, err, "the request body did not arrive")}
}

// decode reads a control plane body into v; an empty body is {}.
func (rq *request) decode(v any) error {
	rq.note(func(u *use) { u.body = reflect.TypeOf(v).Elem() })
	body, err := rq.readBody(maxBody)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		return nil
	}
	return decodeError(api.Unmarshal(body, v))
}

func decodeError(err error) error {
	var bad *api.JSONError
	if errors.As(err, &bad) {
		return rft.FieldErrorf(bad.Field, "%s", bad.Error())
	}
	if err != nil {
		return rft.Wrap(rft.KindInvalidArgument, err, "the request body is not what this operation expects")
	}
	return nil
}

// query returns a query parameter by its camelCase name; snake_case is taken too.
func (rq *request) query(name string) string {
	rq.note(func(u *use) { u.query = append(u.query, name) })
	q := rq.r.URL.Query()
	if v := q.Get(name); v != "" {
		return v
	}
	return q.Get(snake(name))
}

// flag reports whether a query parameter is true.
func (rq *request) flag(name string) bool {
	on, _ := strconv.ParseBool(rq.query(name))
	return on
}

// patch reads the body and the mask of an update.
func (rq *request) patch() (api.Patch, error) {
	body, err := rq.readBody(maxBody)
	if err != nil {
		return api.Patch{}, err
	}
	p := api.Patch{Body: body}
	if mask := rq.query("updateMask"); mask != "" && mask != "*" {
		p.Mask = strings.Split(mask, ",")
	}
	return p, nil
}

// list reads the list parameters of the contract.
func (rq *request) list() (control.ListQuery, error) {
	l := control.ListQuery{PageToken: rq.query("pageToken"), Filter: rq.query("filter"), OrderBy: rq.query("orderBy")}
	if s := rq.query("pageSize"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 {
			return l, rft.FieldErrorf("pageSize", "pageSize: want a whole number that is not negative")
		}
		l.PageSize = n
	}
	return l, nil
}

// reply writes v, reduced to the read mask of the request.
func (rq *request) reply(v any, err error) error {
	rq.note(func(u *use) { u.answer = reflect.TypeOf(v) })
	if err == nil {
		err = rq.s.control.Logged(rq.ctx(), rq.caller)
	}
	if err != nil {
		return err
	}
	mask := rq.query("readMask")
	if mask == "" || mask == "*" || rq.r.Method != http.MethodGet || rq.shape == inference {
		rq.writeJSON(http.StatusOK, v)
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	rq.writeJSON(http.StatusOK, masked(m, strings.Split(mask, ",")))
	return nil
}

// masked keeps the named top-level fields of a resource, or of each item of a
// list. "name" always stays: without it an item says nothing.
func masked(m map[string]json.RawMessage, fields []string) map[string]json.RawMessage {
	if _, isList := m["nextPageToken"]; isList {
		for k, raw := range m {
			var items []map[string]json.RawMessage
			if json.Unmarshal(raw, &items) != nil || items == nil {
				continue
			}
			for i := range items {
				items[i] = masked(items[i], fields)
			}
			m[k], _ = json.Marshal(items)
		}
		return m
	}
	keep := map[string]json.RawMessage{}
	if name, ok := m["name"]; ok {
		keep["name"] = name
	}
	for _, f := range fields {
		top, _, _ := strings.Cut(strings.TrimSpace(f), ".")
		for _, spelling := range []string{top, api.Camel(top)} {
			if v, ok := m[spelling]; ok {
				keep[spelling] = v
			}
		}
	}
	return keep
}

// snake is the snake_case spelling of a camelCase name.
func snake(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsUpper(r) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// done answers {} to an operation without a result.
func (rq *request) done(err error) error {
	rq.note(func(u *use) { u.answer = reflect.TypeFor[struct{}]() })
	if err == nil {
		err = rq.s.control.Logged(rq.ctx(), rq.caller)
	}
	if err != nil {
		return err
	}
	rq.writeJSON(http.StatusOK, struct{}{})
	return nil
}

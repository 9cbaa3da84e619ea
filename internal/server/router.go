package server

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// route is one operation of the API. Pattern is a path whose segments are
// literals or {parameters}; a ":verb" ends the last one
// ("/v1/accounts/{account}/datasets/{dataset}:upload").
type route struct {
	Method  string
	Pattern string
	Kind    errorShape
	Handle  func(*request) error
}

// errorShape chooses between the two error bodies of the contract.
type errorShape int

const (
	controlPlane errorShape = iota
	inference
)

// pattern is a parsed route pattern.
type pattern struct {
	segments []string // literal, or "{name}"
	verb     string
}

func parsePattern(s string) pattern {
	segments := strings.Split(strings.TrimPrefix(s, "/"), "/")
	last := len(segments) - 1
	name, verb, _ := strings.Cut(segments[last], ":")
	segments[last] = name
	return pattern{segments, verb}
}

// match matches the segments of an escaped path. Literals are compared as they
// were sent; parameters are unescaped afterwards, so an encoded slash stays
// inside its segment.
func (p pattern) match(path []string, verb string) (map[string]string, bool) {
	if len(path) != len(p.segments) || verb != p.verb {
		return nil, false
	}
	params := map[string]string{}
	for i, seg := range p.segments {
		name, ok := strings.CutPrefix(seg, "{")
		if !ok {
			if seg != path[i] {
				return nil, false
			}
			continue
		}
		value, err := url.PathUnescape(path[i])
		if err != nil || value == "" {
			return nil, false
		}
		params[strings.TrimSuffix(name, "}")] = value
	}
	return params, true
}

// table is a set of routes, the first match of which serves a request. It is
// small: a scan costs less than the cleverness of a tree.
type table struct {
	routes   []route
	patterns []pattern
}

func newTable(routes []route) *table {
	t := &table{routes: routes}
	for _, r := range routes {
		t.patterns = append(t.patterns, parsePattern(r.Pattern))
	}
	return t
}

// find returns the route of a request; other methods of the same path, for
// 405, when there is none.
func (t *table) find(method, escapedPath string) (r *route, params map[string]string, allow []string) {
	path, verb := cutVerb(segmentsOf(escapedPath))
	for i := range t.routes {
		p, ok := t.patterns[i].match(path, verb)
		if !ok {
			continue
		}
		if t.routes[i].Method == method || (method == http.MethodHead && t.routes[i].Method == http.MethodGet) {
			return &t.routes[i], p, nil
		}
		if !slices.Contains(allow, t.routes[i].Method) {
			allow = append(allow, t.routes[i].Method)
		}
	}
	return nil, nil, allow
}

// segmentsOf splits an escaped path. The prefix /inference is accepted before
// every route: some clients keep it for all of their calls.
func segmentsOf(escapedPath string) []string {
	if rest, ok := strings.CutPrefix(escapedPath, "/inference/"); ok {
		escapedPath = "/" + rest
	}
	return strings.Split(strings.TrimPrefix(escapedPath, "/"), "/")
}

// cutVerb takes the verb off the last segment: what stands behind its last
// colon. Ids of resources hold none.
func cutVerb(path []string) ([]string, string) {
	last := path[len(path)-1]
	i := strings.LastIndexByte(last, ':')
	if i <= 0 {
		return path, ""
	}
	path = slices.Clone(path)
	path[len(path)-1] = last[:i]
	return path, last[i+1:]
}

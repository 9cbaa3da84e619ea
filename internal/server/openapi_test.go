package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/api"
)

// byHand describes what handlers do without the common readers and writers.
var byHand = map[string]object{
	"GET /healthz":      {"answer": object{"application/json": statusSchema}},
	"GET /readyz":       {"answer": object{"application/json": statusSchema}},
	"GET /openapi.json": {"answer": object{"application/json": object{"type": "object"}}},
	"GET /metrics":      {"answer": object{"text/plain": stringSchema}},

	"GET /verifyApiKey":    {"answer": object{}},
	"GET /v1/verifyApiKey": {"answer": object{}},

	"POST /v1/token": {"body": object{"application/x-www-form-urlencoded": object{"type": "object", "required": []string{"grant_type", "subject_token", "subject_token_type"},
		"properties": object{"grant_type": stringSchema, "audience": stringSchema, "subject_token": stringSchema, "subject_token_type": stringSchema}}},
		"answer": object{"application/json": object{"type": "object"}}},

	"POST /v1/accounts/{account}/datasets/{dataset}:upload": {"body": object{"multipart/form-data": object{"type": "object", "required": []string{"file"},
		"properties": object{"file": object{"type": "string", "format": "binary"}}}}, "answer": api.UploadedFile{}},
	"POST /v1/accounts/{account}/datasets/{dataset}:getUploadEndpoint":  {"answer": api.SignedURLs{}},
	"GET /v1/accounts/{account}/datasets/{dataset}:getDownloadEndpoint": {"answer": api.SignedURLs{}},
	"PUT /v1/transfers/{ticket}":                                        {"body": object{"application/octet-stream": object{}}, "answer": object{}},
	"GET /v1/transfers/{ticket}":                                        {"answer": object{"application/octet-stream": object{}}},

	"GET /v1/jobFiles/{ticket}": {"answer": object{"application/x-ndjson": stringSchema, "text/plain": stringSchema}},

	"GET /v1/accounts/{account}/auditLogs:export": {"answer": object{"application/jsonl": stringSchema}},
	"GET /v1/accounts/{account}/auditLogs:follow": {"answer": object{"text/event-stream": object{}}},
	"PUT /v1/accounts/{account}/modelPolicy":      {"body": object{"application/json": nullable(object{"type": "object"})}},
	"POST /v1/issuer:export":                      {"answer": object{"application/json": object{"type": "object"}}},

	"GET /v1/accounts/{account}/deploymentShapes/{shape}":                    {"answer": object{"application/json": object{"type": "object"}}},
	"GET /v1/accounts/{account}/deploymentShapes/{shape}/versions/{version}": {"answer": object{"application/json": object{"type": "object"}}},

	"POST /v1/chat/completions": {"answer": api.Completion{}},
	"POST /v1/completions":      {"answer": api.Completion{}},
}

var (
	stringSchema = object{"type": "string"}
	statusSchema = object{"type": "object", "required": []string{"status"}, "properties": object{"status": stringSchema}}
)

// observed asks every route as somebody who may do nothing, which is enough to
// see what its handler reads and writes.
func observed(t *testing.T, f *fixture) map[string]*use {
	t.Helper()
	out := map[string]*use{}
	var now *use
	f.srv.observe = func(ctx context.Context, _ *route) context.Context { return context.WithValue(ctx, useKey{}, now) }
	for _, r := range f.srv.table.routes {
		now = &use{}
		out[r.Method+" "+r.Pattern] = now
		body, kind := lateBody(r)
		f.do("main/ina", r.Method, filled(r.Pattern), body, "Content-Type", kind)
	}
	return out
}

// TestOpenAPI: the document has every route, with the types that its handler
// reads and writes.
func TestOpenAPI(t *testing.T) {
	f := newFixture(t)
	uses := observed(t, f)
	names := map[string]string{}
	for _, o := range listedOperations() {
		if r, _, _ := f.srv.table.find(o.Method, o.Path); r != nil {
			names[r.Method+" "+r.Pattern] = o.Name
		}
	}
	s := schemas{components: object{}}
	paths := map[string]object{}
	seen := map[string]string{}
	for _, r := range f.srv.table.routes {
		key := r.Method + " " + r.Pattern
		op := s.operation(t, r, uses[key], byHand[key])
		id := names[key]
		if id == "" || seen[id] != "" {
			id = nameOf(r)
		}
		if seen[id] != "" {
			t.Errorf("%s and %s have one name: %s", key, seen[id], id)
		}
		op["operationId"], seen[id] = id, key
		if paths[r.Pattern] == nil {
			paths[r.Pattern] = object{}
		}
		paths[r.Pattern][strings.ToLower(r.Method)] = op
	}
	s.components["Error"] = object{"type": "object", "required": []string{"code", "message", "details"}, "properties": object{
		"code": object{"type": "integer"}, "message": stringSchema, "details": object{"type": "array", "items": object{"type": "object"}}}}
	s.components["InferenceError"] = object{"type": "object", "required": []string{"error", "request_id"}, "properties": object{
		"request_id": stringSchema, "error": object{"type": "object", "required": []string{"message"}, "properties": object{
			"object": stringSchema, "type": stringSchema, "code": stringSchema, "message": stringSchema, "param": stringSchema}}}}
	document := object{"openapi": "3.1.0",
		"info": object{"title": "Firekeep", "version": "v1", "license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "Reinforcement fine-tuning and inference on your own machines. Every path is served below /inference too; field names are taken in snake_case too."},
		"security": []object{{"key": []string{}}},
		"paths":    paths,
		"components": object{"schemas": s.components, "responses": object{"Error": failure("Error"), "InferenceError": failure("InferenceError")}, "securitySchemes": object{
			"key": object{"type": "http", "scheme": "bearer", "description": "An API key; the header X-Api-Key is taken too."}}}}
	var got bytes.Buffer
	enc := json.NewEncoder(&got)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	must(t, enc.Encode(document))
	if *update {
		must(t, os.WriteFile("openapi.json", got.Bytes(), 0o644))
		return
	}
	if !bytes.Equal(got.Bytes(), openAPIDocument) {
		t.Error("openapi.json is not what the routes and the wire types say; run go test -update")
	}
	status, h, body := f.do("", "GET", "/openapi.json", "")
	if status != 200 || h.Get("Content-Type") != "application/json" || body != string(openAPIDocument) {
		t.Errorf("%d, %d bytes of %d", status, len(body), len(openAPIDocument))
	}
	if len(seen) != len(f.srv.table.routes) || len(seen) < 100 {
		t.Errorf("%d operations for %d routes", len(seen), len(f.srv.table.routes))
	}
}

// operation describes a route.
func (s *schemas) operation(t *testing.T, r route, u *use, hand object) object {
	s.lenient = r.Kind == controlPlane
	op := object{"tags": []string{tagOf(r.Pattern)}}
	if r.public() {
		op["security"] = []object{}
	}
	if parameters := parametersOf(r, u); len(parameters) > 0 {
		op["parameters"] = parameters
	}
	switch body, byHand := hand["body"].(object); {
	case byHand:
		op["requestBody"] = object{"required": true, "content": contentOf(body)}
	case r.Kind == inference && u.body != nil:
		needed := []string{"model", "prompt"}
		if strings.Contains(r.Pattern, "chat") {
			needed = []string{"model", "messages"}
		}
		op["requestBody"] = object{"required": true, "content": object{"application/json": object{"schema": object{
			"allOf": []any{s.of(u.body, true), object{"required": needed}}}}}}
	case u.body != nil:
		op["requestBody"] = object{"content": object{"application/json": object{"schema": s.of(u.body, true)}}}
	}
	ok := object{"description": "Done."}
	switch answer := hand["answer"].(type) {
	case object:
		if len(answer) > 0 {
			ok["content"] = contentOf(answer)
		}
	case nil:
		if u.answer == nil {
			t.Errorf("%s %s: nothing is known of its answer", r.Method, r.Pattern)
			break
		}
		ok["content"] = object{"application/json": object{"schema": s.of(u.answer, false)}}
	case api.Completion:
		ok["content"] = object{"application/json": object{"schema": s.ofValue(answer)}, "text/event-stream": object{}}
	default:
		ok["content"] = object{"application/json": object{"schema": s.ofValue(answer)}}
	}
	refused := "Error"
	if r.Kind == inference {
		refused = "InferenceError"
	}
	op["responses"] = object{"200": ok, "default": object{"$ref": "#/components/responses/" + refused}}
	return op
}

// failure is the answer to what was refused or went wrong.
func failure(schema string) object {
	return object{"description": "Refused or failed.", "content": object{"application/json": object{"schema": object{"$ref": "#/components/schemas/" + schema}}}}
}

func contentOf(kinds object) object {
	out := object{}
	for kind, schema := range kinds {
		out[kind] = object{"schema": schema}
	}
	return out
}

func parametersOf(r route, u *use) []object {
	var out []object
	for seg := range strings.SplitSeq(r.Pattern, "/") {
		name, _, _ := strings.Cut(seg, ":")
		if strings.HasPrefix(name, "{") {
			out = append(out, object{"name": strings.Trim(name, "{}"), "in": "path", "required": true, "schema": object{"type": "string", "minLength": 1}})
		}
	}
	query := slices.Clone(u.query)
	if r.Method == http.MethodGet && r.Kind == controlPlane && u.answer != nil {
		query = append(query, "readMask")
	}
	slices.Sort(query)
	for _, name := range slices.Compact(query) {
		schema := stringSchema
		switch name {
		case "pageSize", "after":
			schema = orEmpty(object{"type": "integer", "minimum": 0})
		case "readMask":
			schema = object{"type": "string", "description": "Fields to answer, by comma; what is not named is left out, required or not."}
		case "startTime", "endTime":
			schema = orEmpty(object{"type": "string", "format": "date-time"})
		}
		out = append(out, object{"name": name, "in": "query", "schema": schema})
	}
	return out
}

// orEmpty: an empty parameter is one that is not there.
func orEmpty(s object) object { return object{"anyOf": []any{s, object{"const": ""}}} }

// tagOf is the collection that a path is about.
func tagOf(pattern string) string {
	if c := collectionOf(pattern); c != "" {
		return c
	}
	if strings.HasPrefix(pattern, "/v1/accounts") {
		return "accounts"
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(pattern, "/v1"), "/"), "/")
	name, _, _ = strings.Cut(name, ":")
	return name
}

// nameOf makes a name of method and path, for operations that are not the contract's.
func nameOf(r route) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(r.Method))
	pattern := strings.TrimPrefix(strings.TrimPrefix(r.Pattern, "/v1"), "/accounts/{account}")
	if pattern == "" || pattern[0] == ':' { // of accounts themselves
		pattern = "/account" + pattern
	}
	for word := range strings.FieldsFuncSeq(pattern, func(c rune) bool { return strings.ContainsRune("/:{}.", c) }) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// TestOpenAPIIsClosed: every reference leads somewhere, and nothing is described
// that nothing refers to.
func TestOpenAPIIsClosed(t *testing.T) {
	var d struct {
		Components struct{ Schemas map[string]any }
	}
	must(t, json.Unmarshal(openAPIDocument, &d))
	referred := map[string]bool{}
	for part := range strings.SplitSeq(string(openAPIDocument), `"#/components/schemas/`) {
		name, _, _ := strings.Cut(part, `"`)
		referred[name] = true
	}
	for name := range maps.Keys(d.Components.Schemas) {
		if !referred[name] {
			t.Errorf("%s is described for nothing", name)
		}
		delete(referred, name)
	}
	delete(referred, "{\n ")
	for name := range referred {
		if !strings.Contains(name, "{") {
			t.Errorf("%s is referred to and not described", name)
		}
	}
	fmt.Fprintln(t.Output(), len(d.Components.Schemas), "schemas")
}

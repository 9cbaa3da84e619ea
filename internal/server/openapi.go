package server

import (
	_ "embed"
	"net/http"
)

// openAPIDocument describes this API. A test makes it anew from the routes, from
// what their handlers read and write, and from the wire types, and compares.
//
//go:embed openapi.json
var openAPIDocument []byte

func openAPI(rq *request) error {
	rq.w.Header().Set("Content-Type", "application/json")
	rq.w.WriteHeader(http.StatusOK)
	_, _ = rq.w.Write(openAPIDocument) // the client may be gone
	return nil
}

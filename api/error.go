package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Error is an error that the server answered. It carries no request content
// and no key.
type Error struct {
	Kind      string // name of the gRPC status: "NOT_FOUND"
	HTTP      int
	Message   string
	RequestID string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the server answered %d %s", e.HTTP, http.StatusText(e.HTTP))
	}
	return e.Message
}

// kindNames are the names of the gRPC statuses, by number.
var kindNames = [...]string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
	"UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

// kindOfHTTP serves answers whose body names no kind: those of inference and
// of proxies between client and server.
func kindOfHTTP(status int) string {
	switch status {
	case 400, 413, 422:
		return "INVALID_ARGUMENT"
	case 401:
		return "UNAUTHENTICATED"
	case 403:
		return "PERMISSION_DENIED"
	case 404:
		return "NOT_FOUND"
	case 409:
		return "ALREADY_EXISTS"
	case 412:
		return "FAILED_PRECONDITION"
	case 429:
		return "RESOURCE_EXHAUSTED"
	case 499:
		return "CANCELLED"
	case 501:
		return "UNIMPLEMENTED"
	case 425, 502, 503:
		return "UNAVAILABLE"
	case 408, 504:
		return "DEADLINE_EXCEEDED"
	case 500:
		return "INTERNAL"
	}
	return "UNKNOWN"
}

// errorOf reads the body of an answer with an error status.
func errorOf(status int, header http.Header, body []byte) *Error {
	e := &Error{HTTP: status, Kind: kindOfHTTP(status), RequestID: header.Get("X-Request-Id")}
	var v struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Err     json.RawMessage `json:"error"`
	}
	if json.Unmarshal(body, &v) != nil {
		return e
	}
	if e.Message = v.Message; v.Code > 0 && v.Code < len(kindNames) {
		e.Kind = kindNames[v.Code]
	}
	var inner struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(v.Err, &inner) == nil && inner.Message != "" {
		e.Message = inner.Message
	}
	e.Message = strings.ToValidUTF8(e.Message, "?")
	return e
}

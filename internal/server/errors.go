package server

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
)

// writeError answers err in the shape of the contract. What may not leave the
// process (causes, foreign errors) is not in it.
func (rq *request) writeError(err error) {
	status := rft.KindOf(err).HTTPStatus()
	var s *statusError
	if errors.As(err, &s) {
		status = s.status
	}
	h := rq.w.Header()
	// Clients of the contract repeat requests on 409, 429 and every 5xx. Say no
	// where a repetition cannot help.
	switch rft.KindOf(err) {
	case rft.KindAlreadyExists, rft.KindUnimplemented, rft.KindInternal, rft.KindUnknown, rft.KindDataLoss:
		h.Set("X-Should-Retry", "false")
	case rft.KindResourceExhausted:
		if !errors.As(err, new(*serving.Busy)) { // too little memory or disk stays too little
			h.Set("X-Should-Retry", "false")
		}
	}
	if rft.KindOf(err) == rft.KindUnauthenticated {
		h.Set("WWW-Authenticate", "Bearer")
	}
	// What passes by itself says when to try again.
	var busy *serving.Busy
	if errors.As(err, &busy) {
		h.Set("Retry-After", strconv.Itoa(max(1, int(busy.After.Round(time.Second).Seconds()))))
	}
	var body any
	if rq.shape == inference {
		body = rq.inferenceError(status, err)
	} else {
		body = controlError{rft.KindOf(err).GRPCCode(), rft.PublicMessage(err), details(err)}
	}
	rq.writeJSON(status, body)
}

// controlError is the error body of the control plane.
type controlError struct {
	Code    int              `json:"code"`
	Message string           `json:"message"`
	Details []map[string]any `json:"details"`
}

// details names the offending field in the form of google.rpc.BadRequest.
func details(err error) []map[string]any {
	var e *rft.Error
	if !errors.As(err, &e) || e.Field == "" {
		return []map[string]any{}
	}
	return []map[string]any{{
		"@type":           "type.googleapis.com/google.rpc.BadRequest",
		"fieldViolations": []map[string]string{{"field": e.Field, "description": e.Message}},
	}}
}

// inferenceErrorBody is the error body of inference.
type inferenceErrorBody struct {
	Error struct {
		Object  string `json:"object,omitempty"`
		Type    string `json:"type,omitempty"`
		Code    string `json:"code,omitempty"`
		Message string `json:"message"`
		Param   string `json:"param,omitempty"`
	} `json:"error"`
	RequestID string `json:"request_id"`
}

// notServed is the text of the contract: clients look for it.
const notServed = "Model not found, inaccessible, and/or not deployed"

func (rq *request) inferenceError(status int, err error) inferenceErrorBody {
	b := inferenceErrorBody{RequestID: rq.id}
	b.Error.Message = rft.PublicMessage(err)
	var e *rft.Error
	if errors.As(err, &e) {
		b.Error.Param = e.Field
	}
	switch status {
	case http.StatusNotFound:
		b.Error.Message, b.Error.Param, b.Error.Code, b.Error.Type = notServed, "model", "NOT_FOUND", "error"
	case http.StatusUnauthorized:
		b.Error.Code = "UNAUTHORIZED"
	case http.StatusForbidden:
		b.Error.Code = "FORBIDDEN"
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		b.Error.Object, b.Error.Type, b.Error.Code = "error", "invalid_request_error", "bad_request"
	case http.StatusTooManyRequests:
		b.Error.Object, b.Error.Type, b.Error.Code = "error", "rate_limit_error", "rate_limit_exceeded"
	default:
		b.Error.Object, b.Error.Type, b.Error.Code = "error", "server_error", string(rft.KindOf(err))
	}
	return b
}

// statusError gives an error an HTTP status that its kind does not have.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// writeJSON writes a JSON answer.
func (rq *request) writeJSON(status int, v any) {
	// A client that takes no bytes must not hold the answer for ever.
	_ = http.NewResponseController(rq.w).SetWriteDeadline(time.Now().Add(answerTimeout))
	if rq.w.status == 0 { // else spaces went ahead
		rq.w.Header().Set("Content-Type", "application/json")
		rq.w.WriteHeader(status)
	}
	enc := json.NewEncoder(rq.w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		rq.log.DebugContext(rq.ctx(), "answer not sent", "error", err.Error())
	}
}

package control

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// BatchModel is what answers the rows of a batch.
type BatchModel struct {
	Router *serving.Router
	Model  store.Model
	Target serving.Target
	// Turn is who asks, to the sampling child: rows of one job wait for each other
	// and take turns with everybody else's requests.
	Turn uint64
	// Defaults stand under every body.
	Defaults map[string]json.RawMessage
}

// NewBatchModel names a model to the router.
func NewBatchModel(ctx context.Context, db *store.DB, router *serving.Router, account string, m store.Model, turn string) (BatchModel, error) {
	t, err := targetOf(ctx, db, account, m)
	return BatchModel{Router: router, Model: m, Target: t, Turn: serving.Turn(turn)}, err
}

// Request makes a sampling of a row's body, as chat/completions would.
func (b BatchModel) Request(body map[string]json.RawMessage) (*Sampling, error) {
	merged := map[string]json.RawMessage{}
	maps.Copy(merged, b.Defaults)
	if _, ok := body["max_completion_tokens"]; ok { // another name of the default
		delete(merged, "max_tokens")
	}
	if _, ok := body["max_tokens"]; ok {
		delete(merged, "max_completion_tokens")
	}
	maps.Copy(merged, body)
	raw, err := json.Marshal(merged)
	if err != nil {
		return nil, rft.Wrap(rft.KindInvalidArgument, err, "body: is not the JSON of a chat request")
	}
	var r api.CompletionRequest
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, BodyError(err)
	}
	switch {
	case r.Model != "" && !b.names(r.Model):
		return nil, rft.FieldErrorf("model", "model: every row of this job is answered by %s; leave model out, or make another job", b.Model.Name())
	case r.Stream:
		return nil, rft.FieldErrorf("stream", "stream: answers of a batch are whole")
	}
	r.Model, r.PerfMetrics = b.Model.Name(), false
	return newSampling(&r, b.Model, b.Target, b.Router, b.Turn, true)
}

// names reports whether a model string means the job's model.
func (b BatchModel) names(ref string) bool {
	n, on, err := parseTarget(ref, b.Model.Account)
	return err == nil && on.ID == "" && n.String() == b.Model.Name()
}

// RowError is the answer of a row that has none.
func RowError(err error) *api.BatchError {
	out := &api.BatchError{Code: "bad_request", Type: "invalid_request_error", Message: rft.PublicMessage(err), Status: rft.KindOf(err).HTTPStatus()}
	var e *rft.Error
	if errors.As(err, &e) {
		out.Param = e.Field
	}
	if out.Status != http.StatusBadRequest {
		out.Code, out.Type = string(rft.KindOf(err)), "server_error"
	}
	return out
}

// BodyError says what is wrong with the JSON of a request: the field, never the
// value.
func BodyError(err error) error {
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) && kind.Field != "" {
		return rft.FieldErrorf(kind.Field, "%s: has the wrong type, want %s", kind.Field, jsonTypeOf(kind))
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) || !api.IsFieldReason(err) {
		return rft.Wrap(rft.KindInvalidArgument, err, "the request body is not the JSON of a completion request")
	}
	return rft.Wrap(rft.KindInvalidArgument, err, "%s", err.Error())
}

func jsonTypeOf(e *json.UnmarshalTypeError) string {
	switch e.Type.Kind().String() {
	case "string":
		return "a string"
	case "bool":
		return "a boolean"
	case "float64", "float32":
		return "a number"
	case "slice":
		return "a list"
	case "struct", "map":
		return "an object"
	}
	return "a whole number"
}

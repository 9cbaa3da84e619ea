package rft

import (
	"errors"
	"fmt"
)

// Kind classifies an error. It is wire-stable: the HTTP status, the gRPC code
// and the CLI's exit code are looked up from it, never from an error's text.
type Kind string

const (
	KindCancelled          Kind = "CANCELLED"
	KindUnknown            Kind = "UNKNOWN"
	KindInvalidArgument    Kind = "INVALID_ARGUMENT"
	KindDeadlineExceeded   Kind = "DEADLINE_EXCEEDED"
	KindNotFound           Kind = "NOT_FOUND"
	KindAlreadyExists      Kind = "ALREADY_EXISTS"
	KindPermissionDenied   Kind = "PERMISSION_DENIED"
	KindResourceExhausted  Kind = "RESOURCE_EXHAUSTED"
	KindFailedPrecondition Kind = "FAILED_PRECONDITION"
	KindAborted            Kind = "ABORTED"
	KindOutOfRange         Kind = "OUT_OF_RANGE"
	KindUnimplemented      Kind = "UNIMPLEMENTED"
	KindInternal           Kind = "INTERNAL"
	KindUnavailable        Kind = "UNAVAILABLE"
	KindDataLoss           Kind = "DATA_LOSS"
	KindUnauthenticated    Kind = "UNAUTHENTICATED"
)

// Error is the one error vocabulary. Message is public: it is shown to API
// users and stored in a resource's status, so it never holds a secret, a
// prompt or a row. Cause is for logs of the operator only.
type Error struct {
	Kind    Kind
	Message string
	// Field names the offending request field, when there is one
	// ("trainingConfig.loraRank").
	Field string
	Cause error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Cause }

// Errorf makes an Error whose public message is the formatted text. A %w verb
// keeps its operand as the cause; the operand's text then becomes public, so
// wrap foreign errors with Wrap instead.
func Errorf(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Message: err.Error(), Cause: errors.Unwrap(err)}
}

// FieldErrorf is Errorf with INVALID_ARGUMENT that names the request field.
func FieldErrorf(field, format string, args ...any) *Error {
	e := Errorf(KindInvalidArgument, format, args...)
	e.Field = field
	return e
}

// Wrap hides cause behind a public message.
func Wrap(kind Kind, cause error, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Cause: cause}
}

// KindOf is the kind of the outermost Error in err's chain, KindUnknown for a
// foreign error and "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindUnknown
}

// PublicMessage is the text that may leave the process for err: the message of
// an Error, a fixed text for everything else.
func PublicMessage(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Message
	}
	return "internal error"
}

// kindTable holds, per kind, the gRPC code, the HTTP status and the CLI's exit
// code. Exit codes: 1 unknown, 2 usage, then one per class of thing to do.
var kindTable = map[Kind]struct{ grpc, http, exit int }{
	KindCancelled: {1, 499, 8}, KindUnknown: {2, 500, 1}, KindInvalidArgument: {3, 400, 2}, KindDeadlineExceeded: {4, 504, 9},
	KindNotFound: {5, 404, 4}, KindAlreadyExists: {6, 409, 5}, KindPermissionDenied: {7, 403, 6}, KindResourceExhausted: {8, 429, 9},
	KindFailedPrecondition: {9, 400, 7}, KindAborted: {10, 409, 8}, KindOutOfRange: {11, 400, 2}, KindUnimplemented: {12, 501, 10},
	KindInternal: {13, 500, 1}, KindUnavailable: {14, 503, 9}, KindDataLoss: {15, 500, 11}, KindUnauthenticated: {16, 401, 3},
}

// GRPCCode is the number of the gRPC status code of the same name.
func (k Kind) GRPCCode() int { return kindTable[k.known()].grpc }

// HTTPStatus is the status of the wire contract for k.
func (k Kind) HTTPStatus() int { return kindTable[k.known()].http }

// ExitCode is the exit code of the CLI for k.
func (k Kind) ExitCode() int { return kindTable[k.known()].exit }

func (k Kind) known() Kind {
	if _, ok := kindTable[k]; ok {
		return k
	}
	return KindUnknown
}

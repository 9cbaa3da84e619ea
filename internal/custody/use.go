package custody

import (
	"context"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// Use says what a data key is opened for. It travels with the context, like a
// request's id: it decides nothing, and stands in the audit row.
type Use struct {
	Purpose  string // "step", "serve", "export", ...
	Resource string // resource name of the job, the model or the request; "" = the account
	Actor    string // "runner", a principal; "" = "firekeep"
}

type useKey struct{}

// For returns a context whose openings of data keys are recorded as u.
func For(ctx context.Context, u Use) context.Context { return context.WithValue(ctx, useKey{}, u) }

// record writes the audit row of an unwrapped data key. Without it no key is
// handed out.
func (k *Keys) record(ctx context.Context, row store.AccountKey, artefact string, failed error) error {
	if k.Audit == nil {
		return nil
	}
	u, _ := ctx.Value(useKey{}).(Use)
	if u.Purpose == "" {
		u.Purpose = "read"
	}
	if u.Actor == "" {
		u.Actor = "firekeep"
	}
	if u.Resource == "" {
		u.Resource = rft.AccountName(row.Account)
	}
	result := "OK"
	if failed != nil {
		result = string(rft.KindOf(failed))
	}
	act := store.Act{Account: row.Account, Actor: u.Actor, Method: "UnwrapDataKey", Resource: u.Resource,
		Detail: map[string]string{"key": row.UID, "kind": row.Kind, "artefact": artefact, "purpose": u.Purpose}}
	if _, err := k.Audit.Record(ctx, act, result); err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "no data key was opened: the act could not be audited")
	}
	return nil
}

// EachOnce is a Recorder that records an act once per account and purpose:
// for a program that opens everything there is, such as fsck.
func EachOnce(r Recorder) Recorder { return &eachOnce{to: r, seen: map[[3]string]bool{}} }

type eachOnce struct {
	to   Recorder
	seen map[[3]string]bool
}

// Record implements Recorder. It serves one goroutine.
func (e *eachOnce) Record(ctx context.Context, act store.Act, result string) (int64, error) {
	id := [3]string{act.Account, act.Detail["purpose"], result}
	if e.seen[id] {
		return -1, nil
	}
	e.seen[id] = true
	return e.to.Record(ctx, act, result)
}

package authz

import (
	"context"
	"log/slog"
	"strings"

	"github.com/firekeep/firekeep/internal/rft"
)

// Principal is an authenticated caller.
type Principal struct {
	Account string // id, "" for the operator
	User    string // id within the account
	Name    string // e-mail or service account name, for audit rows and createdBy
	Email   string
	Role    Role
	// Service marks a service account.
	Service bool
	// Policies are those of a custom role together with the product's; nil otherwise.
	Policies *Policies
	// Scope narrows what this key may do; nil = all that its user may.
	Scope *Scope
	KeyID string
	// KeyKind is one of store.KeyKind, KeyLogin and KeyWorkload.
	KeyKind string
	// Home marks a member of the server's first account, who may read the server's
	// metrics.
	Home bool
	// Operator marks an admin of the server's first account, who keeps what is
	// published under accounts/fireworks.
	Operator bool
	// Limits are the account's.
	Limits Limits
}

// LogValue keeps logs to ids.
func (p Principal) LogValue() slog.Value {
	return slog.GroupValue(slog.String("account", p.Account), slog.String("user", p.User), slog.String("key_id", p.KeyID))
}

// Resource is what an action is done to. Name is the resource's name or, for
// create and list, the collection's parent.
type Resource struct {
	Account string
	Name    string
	Owner   string // principal's Name or user id that the resource belongs to, "" = nobody's
	// Refs are the resources that a creation reads or makes ("accounts/a/datasets/d").
	Refs []string
}

// Decision is what Authorize found, for the audit row.
type Decision struct {
	Allowed bool
	// Policy names the policies that decided, "default" where none spoke.
	Policy string
}

// String is the decision as audit rows show it.
func (d Decision) String() string {
	if d.Allowed {
		return "allow"
	}
	return "deny"
}

// Authorize reports whether p may do action to r: nil, NOT_FOUND where r lies
// in another account (so that foreign names cannot be told from absent ones),
// PERMISSION_DENIED where p's role or key does not reach.
func Authorize(ctx context.Context, p Principal, action Action, r Resource) (d Decision, err error) {
	if observe, ok := ctx.Value(observerKey{}).(func(Action, Resource, Decision)); ok {
		defer func() { observe(action, r, d) }()
	}
	if p.Account == "" && p.Role != Operator {
		return Decision{Policy: "default"}, rft.Errorf(rft.KindUnauthenticated, "an API key is required")
	}
	d = decide(p, action, r)
	switch {
	case d.Allowed:
		return d, nil
	case strings.Contains(d.Policy, "boundary.account"):
		return d, NotFound(r.Name)
	case strings.Contains(d.Policy, "boundary.key-scope"):
		return d, rft.Errorf(rft.KindPermissionDenied, "this API key's scope does not cover %s here; use another key", action)
	}
	return d, rft.Errorf(rft.KindPermissionDenied, "the role %s may not do %s; ask an admin of the account", p.Role, action)
}

// NotFound is the one answer for a resource that is absent, or that the caller
// may not know of.
func NotFound(name string) error {
	return rft.Errorf(rft.KindNotFound, "%s not found", name)
}

type observerKey struct{}

// WithObserver makes Authorize report its calls; tests count them with it.
func WithObserver(ctx context.Context, observe func(Action, Resource, Decision)) context.Context {
	return context.WithValue(ctx, observerKey{}, observe)
}

package authz

import (
	"context"
	"log/slog"

	"github.com/firekeep/firekeep/internal/rft"
)

// Principal is an authenticated caller.
type Principal struct {
	Account string // id
	User    string // id within the account
	Name    string // e-mail or service account name, for audit rows and createdBy
	Email   string
	Role    Role
	KeyID   string
	// Operator marks an admin of the operator's own account, who keeps what is
	// published under accounts/fireworks.
	Operator bool
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
}

// Authorize reports whether p may do action to r: nil, NOT_FOUND where r lies
// in another account (so that foreign names cannot be told from absent ones),
// PERMISSION_DENIED where p's role does not reach.
func Authorize(ctx context.Context, p Principal, action Action, r Resource) error {
	if observe, ok := ctx.Value(observerKey{}).(func(Action, Resource)); ok {
		observe(action, r)
	}
	if p.Account == "" {
		return rft.Errorf(rft.KindUnauthenticated, "an API key is required")
	}
	if r.Account != p.Account && !reaches(p, action, r) {
		return NotFound(r.Name)
	}
	if !allowed(p, action, r) {
		return rft.Errorf(rft.KindPermissionDenied, "the role %s may not do %s; ask an admin of the account", p.Role, action)
	}
	return nil
}

// reaches reports whether p may do action to what the operator published: look
// and sample for everybody, keep for the operator.
func reaches(p Principal, action Action, r Resource) bool {
	return r.Account == rft.OperatorAccount && (shared[action] || (p.Operator && published[action]))
}

// NotFound is the one answer for a resource that is absent, or that the caller
// may not know of.
func NotFound(name string) error {
	return rft.Errorf(rft.KindNotFound, "%s not found", name)
}

func allowed(p Principal, action Action, r Resource) bool {
	row, known := table[action]
	if !known {
		return false
	}
	for i, role := range Roles() {
		if role != p.Role {
			continue
		}
		switch row[i] {
		case yes:
			return true
		case own:
			return r.Owner != "" && (r.Owner == p.Name || r.Owner == p.User)
		}
	}
	return false
}

type observerKey struct{}

// WithObserver makes Authorize report its calls; tests count them with it.
func WithObserver(ctx context.Context, observe func(Action, Resource)) context.Context {
	return context.WithValue(ctx, observerKey{}, observe)
}

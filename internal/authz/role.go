// Package authz knows who calls and what they may do: API keys, tokens of other
// issuers, principals, roles as Cedar policies, and the one function Authorize
// that every operation asks first.
package authz

import (
	"slices"

	"github.com/firekeep/firekeep/internal/rft"
)

// Role is a role of the wire contract.
type Role string

const (
	Admin         Role = "admin"
	User          Role = "user"
	Contributor   Role = "contributor"
	InferenceUser Role = "inference-user"
	// Custom is a role of the account's own: the user's permission preset names it.
	Custom Role = "custom"
	// Operator is the role of the operator's credential. No user has it.
	Operator Role = "operator"
)

// Roles lists the roles that need no policies of an account, widest first.
func Roles() []Role { return []Role{Admin, User, Contributor, InferenceUser} }

// ParseRole reads the role of a request. A custom role needs the name of its
// policies, which the contract calls the permission preset.
func ParseRole(field, s, preset string) (Role, error) {
	r := Role(s)
	switch {
	case r == Custom && preset == "":
		return "", rft.FieldErrorf("permissionPreset", "permissionPreset: the role custom needs the id of a role of the account; make one with `firekeep role create`")
	case r == Custom:
		return r, rft.CheckID("permissionPreset", preset)
	case !slices.Contains(Roles(), r):
		return "", rft.FieldErrorf(field, "%s: must be admin, user, contributor, inference-user or custom", field)
	case preset != "":
		return "", rft.FieldErrorf("permissionPreset", "permissionPreset: belongs to the role custom only")
	}
	return r, nil
}

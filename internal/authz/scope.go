package authz

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/firekeep/firekeep/internal/rft"
)

// Scope is what an API key was made for: never more than its user may do, often
// less. Empty parts narrow nothing.
type Scope struct {
	// Roles narrow to what these roles may do.
	Roles []Role `json:"roles,omitempty"`
	// Actions are names such as "models.get", or "models.*".
	Actions []string `json:"actions,omitempty"`
	// Resources are names, or prefixes of names that end in '*'.
	Resources []string `json:"resources,omitempty"`
}

// always are the actions by which a client finds out whose key it holds.
var always = []Action{VerifyKey, ListAccounts, GetAccount}

// resourcePattern is the name of a resource, with one '*' at the end at most.
var resourcePattern = rft.Pattern(`^accounts/[a-z0-9.-]{1,63}/[A-Za-z]{1,40}/([A-Za-z0-9.-]{1,63}\*?|\*)$`)

// Check validates the scope of a request.
func (s *Scope) Check(field string) error {
	if s == nil {
		return nil
	}
	if len(s.Roles) > 8 || len(s.Actions) > 64 || len(s.Resources) > 64 {
		return rft.FieldErrorf(field, "%s: at most 8 roles, 64 actions and 64 resources", field)
	}
	for _, r := range s.Roles {
		if !slices.Contains(Roles(), r) {
			return rft.FieldErrorf(field+".roles", "%s.roles: %q is not one of admin, user, contributor, inference-user", field, clip(string(r), 40))
		}
	}
	for _, a := range s.Actions {
		if !known(a) {
			return rft.FieldErrorf(field+".actions", `%s.actions: %q is not an action such as "models.get" or "models.*"`, field, clip(a, 60))
		}
	}
	for _, r := range s.Resources {
		if !resourcePattern.MatchString(r) {
			return rft.FieldErrorf(field+".resources", `%s.resources: %q is not a name such as "accounts/main/models/m" or "accounts/main/models/m*"`, field, clip(r, 120))
		}
	}
	return nil
}

// ParseScope reads the stored form of a scope. A text that does not parse covers
// nothing: a damaged scope must not widen a key.
func ParseScope(text string) *Scope {
	if text == "" {
		return nil
	}
	s := &Scope{}
	if json.Unmarshal([]byte(text), s) != nil {
		return &Scope{Actions: []string{"nothing"}}
	}
	return s
}

// String is the stored form.
func (s *Scope) String() string {
	if s == nil || (len(s.Roles) == 0 && len(s.Actions) == 0 && len(s.Resources) == 0) {
		return ""
	}
	b, _ := json.Marshal(s) // strings only
	return string(b)
}

// Within reports whether a key of scope outer may make one of scope s: nothing
// grows by making keys.
func (s *Scope) Within(outer *Scope) bool {
	if outer == nil {
		return true
	}
	return s.String() == outer.String()
}

// covers reports whether the scope reaches action and resource.
func (s *Scope) covers(a Action, r Resource) bool {
	if s == nil || slices.Contains(always, a) {
		return true
	}
	if len(s.Actions) > 0 && !covers(s.Actions, a) {
		return false
	}
	if len(s.Roles) > 0 && !slices.ContainsFunc(s.Roles, func(role Role) bool { return grants(role, a) }) {
		return false
	}
	return len(s.Resources) == 0 || s.reaches(r)
}

// grants reports whether a role may do an action at least to what is its own.
func grants(role Role, a Action) bool {
	own := Resource{Account: "a", Name: "accounts/a", Owner: "u"}
	return decide(Principal{Account: "a", User: "u", Role: role}, a, own).Allowed
}

// reaches reports whether the scope's resources hold everything that the
// operation names: a creation is judged by what it reads and makes.
func (s *Scope) reaches(r Resource) bool {
	names := r.Refs
	if len(names) == 0 {
		names = []string{r.Name}
	}
	for _, name := range names {
		inside := slices.ContainsFunc(s.Resources, func(p string) bool {
			prefix, wild := strings.CutSuffix(p, "*")
			return name == p || (wild && strings.HasPrefix(name, prefix))
		})
		if !inside {
			return false
		}
	}
	return true
}

package authz

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/firekeep/firekeep/internal/rft"
)

//go:embed policies.cedar
var policiesText []byte

// Entity types of the policies.
const (
	typePrincipal = types.EntityType("Principal")
	typeRole      = types.EntityType("Role")
	typeAction    = types.EntityType("Action")
	typeResource  = types.EntityType("Resource")
)

// Policies is a compiled set of policies.
type Policies struct{ set *cedar.PolicySet }

// base holds the policies of the product, actionEntities the groups of actions.
var (
	base           = mustBase()
	actionEntities = entitiesOfActions()
)

func mustBase() *Policies {
	p := &Policies{cedar.NewPolicySet()}
	if err := p.add("", policiesText); err != nil {
		panic(err) // the text is ours, and tests parse it
	}
	return p
}

// add parses text and adds its policies under prefix; a policy is called by its
// annotation @id, or by its place in the text.
func (p *Policies) add(prefix string, text []byte) error {
	list, err := cedar.NewPolicyListFromBytes("", text)
	if err != nil {
		return err
	}
	for i, one := range list {
		id := string(one.Annotations()["id"])
		if id == "" {
			id = fmt.Sprintf("%d", i+1)
		}
		if !p.set.Add(cedar.PolicyID(prefix+id), one) {
			return fmt.Errorf("two policies are called %q", id)
		}
	}
	return nil
}

// Bounds of the text of a custom role. The parser's depth follows the text's
// nesting, so nesting is bounded before it is parsed.
const (
	maxPolicyBytes = 16 << 10
	maxPolicies    = 64
	maxNesting     = 64
)

// CompileRole parses the policies of a custom role together with the product's
// own. The role's policies are known as "custom/ROLE/ID".
func CompileRole(field, role, text string) (*Policies, error) {
	bad := func(why string) error { return rft.FieldErrorf(field, "%s: %s", field, why) }
	switch {
	case strings.TrimSpace(text) == "":
		return nil, bad(`is required: Cedar policies such as permit (principal, action == Action::"models.get", resource);`)
	case len(text) > maxPolicyBytes:
		return nil, bad("is longer than 16 KiB")
	case nesting(text) > maxNesting:
		return nil, bad("is nested too deeply")
	}
	p := &Policies{cedar.NewPolicySet()}
	if err := p.add("custom/"+role+"/", []byte(text)); err != nil {
		return nil, &rft.Error{Kind: rft.KindInvalidArgument, Field: field, Cause: err,
			Message: fmt.Sprintf("%s: is not a list of Cedar policies: %s", field, clip(err.Error(), 300))}
	}
	if n := len(maps.Collect(p.set.All())); n > maxPolicies {
		return nil, bad(fmt.Sprintf("holds %d policies; at most %d", n, maxPolicies))
	}
	for id, one := range base.set.All() {
		p.set.Add(id, one)
	}
	return p, nil
}

// nesting is how deep brackets of text stand in each other, and how long a chain
// of prefix operators is.
func nesting(text string) int {
	deepest, depth, chain := 0, 0, 0
	for _, c := range text {
		switch c {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case '!', '-':
			chain++
			deepest = max(deepest, chain)
			continue
		case ' ', '\t', '\n', '\r':
			continue
		}
		chain = 0
		deepest = max(deepest, depth)
	}
	return deepest
}

// entitiesOfActions gives every action its groups as parents.
func entitiesOfActions() types.EntityMap {
	out := types.EntityMap{}
	for a, in := range groups {
		parents := make([]types.EntityUID, len(in))
		for i, g := range in {
			parents[i] = types.NewEntityUID(typeAction, types.String(g))
		}
		uid := types.NewEntityUID(typeAction, types.String(a))
		out[uid] = types.Entity{UID: uid, Parents: types.NewEntityUIDSet(parents...)}
	}
	return out
}

// entities is what policies can look at: the actions, the caller and the
// resource. It copies nothing.
type entities struct{ principal, resource types.Entity }

// Get implements types.EntityGetter.
func (e entities) Get(uid types.EntityUID) (types.Entity, bool) {
	switch uid {
	case e.principal.UID:
		return e.principal, true
	case e.resource.UID:
		return e.resource, true
	}
	return actionEntities.Get(uid)
}

// Decide is what Authorize would find, for reviews: nobody asks to do anything.
func Decide(p Principal, action Action, r Resource) Decision { return decide(p, action, r) }

// decide evaluates the policies of p.
func decide(p Principal, action Action, r Resource) Decision {
	if _, ok := groups[action]; !ok {
		return Decision{Policy: "default"} // nobody reviewed it
	}
	e := entities{principalEntity(p), resourceEntity(r)}
	set := base
	if p.Role == Custom && p.Policies != nil {
		set = p.Policies
	}
	allowed, why := cedar.Authorize(set.set, e, cedar.Request{
		Principal: e.principal.UID, Action: types.NewEntityUID(typeAction, types.String(action)), Resource: e.resource.UID,
		Context: types.NewRecord(types.RecordMap{"inScope": types.Boolean(p.Scope.covers(action, r))}),
	})
	// A policy that cannot be evaluated takes no part; were it a forbid, the
	// answer would be too wide.
	if len(why.Errors) > 0 {
		return Decision{Policy: "error/" + string(why.Errors[0].PolicyID)}
	}
	return Decision{Allowed: allowed == cedar.Allow, Policy: reasons(why)}
}

// reasons names the policies that decided, "default" where none spoke.
func reasons(d cedar.Diagnostic) string {
	var ids []string
	for _, r := range d.Reasons {
		ids = append(ids, string(r.PolicyID))
	}
	if len(ids) == 0 {
		return "default"
	}
	slices.Sort(ids)
	return clip(strings.Join(ids, ","), 200)
}

func principalEntity(p Principal) types.Entity {
	uid := types.NewEntityUID(typePrincipal, types.String(p.Account+"/"+p.User))
	roles := []types.EntityUID{types.NewEntityUID(typeRole, types.String(p.Role))}
	attrs := types.RecordMap{"publisher": types.Boolean(p.Operator), "home": types.Boolean(p.Home), "user": types.String(p.User), "name": types.String(p.Name)}
	if p.Account != "" {
		attrs["account"] = types.String(p.Account)
	}
	if slices.Contains(Roles(), p.Role) || (p.Role == Custom && p.Policies != nil) {
		roles = append(roles, types.NewEntityUID(typeRole, "member"))
	}
	return types.Entity{UID: uid, Parents: types.NewEntityUIDSet(roles...), Attributes: types.NewRecord(attrs)}
}

func resourceEntity(r Resource) types.Entity {
	attrs := types.RecordMap{"account": types.String(r.Account), "name": types.String(r.Name)}
	if r.Owner != "" {
		attrs["owner"] = types.String(r.Owner)
	}
	refs := make([]types.Value, len(r.Refs))
	for i, ref := range r.Refs {
		refs[i] = types.String(ref)
	}
	attrs["refs"] = types.NewSet(refs...)
	return types.Entity{UID: types.NewEntityUID(typeResource, types.String(r.Name)), Attributes: types.NewRecord(attrs)}
}

func clip(s string, n int) string {
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "")
	}
	return s
}

package authz

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/firekeep/firekeep/internal/rft"
)

var update = flag.Bool("update", false, "rewrite testdata/matrix.txt")

// TestMatrix holds every role x action x place against the reviewed matrix.
func TestMatrix(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "%-26s", "action")
	for _, r := range Roles() {
		fmt.Fprintf(&b, " %-28s", r)
	}
	b.WriteString(" operator\n# per role: in the account / own / another account / the operator's account / the operator's by an operator\n")
	for _, a := range Actions() {
		fmt.Fprintf(&b, "%-26s", a)
		for _, role := range Roles() {
			p := Principal{Account: "main", User: "u", Name: "u@main", Role: role, Home: true}
			op := p
			op.Operator = role == Admin
			cell := []string{
				verdict(p, a, Resource{Account: "main", Name: "r", Owner: "other"}), verdict(p, a, Resource{Account: "main", Name: "r", Owner: "u"}),
				verdict(p, a, Resource{Account: "acme", Name: "r", Owner: "u"}), verdict(p, a, Resource{Account: rft.OperatorAccount, Name: "r"}),
				verdict(op, a, Resource{Account: rft.OperatorAccount, Name: "r"}),
			}
			fmt.Fprintf(&b, " %-28s", strings.Join(cell, " "))
		}
		fmt.Fprintf(&b, " %s\n", verdict(Principal{User: "operator", Role: Operator}, a, Resource{Account: "acme", Name: "r"}))
	}
	golden(t, "testdata/matrix.txt", b.String())
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s changed; review it and run go test -update:\n%s", path, got)
	}
}

func verdict(p Principal, a Action, r Resource) string {
	switch rft.KindOf(ask(p, a, r)) {
	case "":
		return "yes"
	case rft.KindNotFound:
		return "404"
	case rft.KindPermissionDenied:
		return "403"
	}
	return "???"
}

func ask(p Principal, a Action, r Resource) error {
	_, err := Authorize(context.Background(), p, a, r)
	return err
}

func TestNothingWithoutPrincipal(t *testing.T) {
	for _, a := range Actions() {
		if err := ask(Principal{}, a, Resource{}); rft.KindOf(err) != rft.KindUnauthenticated {
			t.Errorf("%s without a principal: %v", a, err)
		}
	}
	p := Principal{Account: "main", Role: "emperor"}
	if err := ask(p, GetAccount, Resource{Account: "main"}); rft.KindOf(err) != rft.KindPermissionDenied {
		t.Errorf("an unknown role: %v", err)
	}
	p.Role = Custom // whose policies are gone
	if err := ask(p, GetAccount, Resource{Account: "main"}); rft.KindOf(err) != rft.KindPermissionDenied {
		t.Errorf("a custom role without policies: %v", err)
	}
	p.Role = Admin
	if err := ask(p, "nothing.known", Resource{Account: "main"}); rft.KindOf(err) != rft.KindPermissionDenied {
		t.Errorf("an unknown action: %v", err)
	}
}

// TestForeignNamesTellNothing: the answer is the same for what is there and
// what is not, in another account.
func TestForeignNamesTellNothing(t *testing.T) {
	p := Principal{Account: "main", Role: Admin, Operator: true}
	for _, a := range Actions() {
		err := ask(p, a, Resource{Account: "acme", Name: "accounts/acme/models/m"})
		if rft.KindOf(err) != rft.KindNotFound || err.Error() != "accounts/acme/models/m not found" {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// TestEveryActionIsDecided: an action that belongs to no group would be denied
// to everybody, and an unknown group would permit nothing.
func TestEveryActionIsDecided(t *testing.T) {
	groupsOf := map[Group]int{}
	for a, in := range groups {
		if len(in) == 0 {
			t.Errorf("%s is in no group", a)
		}
		for _, g := range in {
			groupsOf[g]++
		}
	}
	for g := range groupsOf {
		if !strings.Contains(string(policiesText), `Action::"`+string(g)+`"`) {
			t.Errorf("no policy speaks of the group %s", g)
		}
	}
	if len(groups) < 60 || len(groupsOf) != 10 {
		t.Errorf("%d actions in %d groups", len(groups), len(groupsOf))
	}
}

func custom(t *testing.T, text string) Principal {
	t.Helper()
	p, err := CompileRole("policy", "r", text)
	if err != nil {
		t.Fatal(err)
	}
	return Principal{Account: "main", User: "u", Name: "u@main", Role: Custom, Policies: p}
}

// TestCustomRole: policies of an account's own permit by name, and a forbid wins.
func TestCustomRole(t *testing.T) {
	p := custom(t, `
@id("read") permit (principal, action in [Action::"models.get", Action::"infer"], resource) when { resource.name like "accounts/main/models/public-*" };
@id("train") permit (principal, action == Action::"steps.create", resource) when { resource.refs.contains("accounts/main/datasets/d1") };
@id("never") forbid (principal, action, resource) when { resource.name == "accounts/main/models/public-secret" };`)
	for _, c := range []struct {
		a    Action
		r    Resource
		want string
		by   string
	}{
		{GetModel, Resource{Account: "main", Name: "accounts/main/models/public-1"}, "yes", "custom/r/read"},
		{GetModel, Resource{Account: "main", Name: "accounts/main/models/other"}, "403", "default"},
		{GetModel, Resource{Account: "main", Name: "accounts/main/models/public-secret"}, "403", "custom/r/never"},
		{CreateStep, Resource{Account: "main", Name: "accounts/main", Refs: []string{"accounts/main/datasets/d1"}}, "yes", "custom/r/train"},
		{CreateStep, Resource{Account: "main", Name: "accounts/main", Refs: []string{"accounts/main/datasets/d2"}}, "403", "default"},
		{GetUser, Resource{Account: "main", Name: "accounts/main/users/u", Owner: "u"}, "yes", "own.self"},
		{CreateUser, Resource{Account: "main", Name: "accounts/main"}, "403", "default"},
	} {
		if got := verdict(p, c.a, c.r); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.a, c.r.Name, got, c.want)
		}
		if d, _ := Authorize(context.Background(), p, c.a, c.r); d.Policy != c.by || d.Allowed != (c.want == "yes") {
			t.Errorf("%s %s was decided by %q, want %q", c.a, c.r.Name, d.Policy, c.by)
		}
	}
}

// TestPolicyErrorDenies: a policy that cannot be evaluated must not be the forbid
// that is missing.
func TestPolicyErrorDenies(t *testing.T) {
	p := custom(t, `permit (principal, action, resource); @id("bad") forbid (principal, action, resource) when { resource.nothing == 1 };`)
	d, err := Authorize(context.Background(), p, GetModel, Resource{Account: "main", Name: "m"})
	if rft.KindOf(err) != rft.KindPermissionDenied || d.Policy != "error/custom/r/bad" {
		t.Errorf("%+v %v", d, err)
	}
}

// TestBoundariesHold: whatever an account writes into its roles, nobody of it
// reaches another account, the operator's acts, or beyond the key's scope.
func TestBoundariesHold(t *testing.T) {
	widest := custom(t, `permit (principal, action, resource);`)
	rapid.Check(t, func(t *rapid.T) {
		p := widest
		p.Role = rapid.SampledFrom(append(Roles(), Custom)).Draw(t, "role")
		a := rapid.SampledFrom(Actions()).Draw(t, "action")
		account := rapid.SampledFrom([]string{"acme", "", "Main", "main2", "fireworks"}).Draw(t, "account")
		r := Resource{Account: account, Name: "accounts/" + account + "/models/m", Owner: rapid.SampledFrom([]string{"", "u", "u@main"}).Draw(t, "owner")}
		err := ask(p, a, r)
		shared := account == rft.OperatorAccount && covers([]string{"models.get", "models.list", "inference.chat", "inference.complete", "inference.model"}, a)
		if err == nil && !shared {
			t.Fatalf("%s may do %s in the account %q", p.Role, a, account)
		}
		if err := ask(p, rapid.SampledFrom([]Action{CreateAccount, SuspendAccount, DeleteAccount, RaiseQuota}).Draw(t, "act"), Resource{Account: "main", Name: "accounts/main"}); err == nil {
			t.Fatalf("%s may act as the operator", p.Role)
		}
		p.Scope = &Scope{Actions: []string{"models.get"}, Resources: []string{"accounts/main/models/one"}}
		if a != VerifyKey && a != ListAccounts && a != GetAccount && a != GetModel {
			if err := ask(p, a, Resource{Account: "main", Name: "accounts/main/models/one", Owner: "u"}); err == nil {
				t.Fatalf("a key of models.get may do %s", a)
			}
		}
		if err := ask(p, GetModel, Resource{Account: "main", Name: "accounts/main/models/two"}); err == nil {
			t.Fatal("a key of one model reads another")
		}
	})
}

// TestOperatorStaysOutside: the operator's credential reads nothing of a tenant.
func TestOperatorStaysOutside(t *testing.T) {
	op := Principal{User: "operator", Role: Operator}
	for _, a := range Actions() {
		allowed := ask(op, a, Resource{Account: "acme", Name: "accounts/acme"}) == nil
		want := covers([]string{"accounts.*", "quotas.*", "issuer.*", "auditLogs.*", "apiKeys.verify", "server.metrics"}, a)
		if allowed != want {
			t.Errorf("%s: %v", a, allowed)
		}
	}
}

func TestScope(t *testing.T) {
	for text, ok := range map[string]bool{
		`{"roles":["inference-user"]}`: true, `{"roles":["custom"]}`: false, `{"actions":["models.*","steps.create"]}`: true,
		`{"actions":["models"]}`: false, `{"actions":["*"]}`: false, `{"actions":[".*"]}`: false, `{"actions":["modelz.*"]}`: false,
		`{"resources":["accounts/main/models/m*"]}`: true, `{"resources":["accounts/main/models/*"]}`: true,
		`{"resources":["accounts/main/models/m*x"]}`: false, `{"resources":["*"]}`: false, `{"resources":["accounts/main"]}`: false,
	} {
		if err := ParseScope(text).Check("s"); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
	if s := ParseScope("{damaged"); s.covers(GetModel, Resource{Name: "x"}) {
		t.Error("a damaged scope covers something")
	}
	narrow := ParseScope(`{"roles":["inference-user"]}`)
	if narrow.covers(CreateStep, Resource{}) || !narrow.covers(Chat, Resource{}) {
		t.Error("a scope of a role is not what the role may do")
	}
	if (*Scope)(nil).Within(narrow) || !narrow.Within(nil) || !narrow.Within(narrow) {
		t.Error("a scoped key may make a wider one")
	}
}

func TestParseRole(t *testing.T) {
	for _, c := range []struct {
		role, preset string
		ok           bool
	}{{"admin", "", true}, {"custom", "r1", true}, {"custom", "", false}, {"custom", "R 1", false}, {"user", "r1", false}, {"operator", "", false}, {"", "", false}} {
		if _, err := ParseRole("role", c.role, c.preset); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestCompileRoleRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"empty": " ", "no Cedar": "allow everything", "too long": "//" + strings.Repeat("x", maxPolicyBytes),
		"too many":        strings.Repeat("permit(principal, action, resource);", maxPolicies+1),
		"one id twice":    `@id("a") permit(principal, action, resource); @id("a") permit(principal, action, resource);`,
		"too deep":        "permit(principal, action, resource) when { " + strings.Repeat("(", 5000) + "true" + strings.Repeat(")", 5000) + " };",
		"a long negation": "permit(principal, action, resource) when { " + strings.Repeat("! ", 5000) + "true };",
	} {
		if _, err := CompileRole("policy", "r", text); rft.KindOf(err) != rft.KindInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzCompileRole(f *testing.F) {
	f.Add(`permit (principal, action == Action::"models.get", resource) when { resource.name like "a*" };`)
	f.Add(string(policiesText))
	f.Fuzz(func(t *testing.T, text string) {
		p, err := CompileRole("policy", "r", text)
		if err != nil {
			return
		}
		who := Principal{Account: "main", User: "u", Role: Custom, Policies: p}
		if ask(who, GetModel, Resource{Account: "acme", Name: "accounts/acme/models/m"}) == nil {
			t.Fatal("a role reaches into another account")
		}
	})
}

func TestTrust(t *testing.T) {
	c := Claims{Subject: "repo:acme/app:ref:refs/heads/main", All: map[string]any{"groups": []any{"a", "b"}, "env": "prod", "n": float64(7), "yes": true}}
	for _, x := range []struct {
		t  Trust
		ok bool
	}{
		{Trust{Subject: "repo:acme/app:ref:refs/heads/main"}, true},
		{Trust{Subject: "repo:acme/app:*"}, true},
		{Trust{Subject: "repo:acme/application:*"}, false},
		{Trust{Subject: "repo:acme/app"}, false},
		{Trust{Claims: map[string]string{"env": "prod", "n": "7", "yes": "true", "groups": "b"}}, true},
		{Trust{Claims: map[string]string{"env": "test"}}, false},
		{Trust{Claims: map[string]string{"missing": "x"}}, false},
	} {
		if err := x.t.Matches(c); (err == nil) != x.ok {
			t.Errorf("%+v: %v", x.t, err)
		}
	}
	if r, err := (Trust{GroupsClaim: "groups", Roles: map[string]Role{"a": User, "b": Admin, "c": InferenceUser}}).RoleOf(c); r != Admin || err != nil {
		t.Errorf("%s %v", r, err)
	}
	if r, err := (Trust{GroupsClaim: "groups", Roles: map[string]Role{"c": Admin}}).RoleOf(c); err == nil {
		t.Errorf("a subject without a group is %s", r)
	}
	for _, x := range []struct {
		kind string
		t    Trust
		ok   bool
	}{
		{"workload", Trust{Subject: "s", User: "robot"}, true}, {"workload", Trust{User: "robot"}, false}, {"workload", Trust{Subject: "*", User: "robot"}, false},
		{"workload", Trust{Subject: "a*b", User: "robot"}, false}, {"workload", Trust{Subject: "s"}, false}, {"workload", Trust{Subject: "s", User: "u", DefaultRole: Admin}, false},
		{"workload", Trust{Subject: "s", User: "robot", LifeSeconds: 7200}, false}, {"login", Trust{}, false}, {"login", Trust{DefaultRole: User}, true},
		{"login", Trust{DefaultRole: Custom}, false}, {"login", Trust{Roles: map[string]Role{"a": "emperor"}}, false}, {"login", Trust{DefaultRole: User, User: "ann"}, false},
	} {
		if err := x.t.Check("trust", x.kind); (err == nil) != x.ok {
			t.Errorf("%s %+v: %v", x.kind, x.t, err)
		}
	}
}

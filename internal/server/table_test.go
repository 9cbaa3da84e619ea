package server

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"mime/multipart"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

var update = flag.Bool("update", false, "rewrite testdata/routes.txt")

// strangers are credentials that open nothing.
var strangers = []string{"none", "garbage", "expired", "revoked", "deleted account", "an operator's key of another server"}

// callers are credentials that open something; each has a column of the table.
var callers = []string{"foreign admin", "admin", "user", "contributor", "inference-user", "custom", "scoped", "operator"}

// credentials makes a key of every kind.
func credentials(t *testing.T, f *fixture) map[string]string {
	t.Helper()
	ctx := context.Background()
	out := map[string]string{"none": "", "garbage": "fk_garbage", "an operator's key of another server": seal.NewOperatorKey().Text.Reveal(),
		"expired": f.key("main", "ann", time.Now().Add(-time.Second)), "foreign admin": f.keys["acme/admin"], "admin": f.keys["main/admin"], "user": f.keys["main/ann"],
		"contributor": f.keys["main/carl"], "inference-user": f.keys["main/ina"], "operator": f.keys["operator"]}
	revoked := f.key("main", "ann", time.Now().Add(time.Hour))
	id, err := seal.ParseAPIKey(revoked)
	must(t, err)
	must(t, f.db.DeleteAPIKey(ctx, "main", "ann", id, store.Act{}))
	out["revoked"] = revoked
	_, err = f.db.CreateAccount(ctx, store.Account{ID: "gone"}, store.Act{})
	must(t, err)
	_, err = f.db.CreateUser(ctx, store.User{Account: "gone", ID: "admin", Role: "admin"}, store.Act{})
	must(t, err)
	out["deleted account"] = f.key("gone", "admin", time.Now().Add(time.Hour))
	must(t, f.db.DisbandAccount(ctx, "gone", store.Act{}))
	_, err = f.db.PutRole(ctx, store.Role{Account: "main", ID: "reader", Policy: `permit (principal, action == Action::"models.get", resource);`}, store.Act{})
	must(t, err)
	_, err = f.db.CreateUser(ctx, store.User{Account: "main", ID: "rita", Role: "custom", PermissionPreset: "reader"}, store.Act{})
	must(t, err)
	out["custom"] = f.key("main", "rita", time.Now().Add(time.Hour))
	out["scoped"] = f.scopedKey("main", "admin", `{"actions":["datasets.*"]}`)
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// body makes a request body that is refused late, behind the decision.
func lateBody(r route) (body, kind string) {
	switch {
	case r.Method != "POST" && r.Method != "PATCH":
		return "", "application/json"
	case strings.HasSuffix(r.Pattern, ":upload"):
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		w.CreateFormFile("file", "x")
		w.Close()
		return b.String(), w.FormDataContentType()
	case strings.Contains(r.Pattern, "completions"):
		return `{"model":"none","messages":[]}`, "application/json"
	}
	return `{}`, "application/json"
}

// filled is a route's path in the account main, with names that are not there.
func filled(pattern string) string {
	segments := strings.Split(pattern, "/")
	for i, s := range segments {
		if !strings.HasPrefix(s, "{") {
			continue
		}
		name, verb, hasVerb := strings.Cut(s, ":")
		segments[i] = "none"
		if name == "{account}" {
			segments[i] = "main"
		}
		if hasVerb {
			segments[i] += ":" + verb
		}
	}
	return strings.Join(segments, "/")
}

// TestRouteTable asks every route with every kind of credential. Strangers get
// 401 and nothing is decided for them; everybody else is decided about exactly
// once. The table of decisions is reviewed: a new route, or a wider one, is a
// change of it.
func TestRouteTable(t *testing.T) {
	f := newFixture(t)
	keys := credentials(t, f)
	type decided struct {
		action authz.Action
		d      authz.Decision
	}
	var seen []decided
	f.srv.observe = func(ctx context.Context, _ *route) context.Context {
		return authz.WithObserver(ctx, func(a authz.Action, _ authz.Resource, d authz.Decision) { seen = append(seen, decided{a, d}) })
	}
	var table strings.Builder
	fmt.Fprintf(&table, "# every route, in the account main, by: %s\n# a = allowed, 403 and 404 = refused; %s: always 401\n", strings.Join(callers, ", "), strings.Join(strangers, ", "))
	asked, open := 0, 0
	routes := slices.Clone(f.srv.table.routes)
	slices.SortFunc(routes, func(a, b route) int { return strings.Compare(a.Pattern+" "+a.Method, b.Pattern+" "+b.Method) })
	for _, r := range routes {
		body, kind := lateBody(r)
		call := func(as string) (int, []decided) {
			seen = nil
			f.keys["table"] = keys[as]
			who := "table"
			if keys[as] == "" {
				who = ""
			}
			status, _, text := f.do(who, r.Method, filled(r.Pattern), body, "Content-Type", kind)
			if status >= 500 && status != 501 { // this server has no audit log
				t.Errorf("%s %s as %s: %d %s", r.Method, r.Pattern, as, status, text)
			}
			asked++
			return status, seen
		}
		if r.public() {
			open++
			fmt.Fprintf(&table, "%-6s %-66s public\n", r.Method, r.Pattern)
			continue
		}
		for _, as := range strangers {
			if status, seen := call(as); status != 401 || len(seen) != 0 {
				t.Errorf("%s %s with the key %q: %d after %d decisions, want 401 before any", r.Method, r.Pattern, as, status, len(seen))
			}
		}
		var action authz.Action
		var cells []string
		for _, as := range callers {
			status, seen := call(as)
			if len(seen) != 1 {
				t.Errorf("%s %s as %s: decided %d times, want once", r.Method, r.Pattern, as, len(seen))
				continue
			}
			action = seen[0].action
			cell := "a"
			if !seen[0].d.Allowed {
				cell = fmt.Sprint(status)
				if status != 403 && status != 404 {
					t.Errorf("%s %s as %s: refused by %s, but answered %d", r.Method, r.Pattern, as, seen[0].d.Policy, status)
				}
			} else if status == 401 || status == 403 {
				t.Errorf("%s %s as %s: allowed by %s, but answered %d", r.Method, r.Pattern, as, seen[0].d.Policy, status)
			}
			cells = append(cells, fmt.Sprintf("%-3s", cell))
		}
		fmt.Fprintf(&table, "%-6s %-66s %-26s %s\n", r.Method, r.Pattern, action, strings.TrimRight(strings.Join(cells, " "), " "))
	}
	fmt.Fprintf(&table, "# %d routes, %d of them public\n", len(routes), open)
	if asked == 0 || len(routes) < 50 || open != 7 {
		t.Errorf("%d routes, %d public, %d requests: the table is not what it says", len(routes), open, asked)
	}
	const golden = "testdata/routes.txt"
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(golden, []byte(table.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if table.String() != string(want) {
		t.Errorf("the table of routes changed; review it and run go test -update:\n%s", table.String())
	}
}

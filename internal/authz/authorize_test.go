package authz

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/rft"
)

var update = flag.Bool("update", false, "rewrite testdata/matrix.txt")

// TestMatrix holds every role x action x place against the reviewed matrix.
func TestMatrix(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "%-22s", "action")
	for _, r := range Roles() {
		fmt.Fprintf(&b, " %-28s", r)
	}
	b.WriteString("\n# per role: in the account / own / another account / the operator's account / the operator's by an operator\n")
	for _, a := range slices.Sorted(maps.Keys(table)) {
		fmt.Fprintf(&b, "%-22s", a)
		for _, role := range Roles() {
			p := Principal{Account: "main", User: "u", Name: "u@main", Role: role}
			op := p
			op.Operator = role == Admin
			cell := []string{
				verdict(p, a, Resource{Account: "main", Owner: "other"}), verdict(p, a, Resource{Account: "main", Owner: "u"}),
				verdict(p, a, Resource{Account: "acme", Owner: "u"}), verdict(p, a, Resource{Account: rft.OperatorAccount}),
				verdict(op, a, Resource{Account: rft.OperatorAccount}),
			}
			fmt.Fprintf(&b, " %-28s", strings.Join(cell, " "))
		}
		b.WriteString("\n")
	}
	const golden = "testdata/matrix.txt"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the matrix changed; review it and run go test -update:\n%s", b.String())
	}
}

func verdict(p Principal, a Action, r Resource) string {
	switch rft.KindOf(Authorize(context.Background(), p, a, r)) {
	case "":
		return "yes"
	case rft.KindNotFound:
		return "404"
	case rft.KindPermissionDenied:
		return "403"
	}
	return "???"
}

func TestNothingWithoutPrincipal(t *testing.T) {
	for a := range table {
		if err := Authorize(context.Background(), Principal{}, a, Resource{}); rft.KindOf(err) != rft.KindUnauthenticated {
			t.Errorf("%s without a principal: %v", a, err)
		}
	}
	p := Principal{Account: "main", Role: "custom"}
	if err := Authorize(context.Background(), p, GetAccount, Resource{Account: "main"}); rft.KindOf(err) != rft.KindPermissionDenied {
		t.Errorf("an unknown role: %v", err)
	}
	p.Role = Admin
	if err := Authorize(context.Background(), p, "nothing.known", Resource{Account: "main"}); rft.KindOf(err) != rft.KindPermissionDenied {
		t.Errorf("an unknown action: %v", err)
	}
}

// TestForeignNamesTellNothing: the answer is the same for what is there and
// what is not, in another account.
func TestForeignNamesTellNothing(t *testing.T) {
	p := Principal{Account: "main", Role: Admin, Operator: true}
	for a := range table {
		err := Authorize(context.Background(), p, a, Resource{Account: "acme", Name: "accounts/acme/models/m"})
		if rft.KindOf(err) != rft.KindNotFound || err.Error() != "accounts/acme/models/m not found" {
			t.Errorf("%s: %v", a, err)
		}
	}
}

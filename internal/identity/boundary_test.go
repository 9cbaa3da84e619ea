package identity

import (
	"strings"
	"testing"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"pgregory.net/rapid"

	"github.com/firekeep/firekeep/internal/objstore"
)

// evaluator runs the conditions of credential access boundaries in Google's own
// implementation of the language, with the two names that storage has.
func evaluator(t *testing.T) func(expression, object, listed string) bool {
	env, err := cel.NewEnv(
		cel.Variable("resource.name", cel.StringType),
		cel.Variable("api", cel.MapType(cel.StringType, cel.StringType)),
		cel.Function("getAttribute", cel.MemberOverload("api_get_attribute", []*cel.Type{cel.MapType(cel.StringType, cel.StringType), cel.StringType, cel.StringType}, cel.StringType,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val {
				m := args[0].Value().(map[string]string)
				if v, ok := m[string(args[1].(types.String))]; ok {
					return types.String(v)
				}
				return args[2]
			}))))
	if err != nil {
		t.Fatal(err)
	}
	programs := map[string]cel.Program{}
	return func(expression, object, listed string) bool {
		p := programs[expression]
		if p == nil {
			ast, issues := env.Compile(expression)
			if issues.Err() != nil {
				t.Fatalf("%s: %v", expression, issues.Err())
			}
			if p, err = env.Program(ast); err != nil {
				t.Fatal(err)
			}
			programs[expression] = p
		}
		attributes := map[string]string{}
		if listed != "" {
			attributes["storage.googleapis.com/objectListPrefix"] = listed
		}
		out, _, err := p.Eval(map[string]any{"resource.name": object, "api": attributes})
		if err != nil {
			t.Fatalf("%s: %v", expression, err)
		}
		return out == types.True
	}
}

// TestBoundary: a boundary lets an object through if and only if its name begins
// with the prefix, and a list likewise.
func TestBoundary(t *testing.T) {
	eval := evaluator(t)
	rapid.Check(t, func(rt *rapid.T) {
		prefix := rapid.StringMatching(`([A-Za-z0-9!_.()=+@,-]{1,8}/){1,3}`).Draw(rt, "prefix")
		u := objstore.URL{Scheme: objstore.GS, Bucket: "bkt", Key: prefix}
		if u.CheckScope("url") != nil {
			return
		}
		expression, err := boundary(u)
		if err != nil || len(expression) > 2048 {
			rt.Fatalf("%d bytes, %v", len(expression), err)
		}
		key := nearKey(rt, prefix)
		under := strings.HasPrefix(key, prefix)
		if got := eval(expression, "projects/_/buckets/bkt/objects/"+key, ""); got != under {
			rt.Fatalf("%q under %q: %v\n%s", key, prefix, got, expression)
		}
		if eval(expression, "projects/_/buckets/bkt2/objects/"+key, "") {
			rt.Fatalf("another bucket: %s", expression)
		}
		if got := eval(expression, "projects/_/buckets/bkt", key); got != under {
			rt.Fatalf("list %q under %q: %v\n%s", key, prefix, got, expression)
		}
		if eval(expression, "projects/_/buckets/bkt", "") {
			rt.Fatalf("a list without a prefix: %s", expression)
		}
	})
	one, err := boundary(objstore.URL{Scheme: objstore.GS, Bucket: "bkt", Key: "data/rows"})
	if err != nil || !eval(one, "projects/_/buckets/bkt/objects/data/rows", "") || eval(one, "projects/_/buckets/bkt/objects/data/rows2", "") {
		t.Errorf("%s: %v", one, err)
	}
	for _, bad := range []string{"a'b/", `a\/`, "a\"/", "a\n/", "ü/"} {
		if got, err := boundary(objstore.URL{Scheme: objstore.GS, Bucket: "bkt", Key: bad}); err == nil {
			t.Errorf("%q: %s", bad, got)
		}
	}
}

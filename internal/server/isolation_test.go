package server

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	"github.com/firekeep/firekeep/internal/server/rpc"
	"github.com/firekeep/firekeep/internal/server/rpc/rpctest"
	"github.com/firekeep/firekeep/internal/store"
)

// answered is what a stranger can see of an answer, and what the database was
// asked for it.
type answered struct {
	status  int
	body    string
	queries []string
}

// probe sends one request straight to the handler.
func (f *fixture) probe(key, method, path, body, kind string) answered {
	var queries []string
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", kind)
	r.Host = "127.0.0.1"
	r.Header.Set("X-Request-Id", "probe")
	r = r.WithContext(store.WithTrace(r.Context(), func(q string) { queries = append(queries, q) }))
	w := httptest.NewRecorder()
	f.srv.ServeHTTP(w, r)
	return answered{w.Code, w.Body.String(), relevant(queries)}
}

// relevant leaves out what the clock decides about: when a key's use is noted.
func relevant(queries []string) []string {
	return slices.DeleteFunc(queries, func(q string) bool { return strings.Contains(q, "last_used = ?") })
}

// renamed replaces the names that the request itself contained: an answer may
// repeat them and nothing else.
func (a answered) renamed(account, id string) answered {
	a.body = strings.NewReplacer("accounts/"+account, "accounts/ACCOUNT", id, "ID").Replace(a.body)
	return a
}

func (a answered) differs(b answered) string {
	switch {
	case a.status != b.status:
		return fmt.Sprintf("status %d and %d", a.status, b.status)
	case a.body != b.body:
		return fmt.Sprintf("bodies %s and %s", a.body, b.body)
	case !slices.Equal(a.queries, b.queries):
		return fmt.Sprintf("queries %q and %q", a.queries, b.queries)
	}
	return ""
}

// collections are the kinds of resources that the sequences make, by the
// parameter of their routes.
var collections = map[string]string{"dataset": "datasets", "model": "models", "step": "rlorTrainerJobs", "sft": "supervisedFineTuningJobs", "dpo": "dpoJobs", "batch": "batchInferenceJobs", "merge": "PeftMergeJobs", "user": "users", "role": "roles", "provider": "identityProviders",
	"secret": "secrets", "deployment": "deployments", "deployed": "deployedModels", "connection": "connections"}

// tenant makes and removes resources of the account main, straight in the store.
type tenant struct {
	f    *fixture
	have map[string]bool // "collection/id"
}

// step makes the resource, or removes it where it is.
func (w *tenant) step(t *rapid.T, kind, id string) {
	ctx, db, act := context.Background(), w.f.db, store.Act{}
	name := kind + "/" + id
	has := w.have[name]
	var err error
	switch kind {
	case "dataset":
		if has {
			_, _, err = db.DeleteDataset(ctx, "main", id, act)
		} else {
			_, err = db.CreateDataset(ctx, store.Dataset{Account: "main", ID: id, State: store.StateReady, Status: store.OK()}, nil, act)
		}
	case "model":
		if has {
			_, err = db.DeleteModel(ctx, "main", id, act)
		} else {
			_, err = db.CreateModel(ctx, store.Model{Account: "main", ID: id, Kind: store.KindBase, State: store.StateReady, Status: store.OK()}, nil, act)
		}
	case "user":
		if has {
			return // users stay
		}
		_, err = db.CreateUser(ctx, store.User{Account: "main", ID: id, Role: "user"}, act)
	case "role":
		if has {
			err = db.DeleteRole(ctx, "main", id, act)
		} else {
			_, err = db.PutRole(ctx, store.Role{Account: "main", ID: id, Policy: "permit (principal, action, resource);"}, act)
		}
	case "provider":
		if has {
			err = db.DeleteIdentityProvider(ctx, "main", id, act)
		} else {
			_, err = db.CreateIdentityProvider(ctx, store.IdentityProvider{Account: "main", ID: id, Kind: store.KeyLogin, Issuer: "https://issuer.example", Config: []byte("{}")}, act)
		}
	case "sft", "dpo", "batch", "merge":
		kind := store.JobKind(kind)
		if has {
			_, _, err = db.DeleteJob(ctx, "main", kind, id, act)
		} else {
			_, err = db.CreateJob(ctx, store.Job{Account: "main", ID: id, Kind: kind, Spec: []byte("{}")}, act)
		}
	case "step":
		if has {
			_, _, err = db.DeleteJob(ctx, "main", store.JobStep, id, act)
		} else {
			_, err = db.CreateTrainer(ctx, store.Job{Account: "main", ID: id, Kind: store.JobStep, Spec: []byte("{}")}, nil, nil, act)
		}
	case "secret":
		if has {
			err = db.DeleteSecret(ctx, "main", id, act)
		} else {
			_, err = db.CreateSecret(ctx, store.Secret{Account: "main", ID: id, KeyName: "K", Sealed: []byte("x")}, act)
		}
	case "deployment":
		if has {
			err = db.DeleteDeployment(ctx, "main", id, true, act)
		} else {
			_, err = db.CreateDeployment(ctx, store.Deployment{Account: "main", ID: id, BaseModel: "accounts/main/models/base", State: "READY", Status: store.OK(), Config: []byte("{}")}, act)
		}
	default:
		return
	}
	if err != nil {
		t.Fatalf("%s %s: %v", kind, id, err)
	}
	w.have[name] = !has
}

// TestForeignAndMissingAreOne: whatever a tenant does, another one sees the same
// of what is there, of what is not, and of accounts that do not exist: bodies,
// statuses and what the database is asked, over both protocols.
func TestForeignAndMissingAreOne(t *testing.T) {
	f := newFixture(t)
	spy := f.keys["acme/admin"]
	f.probe(spy, "GET", "/v1/accounts", "", "application/json") // the key's first use is noted
	var routes []route
	for _, r := range f.srv.table.routes {
		if strings.Contains(r.Pattern, "{account}") {
			routes = append(routes, r)
		}
	}
	if len(routes) < 40 {
		t.Fatalf("%d routes name an account", len(routes))
	}
	ownTrainer(t, f)
	call := f.grpcSpy(t, spy)
	w := &tenant{f, map[string]bool{}}
	probes := 0
	kinds := []string{"dataset", "model", "step", "sft", "dpo", "batch", "user", "role", "provider", "secret", "deployment"}
	ids := []string{"x1", "x2", "x3", "x4"}
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.IntRange(1, 6).Draw(t, "steps") {
			w.step(t, rapid.SampledFrom(kinds).Draw(t, "kind"), rapid.SampledFrom(ids).Draw(t, "id"))
		}
		r := rapid.SampledFrom(routes).Draw(t, "route")
		body, kind := lateBody(r)
		param, id := lastParam(r.Pattern), rapid.SampledFrom(ids).Draw(t, "probed")
		ask := func(account, id string) answered {
			probes++
			return f.probe(spy, r.Method, pathOf(r.Pattern, account, param, id), body, kind).renamed(account, id)
		}
		first, absent, nowhere := ask("main", id), ask("main", "never-made"), ask("never-made", id)
		if d := first.differs(absent); d != "" {
			t.Fatalf("%s %s of a foreign account: what is there and what is not: %s", r.Method, r.Pattern, d)
		}
		if d := first.differs(nowhere); d != "" {
			t.Fatalf("%s %s: a foreign account and none: %s", r.Method, r.Pattern, d)
		}
		if first.status != 404 {
			t.Fatalf("%s %s of a foreign account: %d %s", r.Method, r.Pattern, first.status, first.body)
		}
		// Reading by name asks the database the same for a name of one's own that is
		// not there.
		if own := ask("acme", "never-made"); r.Method == "GET" && collections[param] != "" && strings.HasSuffix(r.Pattern, "{"+param+"}") {
			if d := first.differs(own); d != "" {
				t.Fatalf("%s %s: foreign and missing: %s", r.Method, r.Pattern, d)
			}
		}
		for _, m := range rpctest.Methods() {
			if m.Name() == "ListServerlessLoraModels" {
				continue // it names no account
			}
			if d := call(m, "main", id).differs(call(m, "main", "never-made")); d != "" {
				t.Fatalf("gRPC %s: %s", m.Name(), d)
			}
			if d := call(m, "main", id).differs(call(m, "never-made", id)); d != "" {
				t.Fatalf("gRPC %s: %s", m.Name(), d)
			}
			probes += 4
		}
		// A foreign name inside a request of one's own.
		for _, b := range references {
			ask := func(account, id string) answered {
				probes++
				body := strings.NewReplacer("ACCOUNT", account, "ID", id).Replace(b.body)
				return f.probe(spy, "POST", b.path, body, "application/json").renamed(account, id)
			}
			if d := ask("main", id).differs(ask("main", "never-made")); d != "" {
				t.Fatalf("%s with %s: %s", b.path, b.body, d)
			}
		}
	})
	least := 1000
	if testing.Short() {
		least = 500
	}
	if probes < least {
		t.Errorf("only %d probes", probes)
	}
}

// ownTrainer makes a keep-alive trainer of the spy's account.
func ownTrainer(t *testing.T, f *fixture) {
	t.Helper()
	base, err := f.db.CreateModel(t.Context(), store.Model{Account: "acme", ID: "own-base", Kind: store.KindBase, State: store.StateReady, Status: store.OK()}, nil, store.Act{})
	must(t, err)
	_, err = f.db.CreateTrainer(t.Context(), store.Job{Account: "acme", ID: "loop", Kind: store.JobStep, Spec: []byte(`{"baseUid":"` + base.UID + `"}`)}, nil, []string{base.UID}, store.Act{})
	must(t, err)
}

// references are requests of the spy's own account that name another one's.
var references = []struct{ path, body string }{
	{"/v1/accounts/acme/rlorTrainerJobs", `{"dataset":"accounts/ACCOUNT/datasets/ID","trainingConfig":{"baseModel":"accounts/ACCOUNT/models/ID"}}`},
	{"/v1/accounts/acme/rlorTrainerJobs", `{"dataset":"accounts/ACCOUNT/datasets/ID","trainingConfig":{"warmStartFrom":"accounts/ACCOUNT/models/ID","maxContextLength":64}}`},
	{"/v1/accounts/acme/rlorTrainerJobs/loop:executeTrainStep", `{"dataset":"accounts/ACCOUNT/datasets/ID","outputModel":"m"}`},
	{"/v1/accounts/acme/rlorTrainerJobs/loop:executeTrainStep", `{"dataset":"d","outputModel":"accounts/ACCOUNT/models/ID"}`},
	{"/v1/accounts/acme/supervisedFineTuningJobs", `{"dataset":"accounts/ACCOUNT/datasets/ID","baseModel":"accounts/ACCOUNT/models/ID"}`},
	{"/v1/accounts/acme/dpoJobs", `{"dataset":"accounts/ACCOUNT/datasets/ID","trainingConfig":{"warmStartFrom":"accounts/ACCOUNT/models/ID"}}`},
	{"/v1/accounts/acme/batchInferenceJobs", `{"inputDatasetId":"accounts/ACCOUNT/datasets/ID","model":"accounts/ACCOUNT/models/ID"}`},
	{"/v1/accounts/acme/PeftMergeJobs", `{"peftModel":"accounts/ACCOUNT/models/ID","mergedModel":"m"}`},
	{"/v1/accounts/acme/deployments", `{"baseModel":"accounts/ACCOUNT/models/ID"}`},
	{"/v1/accounts/acme/deployedModels", `{"model":"accounts/ACCOUNT/models/ID","deployment":"accounts/ACCOUNT/deployments/ID"}`},
	{"/v1/chat/completions", `{"model":"accounts/ACCOUNT/models/ID","messages":[{"role":"user","content":"x"}]}`},
	{"/v1/chat/completions", `{"model":"accounts/ACCOUNT/models/ID#accounts/ACCOUNT/deployments/ID","messages":[{"role":"user","content":"x"}]}`},
	{"/v1/completions", `{"model":"accounts/ACCOUNT/deployments/ID","prompt":"x"}`},
}

// lastParam is the parameter of a pattern that names the resource.
func lastParam(pattern string) string {
	i, j := strings.LastIndexByte(pattern, '{'), strings.LastIndexByte(pattern, '}')
	return pattern[i+1 : j]
}

func pathOf(pattern, account, param, id string) string {
	path := strings.Replace(pattern, "{account}", account, 1)
	path = strings.Replace(path, "{"+param+"}", id, 1)
	for strings.Contains(path, "{") {
		path = path[:strings.IndexByte(path, '{')] + id + path[strings.IndexByte(path, '}')+1:]
	}
	return path
}

// grpcSpy makes the calls of the gRPC service.
func (f *fixture) grpcSpy(t *testing.T, key string) func(method protoreflect.MethodDescriptor, account, id string) answered {
	t.Helper()
	var queries []string
	g := rpc.New(rpc.Options{Control: f.srv.control, Observe: func(ctx context.Context) context.Context {
		return store.WithTrace(ctx, func(q string) { queries = append(queries, q) })
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	ctx := metadata.AppendToOutgoingContext(context.Background(), "x-api-key", key)
	return func(m protoreflect.MethodDescriptor, account, id string) answered {
		queries = nil
		err := conn.Invoke(ctx, "/gateway.Gateway/"+string(m.Name()), rpctest.Request(m, account, id), rpctest.Answer(m))
		s := status.Convert(err)
		return answered{int(s.Code()), s.Message(), relevant(queries)}.renamed(account, id)
	}
}

// TestForeignTiming compares the time of answers about what is there with those
// about what is not, in another account. It takes a while and a quiet machine.
func TestForeignTiming(t *testing.T) {
	if os.Getenv("FIREKEEP_LONG") != "1" {
		t.Skip("10,000 timed requests; FIREKEEP_LONG=1 makes them")
	}
	f := newFixture(t)
	spy := f.keys["acme/admin"]
	r := rand.New(rand.NewPCG(1, 2))
	const n = 10_000
	var times [2][]float64
	h := http.Handler(f.srv)
	one := func(id string) float64 {
		req := httptest.NewRequest("GET", "/v1/accounts/main/models/"+id, nil)
		req.Host = "127.0.0.1"
		req.Header.Set("Authorization", "Bearer "+spy)
		start := time.Now()
		h.ServeHTTP(httptest.NewRecorder(), req)
		return float64(time.Since(start))
	}
	for range 500 {
		one("base")
		one("bass")
	}
	for range n { // in random order, so that what slows the machine slows both
		which := r.IntN(2)
		times[which] = append(times[which], one([]string{"base", "bass"}[which]))
	}
	if s := welch(cropped(times[0]), cropped(times[1])); math.Abs(s) >= 4.5 {
		t.Errorf("Welch's t is %.2f: a foreign model that is there answers in another time than one that is not", s)
	} else {
		t.Logf("Welch's t is %.2f over %d requests", s, n)
	}
}

// cropped leaves out the slowest tenth: pauses of the machine, not of the answer.
func cropped(x []float64) []float64 {
	x = slices.Sorted(slices.Values(x))
	return x[:len(x)*9/10]
}

func welch(a, b []float64) float64 {
	ma, va := moments(a)
	mb, vb := moments(b)
	return (ma - mb) / math.Sqrt(va/float64(len(a))+vb/float64(len(b)))
}

func moments(x []float64) (mean, variance float64) {
	for _, v := range x {
		mean += v
	}
	mean /= float64(len(x))
	for _, v := range x {
		variance += (v - mean) * (v - mean)
	}
	return mean, variance / float64(len(x)-1)
}

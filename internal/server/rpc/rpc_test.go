package rpc_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/control/controltest"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/server/gatewaypb"
	"github.com/firekeep/firekeep/internal/server/rpc"
	"github.com/firekeep/firekeep/internal/server/rpc/rpctest"
	"github.com/firekeep/firekeep/internal/store"
)

var update = flag.Bool("update", false, "rewrite testdata/methods.txt")

type fixture struct {
	*controltest.World
	server *grpc.Server
	conn   *grpc.ClientConn
	addr   string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	w := controltest.New(t, nil)
	g := rpc.New(rpc.Options{Control: w.Control})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go g.Serve(l)
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return &fixture{w, g, conn, l.Addr().String()}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func with(key string) context.Context {
	if key == "" {
		return context.Background()
	}
	return metadata.AppendToOutgoingContext(context.Background(), "x-api-key", key)
}

// callers are the credentials of a table's columns.
func callers(t *testing.T, f *fixture) ([]string, map[string]string) {
	t.Helper()
	ctx := context.Background()
	revoked := f.Key("main", "ann", time.Now().Add(time.Hour))
	id, err := seal.ParseAPIKey(revoked)
	must(t, err)
	must(t, f.DB.DeleteAPIKey(ctx, "main", "ann", id, store.Act{}))
	return []string{"none", "expired", "revoked", "foreign admin", "admin", "user", "contributor", "inference-user", "scoped", "operator"}, map[string]string{
		"none": "", "expired": f.Key("main", "ann", time.Now().Add(-time.Second)), "revoked": revoked, "foreign admin": f.Keys["acme/admin"], "admin": f.Keys["main/admin"],
		"user": f.Keys["main/ann"], "contributor": f.Keys["main/carl"], "inference-user": f.Keys["main/ina"],
		"scoped": f.ScopedKey("main", "admin", time.Now().Add(time.Hour), `{"actions":["datasets.*"]}`), "operator": f.Keys["operator"]}
}

// TestMethodTable asks every registered method with every kind of credential and
// holds the codes against the reviewed table.
func TestMethodTable(t *testing.T) {
	f := newFixture(t)
	names, keys := callers(t, f)
	var table strings.Builder
	fmt.Fprintf(&table, "# every method, in the account main, by: %s\n", strings.Join(names, ", "))
	registered := f.server.GetServiceInfo()["gateway.Gateway"].Methods
	if n := len(rpctest.Methods()); n != 21 || len(registered) != n {
		t.Errorf("%d methods are declared and %d registered, want 21", n, len(registered))
	}
	methods := rpctest.Methods()
	slices.SortFunc(methods, func(a, b protoreflect.MethodDescriptor) int {
		return strings.Compare(string(a.Name()), string(b.Name()))
	})
	for _, m := range methods {
		var cells []string
		for _, as := range names {
			cells = append(cells, call(t, f, m, keys[as]).String())
		}
		for i, as := range names[:3] {
			if cells[i] != codes.Unauthenticated.String() {
				t.Errorf("%s as %s: %s", m.Name(), as, cells[i])
			}
		}
		fmt.Fprintf(&table, "%-27s %s\n", m.Name(), strings.Join(cells, " "))
	}
	golden := "testdata/methods.txt"
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(golden, []byte(table.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if table.String() != string(want) {
		t.Errorf("the table of methods changed; review it and run go test -update:\n%s", table.String())
	}
}

// call sends a request in which every name lies in the account main and is absent.
func call(t *testing.T, f *fixture, m protoreflect.MethodDescriptor, key string) codes.Code {
	t.Helper()
	if rpctest.Collection(m) == "" {
		t.Fatalf("what is %s about? add it to package rpctest", m.Name())
	}
	return status.Code(f.conn.Invoke(with(key), "/gateway.Gateway/"+string(m.Name()), rpctest.Request(m, "main", "none"), rpctest.Answer(m)))
}

// TestEveryMethodIsDecidedOnce counts the decisions behind each method.
func TestEveryMethodIsDecidedOnce(t *testing.T) {
	w := controltest.New(t, nil)
	decided := 0
	g := rpc.New(rpc.Options{Control: w.Control, Observe: func(ctx context.Context) context.Context {
		return authz.WithObserver(ctx, func(authz.Action, authz.Resource, authz.Decision) { decided++ })
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go g.Serve(l)
	defer g.Stop()
	conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	defer conn.Close()
	f := &fixture{World: w, server: g, conn: conn}
	for _, m := range rpctest.Methods() {
		for _, as := range []string{"main/ann", "main/ina", "acme/admin", "operator"} {
			decided = 0
			code := call(t, f, m, w.Keys[as])
			if decided != 1 {
				t.Errorf("%s as %s was decided %d times (%s)", m.Name(), as, decided, code)
			}
		}
	}
}

// TestUnknownMethods: what the SDK has and this server does not is UNIMPLEMENTED,
// and only to callers with a key.
func TestUnknownMethods(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		key  string
		want codes.Code
	}{{"", codes.Unauthenticated}, {f.Keys["main/ann"], codes.Unimplemented}} {
		for _, method := range []string{"/gateway.Gateway/ListClusters", "/gateway.Gateway/Nothing", "/other.Service/Method"} {
			if code := status.Code(f.conn.Invoke(with(c.key), method, &gatewaypb.GetModelRequest{}, &gatewaypb.Model{})); code != c.want {
				t.Errorf("%s: %s, want %s", method, code, c.want)
			}
		}
	}
}

// TestKeys: the SDK sends the key twice in some calls; two different ones are
// nobody's.
func TestKeys(t *testing.T) {
	f := newFixture(t)
	get := func(pairs ...string) error {
		ctx := metadata.AppendToOutgoingContext(context.Background(), pairs...)
		_, err := gatewaypb.NewGatewayClient(f.conn).GetModel(ctx, &gatewaypb.GetModelRequest{Name: "accounts/main/models/base"})
		return err
	}
	key, other := f.Keys["main/ann"], f.Keys["main/carl"]
	for name, c := range map[string]struct {
		pairs []string
		want  codes.Code
	}{
		"x-api-key": {[]string{"x-api-key", key}, codes.OK}, "twice": {[]string{"x-api-key", key, "x-api-key", key}, codes.OK},
		"bearer": {[]string{"authorization", "Bearer " + key}, codes.OK}, "both": {[]string{"x-api-key", key, "authorization", "bearer " + key}, codes.OK},
		"two keys": {[]string{"x-api-key", key, "x-api-key", other}, codes.Unauthenticated},
		"mixed":    {[]string{"x-api-key", key, "authorization", "Bearer " + other}, codes.Unauthenticated},
		"basic":    {[]string{"authorization", "Basic " + key}, codes.Unauthenticated}, "cookie": {[]string{"cookie", "key=" + key}, codes.Unauthenticated},
		"nothing": {nil, codes.Unauthenticated},
	} {
		if code := status.Code(get(c.pairs...)); code != c.want {
			t.Errorf("%s: %s, want %s", name, code, c.want)
		}
	}
}

// TestRevocationAtOnce: a key that was revoked over one skin is refused by the
// other's next call.
func TestRevocationAtOnce(t *testing.T) {
	f := newFixture(t)
	key := f.Key("main", "ann", time.Now().Add(time.Hour))
	get := func() codes.Code {
		_, err := gatewaypb.NewGatewayClient(f.conn).GetModel(with(key), &gatewaypb.GetModelRequest{Name: "accounts/main/models/base"})
		return status.Code(err)
	}
	if code := get(); code != codes.OK {
		t.Fatal(code)
	}
	id, _ := seal.ParseAPIKey(key)
	must(t, f.DB.DeleteAPIKey(context.Background(), "main", "ann", id, store.Act{}))
	if code := get(); code != codes.Unauthenticated {
		t.Errorf("a revoked key: %s", code)
	}
}

// TestPythonClient lets grpcio, with code generated from the committed
// definitions, make the three calls.
func TestPythonClient(t *testing.T) {
	python := os.Getenv("FIREKEEP_PYTHON")
	if python == "" {
		python = "../../../.venv/bin/python"
	}
	f := newFixture(t)
	ctx := context.Background()
	d, err := f.DB.CreateDataset(ctx, store.Dataset{Account: "main", ID: "d", State: store.StateReady, Status: store.OK(), Format: "RL"}, nil, store.Act{})
	must(t, err)
	proto, err := filepath.Abs("../gatewaypb/gateway.proto")
	must(t, err)
	cmd := exec.Command(python, "testdata/client.py", proto, f.addr, d.ID)
	cmd.Env = append(os.Environ(), "FIREKEEP_TEST_KEY="+f.Keys["main/ann"])
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "3 calls, 4 refusals") {
		t.Errorf("%s", out)
	}
}

// TestWireNumbers spot-checks fields against the numbers of the contract: a
// renumbered definition would still compile.
func TestWireNumbers(t *testing.T) {
	for _, c := range []struct {
		m      proto.Message
		field  string
		number protoreflect.FieldNumber
	}{
		{&gatewaypb.Model{}, "peft_details", 16}, {&gatewaypb.Model{}, "kind", 4}, {&gatewaypb.Model{}, "rl_tunable", 49}, {&gatewaypb.PEFTDetails{}, "base_model", 1},
		{&gatewaypb.RlorTrainerJob{}, "training_config", 11}, {&gatewaypb.RlorTrainerJob{}, "wandb_config", 13}, {&gatewaypb.WandbConfig{}, "enabled", 1}, {&gatewaypb.RlorTrainerJob{}, "state", 8}, {&gatewaypb.RlorTrainerJob{}, "status", 9},
		{&gatewaypb.BaseTrainingConfig{}, "learning_rate", 5}, {&gatewaypb.BaseTrainingConfig{}, "accelerator_type", 9}, {&gatewaypb.BaseTrainingConfig{}, "batch_size", 13},
		{&gatewaypb.CreateRlorTrainerJobRequest{}, "rlor_trainer_job_id", 4}, {&gatewaypb.Dataset{}, "external_url", 16}, {&gatewaypb.Dataset{}, "format", 10},
		{&gatewaypb.Deployment{}, "replica_count", 35}, {&gatewaypb.Deployment{}, "autoscaling_policy", 38}, {&gatewaypb.Deployment{}, "enable_addons", 49},
		{&gatewaypb.CreateDeploymentRequest{}, "deployment_id", 7}, {&gatewaypb.DeployedModel{}, "state", 9}, {&gatewaypb.Status{}, "message", 2},
	} {
		fd := c.m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(c.field))
		if fd == nil || fd.Number() != c.number {
			t.Errorf("%T.%s: %v, want %d", c.m, c.field, fd, c.number)
		}
	}
}

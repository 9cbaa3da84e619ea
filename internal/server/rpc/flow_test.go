package rpc_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/firekeep/firekeep/internal/server/gatewaypb"
	"github.com/firekeep/firekeep/internal/store"
)

// sdk is a client that says it is the Build SDK.
func sdk(t *testing.T, f *fixture) gatewaypb.GatewayClient {
	t.Helper()
	conn, err := grpc.NewClient(f.addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("fireworks-python-sdk/0.19.20 grpc-python/1.85.3"))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	return gatewaypb.NewGatewayClient(conn)
}

// TestBadEndings: to the SDK, whose published loop would never end, a step that
// was cancelled or failed is an error with the step's words; to others a state.
func TestBadEndings(t *testing.T) {
	f := newFixture(t)
	ctx := with(f.Keys["main/ann"])
	d, err := f.DB.CreateDataset(ctx, store.Dataset{Account: "main", ID: "d", State: store.StateReady, Status: store.OK(), Format: "RL"}, nil, store.Act{})
	must(t, err)
	client, theirs := gatewaypb.NewGatewayClient(f.conn), sdk(t, f)
	j, err := theirs.CreateRlorTrainerJob(ctx, &gatewaypb.CreateRlorTrainerJobRequest{Parent: "accounts/main", RlorTrainerJob: &gatewaypb.RlorTrainerJob{
		Dataset: d.Name(), TrainingConfig: &gatewaypb.BaseTrainingConfig{BaseModel: "accounts/main/models/base", OutputModel: "accounts/main/models/out"}}})
	must(t, err)
	get := &gatewaypb.GetRlorTrainerJobRequest{Name: j.GetName()}
	if j, err := theirs.GetRlorTrainerJob(ctx, get); err != nil || j.GetState() != gatewaypb.JobState_JOB_STATE_PENDING {
		t.Fatal(j, err)
	}
	id := j.GetName()[strings.LastIndexByte(j.GetName(), '/')+1:]
	_, err = f.Control.Jobs.Cancel(context.Background(), "main", store.JobStep, id, store.Act{})
	must(t, err)
	seen, err := client.GetRlorTrainerJob(ctx, get)
	if err != nil || seen.GetState() != gatewaypb.JobState_JOB_STATE_CANCELLED {
		t.Errorf("others see %v %v", seen.GetState(), err)
	}
	_, err = theirs.GetRlorTrainerJob(ctx, get)
	if s := status.Convert(err); s.Code() != codes.Aborted || !strings.Contains(s.Message(), j.GetName()+" is cancelled") || !strings.Contains(s.Message(), seen.GetStatus().GetMessage()) {
		t.Errorf("the SDK sees %v", err)
	}
}

// TestNoOtherServices: a step that asks for its metrics to be sent elsewhere is
// refused by name, as over HTTP; a config that is off, which the SDK may send, is not.
func TestNoOtherServices(t *testing.T) {
	f := newFixture(t)
	ctx := with(f.Keys["main/ann"])
	d, err := f.DB.CreateDataset(ctx, store.Dataset{Account: "main", ID: "d", State: store.StateReady, Status: store.OK(), Format: "RL"}, nil, store.Act{})
	must(t, err)
	create := func(on bool) error {
		_, err := sdk(t, f).CreateRlorTrainerJob(ctx, &gatewaypb.CreateRlorTrainerJobRequest{Parent: "accounts/main", RlorTrainerJob: &gatewaypb.RlorTrainerJob{Dataset: d.Name(),
			WandbConfig: &gatewaypb.WandbConfig{Enabled: on}, TrainingConfig: &gatewaypb.BaseTrainingConfig{BaseModel: "accounts/main/models/base", OutputModel: "accounts/main/models/out"}}})
		return err
	}
	if s := status.Convert(create(true)); s.Code() != codes.Unimplemented || !strings.Contains(s.Message(), "wandbConfig: this server sends nothing to other services") {
		t.Errorf("%v", s)
	}
	must(t, create(false))
}

// TestUnfinishedUploads: a dataset whose rows never came is not listed, and can be
// made again; one that is there is neither.
func TestUnfinishedUploads(t *testing.T) {
	f := newFixture(t)
	ctx := with(f.Keys["main/ann"])
	client := gatewaypb.NewGatewayClient(f.conn)
	create := func(id, url string) error {
		_, err := client.CreateDataset(ctx, &gatewaypb.CreateDatasetRequest{Parent: "accounts/main", DatasetId: id, Dataset: &gatewaypb.Dataset{ExternalUrl: url, Format: gatewaypb.Dataset_CHAT}})
		return err
	}
	list := func() (names []string) {
		p, err := client.ListDatasets(ctx, &gatewaypb.ListDatasetsRequest{Parent: "accounts/main"})
		must(t, err)
		for _, d := range p.GetDatasets() {
			names = append(names, d.GetName())
		}
		return names
	}
	must(t, create("up", ""))
	must(t, create("up", ""))
	must(t, create("bucket", "s3://bucket/rows.jsonl"))
	if got := list(); len(got) != 1 || got[0] != "accounts/main/datasets/bucket" {
		t.Errorf("listed: %q", got)
	}
	for id, url := range map[string]string{"bucket": "s3://bucket/rows.jsonl", "up": "s3://bucket/rows.jsonl"} {
		if err := create(id, url); status.Code(err) != codes.AlreadyExists {
			t.Errorf("%s again, with a URL: %v", id, err)
		}
	}
	_, err := f.DB.CreateDataset(ctx, store.Dataset{Account: "main", ID: "ready", State: store.StateReady, Status: store.OK(), Uploaded: true}, nil, store.Act{})
	must(t, err)
	if err := create("ready", ""); status.Code(err) != codes.AlreadyExists {
		t.Errorf("a dataset that is there, again: %v", err)
	}
	files := map[string]int64{"inmemory.jsonl": 12}
	urls, err := client.GetDatasetUploadEndpoint(ctx, &gatewaypb.GetDatasetUploadEndpointRequest{Name: "accounts/main/datasets/up", FilenameToSize: files})
	if err != nil || !strings.HasPrefix(urls.GetFilenameToSignedUrls()["inmemory.jsonl"], "http://"+f.addr+"/v1/transfers/") {
		t.Errorf("%v %v", urls, err)
	}
}

// TestDeployments goes the way of apply(), scaling and deletion.
func TestDeployments(t *testing.T) {
	f := newFixture(t)
	ctx := with(f.Keys["main/ann"])
	client := gatewaypb.NewGatewayClient(f.conn)
	const base, name = "accounts/main/models/base", "accounts/main/deployments/dep-a"
	policy := &gatewaypb.AutoscalingPolicy{ScaleUpWindow: durationpb.New(1e9), ScaleDownWindow: durationpb.New(60e9), ScaleToZeroWindow: durationpb.New(300e9)}
	made, err := client.CreateDeployment(ctx, &gatewaypb.CreateDeploymentRequest{Parent: "accounts/main", DeploymentId: "dep-a", Deployment: &gatewaypb.Deployment{
		DisplayName: "train.py", BaseModel: base, AutoscalingPolicy: policy, AcceleratorType: gatewaypb.AcceleratorType_NVIDIA_H100_80GB}})
	must(t, err)
	get := func() *gatewaypb.Deployment {
		d, err := client.GetDeployment(ctx, &gatewaypb.GetDeploymentRequest{Name: name})
		must(t, err)
		return d
	}
	d := get()
	p := d.GetAutoscalingPolicy()
	if made.GetName() != name || d.GetState() != gatewaypb.Deployment_READY || d.GetBaseModel() != base || d.GetReplicaCount() != 1 || d.GetEnableAddons() ||
		d.GetAcceleratorType() != gatewaypb.AcceleratorType_NVIDIA_H100_80GB || p.GetScaleUpWindow().GetSeconds() != 1 || p.GetScaleDownWindow().GetSeconds() != 60 || p.GetScaleToZeroWindow().GetSeconds() != 300 {
		t.Errorf("%v", d)
	}
	// The SDK sends back the whole message, with what changed and a mask.
	d.EnableAddons, d.Description, d.ReplicaCount, d.DisplayName = true, "ours", 7, "other.py"
	updated, err := client.UpdateDeployment(ctx, &gatewaypb.UpdateDeploymentRequest{Deployment: d, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"enable_addons", "description", "region"}}})
	must(t, err)
	if d = get(); !d.GetEnableAddons() || d.GetDescription() != "ours" || d.GetDisplayName() != "train.py" || d.GetReplicaCount() != 1 || updated.GetName() != name {
		t.Errorf("after an update: %v", d)
	}
	l, err := client.ListDeployments(ctx, &gatewaypb.ListDeploymentsRequest{Parent: "accounts/main", Filter: `display_name="train.py" AND base_model="` + base + `"`})
	if err != nil || len(l.GetDeployments()) != 1 {
		t.Errorf("%v %v", l, err)
	}
	l, err = client.ListDeployments(ctx, &gatewaypb.ListDeploymentsRequest{Parent: "accounts/main", ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"state"}}})
	if err != nil || l.GetDeployments()[0].GetName() != name || l.GetDeployments()[0].GetState() != gatewaypb.Deployment_READY || l.GetDeployments()[0].GetBaseModel() != "" {
		t.Errorf("with a mask: %v %v", l, err)
	}
	for _, n := range []int32{0, 1} {
		_, err = client.ScaleDeployment(ctx, &gatewaypb.ScaleDeploymentRequest{Name: name, ReplicaCount: n})
		must(t, err)
		if got := get().GetReplicaCount(); got != n {
			t.Errorf("scaled to %d: %d", n, got)
		}
	}
	loaded, err := client.CreateDeployedModel(ctx, &gatewaypb.CreateDeployedModelRequest{Parent: "accounts/main", DeployedModel: &gatewaypb.DeployedModel{Model: base, Deployment: name}})
	must(t, err)
	if got, err := client.ListDeployedModels(ctx, &gatewaypb.ListDeployedModelsRequest{Parent: "accounts/main", Filter: `model="` + base + `"`}); err != nil || len(got.GetDeployedModels()) != 1 ||
		got.GetDeployedModels()[0].GetState() != gatewaypb.DeployedModel_DEPLOYED || got.GetDeployedModels()[0].GetDeployment() != name {
		t.Errorf("%v %v", got, err)
	}
	_, err = client.DeleteDeployedModel(ctx, &gatewaypb.DeleteDeployedModelRequest{Name: loaded.GetName()})
	must(t, err)
	_, err = client.DeleteDeployment(ctx, &gatewaypb.DeleteDeploymentRequest{Name: name, Hard: true})
	must(t, err)
	if _, err := client.GetDeployment(ctx, &gatewaypb.GetDeploymentRequest{Name: name}); status.Code(err) != codes.NotFound {
		t.Errorf("deleted: %v", err)
	}
	_, err = client.CreateDeployment(ctx, &gatewaypb.CreateDeploymentRequest{Parent: "accounts/main", DeploymentId: "dep-a", Deployment: &gatewaypb.Deployment{BaseModel: base}})
	must(t, err)
}

// TestServerless: published bases answer without a deployment, unless models are
// deployed by hand.
func TestServerless(t *testing.T) {
	f := newFixture(t)
	ctx := with(f.Keys["main/ina"])
	const published = "accounts/fireworks/models/open"
	for _, m := range []store.Model{{ID: "open", Public: true}, {ID: "closed"}} {
		m.Account, m.Kind, m.State, m.Status = "fireworks", store.KindBase, store.StateReady, store.OK()
		_, err := f.DB.CreateModel(ctx, m, nil, store.Act{})
		must(t, err)
	}
	client := gatewaypb.NewGatewayClient(f.conn)
	look := func() (refs int, loras []string) {
		l, err := client.ListModels(ctx, &gatewaypb.ListModelsRequest{Parent: "accounts/fireworks", PageSize: 200, IncludeDeployedModelRefs: true})
		must(t, err)
		if len(l.GetModels()) != 1 || l.GetModels()[0].GetName() != published {
			t.Fatalf("%v", l)
		}
		for _, r := range l.GetModels()[0].GetDeployedModelRefs() {
			if r.GetState() == gatewaypb.DeployedModel_DEPLOYED && strings.HasPrefix(r.GetDeployment(), "accounts/fireworks/") {
				refs++
			}
		}
		s, err := client.ListServerlessLoraModels(ctx, &gatewaypb.ListServerlessLoraModelsRequest{})
		must(t, err)
		return refs, s.GetModels()
	}
	if refs, loras := look(); refs != 1 || len(loras) != 1 || loras[0] != published {
		t.Errorf("%d references, %q", refs, loras)
	}
	f.Control.ManualDeployments = true
	if refs, loras := look(); refs != 0 || len(loras) != 0 {
		t.Errorf("deployed by hand: %d references, %q", refs, loras)
	}
}

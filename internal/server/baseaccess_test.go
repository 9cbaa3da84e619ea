package server

import (
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/store"
)

// TestTrainingNeedsTheBase: whoever trains reads the base, so a base that is published
// no more, or never was, is trained by nobody else, whatever LoRA or trainer stands on it.
func TestTrainingNeedsTheBase(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	model := func(account, id string, base *store.Model, public bool) store.Model {
		t.Helper()
		m := store.Model{Account: account, ID: id, Kind: store.KindBase, State: store.StateReady, Status: store.OK(), Public: public, ContextLength: 64}
		if base != nil {
			m.Kind, m.BaseModel, m.BaseUID, m.Rank, m.Alpha, m.Targets = store.KindAdapter, base.Name(), base.UID, 4, 8, []string{"q_proj"}
		}
		m, err := f.db.CreateModel(ctx, m, nil, store.Act{})
		must(t, err)
		return m
	}
	published := model("fireworks", "published", nil, true)
	hidden := model("fireworks", "hidden", nil, false)
	model("fireworks", "shown", &hidden, true)
	model("main", "old", &published, false)
	model("fireworks", "given", &published, true)
	other := published
	other.UID = store.NewUID()
	model("main", "replaced", &other, false)
	_, err := f.db.CreateDataset(ctx, store.Dataset{Account: "main", ID: "ready", State: store.StateReady, Status: store.OK()}, nil, store.Act{})
	must(t, err)

	const jobs, loop = "/v1/accounts/main/rlorTrainerJobs", "/v1/accounts/main/rlorTrainerJobs/loop"
	warm := func(lora string) string {
		return `{"keepAlive":true,"trainingConfig":{"warmStartFrom":"` + lora + `"}}`
	}
	step := func(output string) string { return `{"dataset":"ready","outputModel":"` + output + `"}` }
	single := `{"dataset":"ready","trainingConfig":{"baseModel":"published","outputModel":"alone"}}`
	f.expect(t, "main/admin", "POST", jobs+"?rlorTrainerJobId=loop", warm("old"), 200, "loop")
	f.expect(t, "main/admin", "POST", jobs+"?rlorTrainerJobId=lent", warm("given"), 200, "lent")
	f.expect(t, "main/admin", "POST", jobs+"?rlorTrainerJobId=once", `{"dataset":"ready","trainingConfig":{"warmStartFrom":"given","outputModel":"twice"}}`, 200, "once")
	f.expect(t, "main/admin", "POST", jobs+"?rlorTrainerJobId=single", single, 200, "single")
	f.expect(t, "main/admin", "POST", loop+":executeTrainStep", step("m1"), 200, "")
	f.expect(t, "main/admin", "POST", jobs, warm("accounts/fireworks/models/shown"), 404, "accounts/fireworks/models/hidden not found")
	f.expect(t, "main/admin", "POST", jobs, warm("replaced"), 400, "accounts/fireworks/models/published is another model")

	publish := func(id string, public bool) {
		t.Helper()
		_, err := f.db.UpdateModel(ctx, "fireworks", id, store.ModelChange{Public: &public}, store.Act{})
		must(t, err)
	}
	publish("published", false)
	const gone = "accounts/fireworks/models/published not found"
	f.expect(t, "main/admin", "POST", jobs, warm("old"), 404, gone)
	f.expect(t, "main/admin", "POST", loop+":executeTrainStep", step("m2"), 404, gone)
	f.expect(t, "main/admin", "POST", jobs+"/single:cancel", "", 200, "")
	f.expect(t, "main/admin", "POST", loop+":cancel", "", 200, "")
	f.expect(t, "main/admin", "POST", jobs+"/single:resume", "", 404, gone)
	f.expect(t, "main/admin", "POST", loop+":resume", "", 404, gone)

	publish("published", true)
	f.expect(t, "main/admin", "POST", jobs+"/single:resume", "", 200, "JOB_STATE")
	f.expect(t, "main/admin", "POST", loop+":resume", "", 200, "JOB_STATE_RUNNING")
	f.expect(t, "main/admin", "POST", loop+":executeTrainStep", step("m2"), 200, "")

	// A LoRA that is taken back is asked about by what has yet to begin with it.
	const lent, once = jobs + "/lent", jobs + "/once"
	publish("given", false)
	const taken = "accounts/fireworks/models/given not found: it was deleted, or is not published any more; have it published again"
	f.expect(t, "main/admin", "POST", lent+":executeTrainStep", step("m3"), 404, taken)
	f.expect(t, "main/admin", "POST", once+":cancel", "", 200, "")
	f.expect(t, "main/admin", "POST", lent+":cancel", "", 200, "")
	f.expect(t, "main/admin", "POST", once+":resume", "", 404, taken)
	f.expect(t, "main/admin", "POST", lent+":resume", "", 404, taken)
	publish("given", true)
	f.expect(t, "main/admin", "POST", once+":resume", "", 200, "JOB_STATE")
	f.expect(t, "main/admin", "POST", lent+":resume", "", 200, "JOB_STATE_RUNNING")
	f.expect(t, "main/admin", "POST", lent+":executeTrainStep", step("m3"), 200, "")
}

// TestTrainingIsJudgedByTheBase: a key or a role that does not reach a base trains
// nothing on it, though a LoRA stands between and no request names it.
func TestTrainingIsJudgedByTheBase(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	base, err := f.db.Model(ctx, "main", "base")
	must(t, err)
	add := func(account, id string, base store.Model) store.Model {
		t.Helper()
		m := store.Model{Account: account, ID: id, Kind: store.KindBase, State: store.StateReady, Status: store.OK(), Public: true, ContextLength: 64}
		if base.UID != "" {
			m.Kind, m.BaseModel, m.BaseUID, m.Rank, m.Alpha, m.Targets = store.KindAdapter, base.Name(), base.UID, 4, 8, []string{"q_proj"}
		}
		m, err := f.db.CreateModel(ctx, m, nil, store.Act{})
		must(t, err)
		return m
	}
	add("main", "lora", base)
	add("fireworks", "open", base)
	add("main", "fine", add("main", "second", store.Model{}))
	const m = "accounts/main/models/"
	f.keys["narrow"] = f.scopedKey("main", "admin", `{"resources":["`+m+`lora","`+m+`open"]}`)
	f.keys["wide"] = f.scopedKey("main", "admin", `{"resources":["`+m+`lora","`+m+`base","`+m+`open"]}`)
	as[api.Role](t, f, "main/admin", "POST", "/v1/accounts/main/roles", `{"roleId":"trainer","role":{"policy":"permit (principal, action, resource); forbid (principal, action, resource) when { resource.refs.contains(\"`+m+`base\") };"}}`)
	as[api.User](t, f, "main/admin", "POST", "/v1/accounts/main/users?userId=mia", `{"role":"custom","permissionPreset":"trainer"}`)
	f.keys["main/mia"] = f.key("main", "mia", time.Now().Add(time.Hour))
	for _, c := range []struct {
		as, lora string
		status   int
	}{
		{"narrow", "lora", 403},
		{"main/mia", "lora", 403},
		{"main/mia", "fine", 200},
		{"wide", "open", 403}, // a bare id that finds the published LoRA, which the key does not reach
		{"wide", "lora", 200},
		{"main/admin", "open", 200},
	} {
		f.expect(t, c.as, "POST", "/v1/accounts/main/rlorTrainerJobs", `{"keepAlive":true,"trainingConfig":{"warmStartFrom":"`+c.lora+`"}}`, c.status, "")
	}
}

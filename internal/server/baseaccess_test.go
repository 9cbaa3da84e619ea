package server

import (
	"testing"

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
	f.expect(t, "main/admin", "POST", jobs+"?rlorTrainerJobId=single", single, 200, "single")
	f.expect(t, "main/admin", "POST", loop+":executeTrainStep", step("m1"), 200, "")
	f.expect(t, "main/admin", "POST", jobs, warm("accounts/fireworks/models/shown"), 404, "accounts/fireworks/models/hidden not found")
	f.expect(t, "main/admin", "POST", jobs, warm("replaced"), 400, "accounts/fireworks/models/published is another model")

	publish := func(public bool) {
		t.Helper()
		_, err := f.db.UpdateModel(ctx, "fireworks", "published", store.ModelChange{Public: &public}, store.Act{})
		must(t, err)
	}
	publish(false)
	const gone = "accounts/fireworks/models/published not found"
	f.expect(t, "main/admin", "POST", jobs, warm("old"), 404, gone)
	f.expect(t, "main/admin", "POST", loop+":executeTrainStep", step("m2"), 404, gone)
	f.expect(t, "main/admin", "POST", jobs+"/single:cancel", "", 200, "")
	f.expect(t, "main/admin", "POST", loop+":cancel", "", 200, "")
	f.expect(t, "main/admin", "POST", jobs+"/single:resume", "", 404, gone)
	f.expect(t, "main/admin", "POST", loop+":resume", "", 404, gone)

	publish(true)
	f.expect(t, "main/admin", "POST", jobs+"/single:resume", "", 200, "JOB_STATE")
	f.expect(t, "main/admin", "POST", loop+":resume", "", 200, "JOB_STATE_RUNNING")
	f.expect(t, "main/admin", "POST", loop+":executeTrainStep", step("m2"), 200, "")
}

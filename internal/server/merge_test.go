package server

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/store"
)

// TestMergeJobs: what is refused names the field; a merge is made of what the account
// may read, listed, found by its fields and deleted; its model's name is taken meanwhile.
func TestMergeJobs(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	model := func(account, id, base string, public bool) store.Model {
		t.Helper()
		m := store.Model{Account: account, ID: id, Kind: store.KindBase, State: store.StateReady, Status: store.OK(), Digest: "sha256:" + id, Public: public, Size: 1000}
		if base != "" {
			b, err := f.db.Model(ctx, account, base)
			must(t, err)
			m.Kind, m.BaseModel, m.BaseUID, m.Size = store.KindAdapter, b.Name(), b.UID, 10
		}
		m, err := f.db.CreateModel(ctx, m, nil, store.Act{})
		must(t, err)
		return m
	}
	model("main", "root", "", false)
	model("main", "lora", "root", false)
	model("acme", "root", "", true)
	model("acme", "lora", "root", true)
	// A LoRA that everybody reads does not give away the base that it stands on.
	model("fireworks", "hidden", "", false)
	model("fireworks", "shown", "hidden", true)
	const a, ok = "/v1/accounts/main/PeftMergeJobs", `{"peftModel":"lora","mergedModel":"whole","displayName":"all of it"}`
	for _, c := range []struct {
		as, method, path, body string
		status                 int
		contains               string
	}{
		{"main/admin", "GET", a, "", 200, `"peftMergeJobs":[]`},
		{"main/admin", "POST", a, `{"mergedModel":"whole"}`, 400, "peftModel: is required"},
		{"main/admin", "POST", a, `{"peftModel":"lora"}`, 400, "mergedModel: is required"},
		{"main/admin", "POST", a, `{"peftModel":"lora","mergedModel":"S!"}`, 400, "mergedModel"},
		{"main/admin", "POST", a, `{"peftModel":"root","mergedModel":"whole"}`, 400, "peftModel: accounts/main/models/root is not a LoRA"},
		{"main/admin", "POST", a, `{"peftModel":"none","mergedModel":"whole"}`, 404, "models/none not found"},
		{"main/admin", "POST", a, `{"peftModel":"accounts/acme/models/lora","mergedModel":"whole"}`, 404, "accounts/acme/models/lora not found"},
		{"main/admin", "POST", a, `{"peftModel":"accounts/fireworks/models/shown","mergedModel":"whole"}`, 404, "accounts/fireworks/models/hidden not found"},
		{"main/admin", "POST", a, `{"peftModel":"lora","mergedModel":"accounts/acme/models/x"}`, 403, "not in account"},
		{"main/admin", "POST", a, `{"peftModel":"lora","mergedModel":"root"}`, 409, "models/root"},
		{"main/ina", "POST", a, ok, 403, `"code":7`},
		{"main/carl", "POST", a, ok, 403, `"code":7`}, // contributors make no models
		{"acme/admin", "POST", a, ok, 404, "accounts/main not found"},

		{"main/admin", "POST", a, ok, 200, `"peftModel":"accounts/main/models/lora","mergedModel":"accounts/main/models/whole"`},
		{"main/admin", "POST", a, ok, 409, "models/whole"},
		{"main/admin", "GET", a, "", 200, `"state":"JOB_STATE_PENDING"`},
		{"main/carl", "GET", a + `?filter=peft_model%3D"accounts/main/models/lora"`, "", 200, `"totalSize":1`},
		{"main/carl", "GET", a + `?filter=mergedModel%3D"nothing"`, "", 200, `"totalSize":0`},
		{"main/admin", "GET", "/v1/accounts/main/models/whole", "", 404, "not found"},
		{"main/admin", "DELETE", "/v1/accounts/main/models/lora", "", 400, "in use by"},
		{"main/admin", "DELETE", "/v1/accounts/main/models/root", "", 400, "has 1 adapters"},
		{"main/carl", "GET", a + "/none", "", 404, "PeftMergeJobs/none not found"},
	} {
		f.expect(t, c.as, c.method, c.path, c.body, c.status, c.contains)
	}

	jobs, err := f.db.ListJobs(ctx, "main", store.JobMerge, store.ListOptions{})
	must(t, err)
	if len(jobs.Items) != 1 {
		t.Fatalf("%d jobs", len(jobs.Items))
	}
	one := a + "/" + jobs.Items[0].ID
	f.expect(t, "main/carl", "GET", one, "", 200, `"displayName":"all of it"`)
	f.expect(t, "acme/admin", "DELETE", one, "", 404, "not found")
	f.expect(t, "main/carl", "DELETE", one, "", 403, `"code":7`) // another's
	f.expect(t, "main/admin", "DELETE", one, "", 200, `{}`)
	f.expect(t, "main/admin", "GET", one, "", 404, "not found")

	// The merged model may be half larger than its base: there must be room for that.
	quota := func(bytes int64) {
		t.Helper()
		_, err := f.db.SetQuota(ctx, "main", authz.QuotaStorage, func(q store.Quota) store.Quota { q.Value = bytes; return q }, store.Act{})
		must(t, err)
	}
	u, err := f.db.AccountUsage(ctx, "main")
	must(t, err)
	quota(u.Bytes + 1499)
	f.expect(t, "main/admin", "POST", a, ok, 429, authz.QuotaStorage)
	quota(u.Bytes + 1500)
	// Whoever asks at the same instant does not get the same room.
	var made atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if status, _, _ := f.do("main/admin", "POST", a, fmt.Sprintf(`{"peftModel":"lora","mergedModel":"whole%d"}`, i)); status == 200 {
				made.Add(1)
			} else if status != 429 {
				t.Errorf("%d", status)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 {
		t.Errorf("%d merges have the room of one", made.Load())
	}
}

// TestMergeIsJudgedByTheBase: the result holds the base whole, so a key or a role that
// does not reach the base makes none, though no request names it.
func TestMergeIsJudgedByTheBase(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	base, err := f.db.Model(ctx, "main", "base")
	must(t, err)
	lora := store.Model{ID: "lora", Kind: store.KindAdapter, State: store.StateReady, Status: store.OK(), BaseModel: base.Name(), BaseUID: base.UID}
	add := func(m store.Model, account, id string) store.Model {
		t.Helper()
		m.Account, m.ID, m.Public = account, id, true
		m, err := f.db.CreateModel(ctx, m, nil, store.Act{})
		must(t, err)
		return m
	}
	add(lora, "main", "lora")
	add(lora, "fireworks", "open")
	second := add(store.Model{Kind: store.KindBase, State: store.StateReady, Status: store.OK(), Digest: "sha256:second"}, "main", "second")
	lora.BaseModel, lora.BaseUID = second.Name(), second.UID
	add(lora, "main", "fine")
	const m = "accounts/main/models/"
	f.keys["narrow"] = f.scopedKey("main", "admin", `{"resources":["`+m+`lora","`+m+`open","`+m+`out*"]}`)
	f.keys["wide"] = f.scopedKey("main", "admin", `{"resources":["`+m+`lora","`+m+`base","`+m+`open","`+m+`out*"]}`)
	as[api.Role](t, f, "main/admin", "POST", "/v1/accounts/main/roles", `{"roleId":"merger","role":{"policy":"permit (principal, action, resource); forbid (principal, action, resource) when { resource.refs.contains(\"`+m+`base\") };"}}`)
	as[api.User](t, f, "main/admin", "POST", "/v1/accounts/main/users?userId=mia", `{"role":"custom","permissionPreset":"merger"}`)
	f.keys["main/mia"] = f.key("main", "mia", time.Now().Add(time.Hour))
	for _, c := range []struct {
		as, lora, output string
		status           int
	}{
		{"narrow", "lora", "out1", 403},
		{"main/mia", "lora", "out1", 403},
		{"main/mia", "fine", "out3", 200},
		{"wide", "open", "out1", 403}, // a bare id that finds the published LoRA, which the key does not reach
		{"wide", "lora", "out1", 200},
		{"main/admin", "open", "out2", 200},
	} {
		f.expect(t, c.as, "POST", "/v1/accounts/main/PeftMergeJobs", `{"peftModel":"`+c.lora+`","mergedModel":"`+c.output+`"}`, c.status, "")
	}
}

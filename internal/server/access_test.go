package server

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// as makes a JSON request and reads its answer.
func as[T any](t *testing.T, f *fixture, who, method, path, body string) T {
	t.Helper()
	status, _, text := f.do(who, method, path, body)
	var v T
	if status != 200 || json.Unmarshal([]byte(text), &v) != nil {
		t.Fatalf("%s %s as %s: %d %s", method, path, who, status, text)
	}
	return v
}

func (f *fixture) status(who, method, path, body string) int {
	f.t.Helper()
	status, _, _ := f.do(who, method, path, body)
	return status
}

// TestRevocationAtOnce: a deleted key is refused by the next request, and so is
// what its user lost.
func TestRevocationAtOnce(t *testing.T) {
	f := newFixture(t)
	k := as[api.APIKey](t, f, "main/admin", "POST", "/v1/accounts/main/users/ann/apiKeys", `{"apiKey":{}}`)
	f.keys["new"] = k.Key
	if s := f.status("new", "GET", "/v1/accounts/main/datasets", ""); s != 200 {
		t.Fatal(s)
	}
	as[api.User](t, f, "main/admin", "PATCH", "/v1/accounts/main/users/ann", `{"role":"inference-user"}`)
	if s := f.status("new", "GET", "/v1/accounts/main/datasets", ""); s != 403 {
		t.Errorf("with a role that was taken away: %d", s)
	}
	f.status("main/admin", "POST", "/v1/accounts/main/users/ann/apiKeys:delete", `{"keyId":"`+k.KeyID+`"}`)
	if s := f.status("new", "GET", "/v1/accounts/main/models", ""); s != 401 {
		t.Errorf("a revoked key: %d", s)
	}
	if s := f.status("main/admin", "PATCH", "/v1/accounts/main/users/admin", `{"role":"user"}`); s != 400 {
		t.Errorf("an admin took away his own role: %d", s)
	}
}

// TestRotation: old and new work together for the overlap, then the new one does.
func TestRotation(t *testing.T) {
	f := newFixture(t)
	now := time.Now()
	f.db.SetClock(func() time.Time { return now })
	old := as[api.APIKey](t, f, "main/admin", "POST", "/v1/accounts/main/users/ann/apiKeys", `{"apiKey":{"displayName":"trainer","scope":{"actions":["datasets.list"]}}}`)
	next := as[api.APIKey](t, f, "main/admin", "POST", "/v1/accounts/main/users/ann/apiKeys:rotate", `{"keyId":"`+old.KeyID+`","overlapSeconds":600}`)
	f.keys["old"], f.keys["next"] = old.Key, next.Key
	if next.Replaces != old.KeyID || next.DisplayName != "trainer" || next.Scope == nil || !slices.Equal(next.Scope.Actions, []string{"datasets.list"}) {
		t.Errorf("%+v", next)
	}
	for _, c := range []struct {
		who   string
		after time.Duration
		want  int
	}{{"old", 0, 200}, {"next", 0, 200}, {"old", 11 * time.Minute, 401}, {"next", 11 * time.Minute, 200}, {"next", 91 * 24 * time.Hour, 401}} {
		now = time.Now().Add(c.after)
		if s := f.status(c.who, "GET", "/v1/accounts/main/datasets", ""); s != c.want {
			t.Errorf("%s after %s: %d, want %d", c.who, c.after, s, c.want)
		}
	}
	now = time.Now()
	if s := f.status("next", "GET", "/v1/accounts/main/models", ""); s != 403 {
		t.Errorf("the scope was lost: %d", s)
	}
}

// TestScopedKeys: a key does what it was made for, and makes nothing wider.
func TestScopedKeys(t *testing.T) {
	f := newFixture(t)
	mint := func(who, scope string) (int, string) {
		status, _, text := f.do(who, "POST", "/v1/accounts/main/users/admin/apiKeys", `{"apiKey":{"scope":`+scope+`}}`)
		var k api.APIKey
		_ = json.Unmarshal([]byte(text), &k)
		return status, k.Key
	}
	_, f.keys["one"] = mint("main/admin", `{"resources":["accounts/main/models/base"]}`)
	_, f.keys["minter"] = mint("main/admin", `{"actions":["apiKeys.*"]}`)
	for _, c := range []struct {
		who, path string
		want      int
	}{{"one", "/v1/accounts/main/models/base", 200}, {"one", "/v1/accounts/main/models/other", 403}, {"one", "/v1/accounts/main/datasets", 403}, {"one", "/v1/accounts/main", 200},
		{"one", "/verifyApiKey", 200}, {"minter", "/v1/accounts/main/models/base", 403}, {"minter", "/v1/accounts/main/users/admin/apiKeys", 200}} {
		if s := f.status(c.who, "GET", c.path, ""); s != c.want {
			t.Errorf("%s %s: %d, want %d", c.who, c.path, s, c.want)
		}
	}
	if s, _ := mint("minter", `{}`); s != 403 {
		t.Errorf("a scoped key made one without a scope: %d", s)
	}
	if s, _ := mint("minter", `{"actions":["apiKeys.*"]}`); s != 200 {
		t.Errorf("a scoped key made none of its own scope: %d", s)
	}
	if s, _ := mint("main/admin", `{"actions":["everything"]}`); s != 400 {
		t.Errorf("an unknown action: %d", s)
	}
	// A step is judged by what it reads and makes.
	_, f.keys["trainer"] = mint("main/admin", `{"actions":["steps.create"],"resources":["accounts/main/datasets/d1","accounts/main/models/*"]}`)
	step := `{"dataset":"%s","trainingConfig":{"baseModel":"base","outputModel":"out"}}`
	if s := f.status("trainer", "POST", "/v1/accounts/main/rlorTrainerJobs", fmt.Sprintf(step, "d2")); s != 403 {
		t.Errorf("a step on another dataset: %d", s)
	}
	if s := f.status("trainer", "POST", "/v1/accounts/main/rlorTrainerJobs", fmt.Sprintf(step, "d1")); s != 404 {
		t.Errorf("a step on the dataset of the scope, which is not there: %d", s)
	}
}

// TestUserMasks: an update changes what it names, with a mask only what that names.
func TestUserMasks(t *testing.T) {
	f := newFixture(t)
	const ann = "/v1/accounts/main/users/ann"
	u := as[api.User](t, f, "main/admin", "PATCH", ann, `{"displayName":"Ann","email":"ann@example.com"}`)
	if u.Role != "user" || u.DisplayName != "Ann" || u.Email != "ann@example.com" {
		t.Errorf("%+v", u)
	}
	u = as[api.User](t, f, "main/admin", "PATCH", ann+"?updateMask=role", `{"role":"contributor","displayName":"Not this","email":"nor@this"}`)
	if u.Role != "contributor" || u.DisplayName != "Ann" || u.Email != "ann@example.com" {
		t.Errorf("%+v", u)
	}
	u = as[api.User](t, f, "main/admin", "PATCH", ann+"?updateMask=display_name,email", `{"role":"admin"}`)
	if u.Role != "contributor" || u.DisplayName != "" || u.Email != "" {
		t.Errorf("a mask that names what the body lacks clears it, and nothing else changes: %+v", u)
	}
	if s := f.status("main/admin", "PATCH", ann+"?updateMask=role", `{"displayName":"x"}`); s != 400 {
		t.Errorf("a user without a role: %d", s)
	}
	if s := f.status("main/admin", "PATCH", "/v1/accounts/main/users/admin", `{"displayName":"me"}`); s != 200 {
		t.Errorf("an admin's own name: %d", s)
	}
}

// TestTenants: the operator makes, suspends, resumes and ends tenants, and no key
// of one does.
func TestTenants(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	if s := f.status("main/admin", "POST", "/v1/accounts?accountId=beta", `{}`); s != 404 {
		t.Errorf("a tenant's admin made a tenant: %d", s)
	}
	made := as[api.NewAccount](t, f, "operator", "POST", "/v1/accounts?accountId=beta", `{"displayName":"Beta"}`)
	f.keys["beta"] = made.APIKey.Key
	for path, want := range map[string]int{"/v1/accounts/beta": 200, "/v1/accounts/beta/models": 200, "/v1/accounts/main": 404, "/metrics": 403} {
		if s := f.status("beta", "GET", path, ""); s != want {
			t.Errorf("%s: %d, want %d", path, s, want)
		}
	}
	if l := as[api.AccountList](t, f, "operator", "GET", "/v1/accounts", ""); l.TotalSize != 4 {
		t.Errorf("%+v", l)
	}
	if s := f.status("operator", "GET", "/v1/accounts/beta/models", ""); s != 404 {
		t.Errorf("the operator reads a tenant's models: %d", s)
	}
	as[api.Account](t, f, "operator", "POST", "/v1/accounts/beta:suspend", `{}`)
	if s := f.status("beta", "GET", "/v1/accounts/beta", ""); s != 403 {
		t.Errorf("a suspended tenant: %d", s)
	}
	as[api.Account](t, f, "operator", "POST", "/v1/accounts/beta:resume", `{}`)
	as[api.Dataset](t, f, "beta", "POST", "/v1/accounts/beta/datasets", `{"datasetId":"d","dataset":{"externalUrl":"s3://bucket/rows.jsonl"}}`)
	// A queued validation is cancelled; then nothing is left that waits.
	if s := f.status("operator", "DELETE", "/v1/accounts/beta", ""); s != 200 {
		t.Fatalf("deletion: %d", s)
	}
	if s := f.status("beta", "GET", "/v1/accounts/beta", ""); s != 401 {
		t.Errorf("a key of a deleted tenant: %d", s)
	}
	if p, err := f.db.ListDatasets(ctx, "beta", store.ListOptions{}); err != nil || p.Total != 0 {
		t.Errorf("a deleted tenant has %d datasets, %v", p.Total, err)
	}
	if s := f.status("operator", "POST", "/v1/accounts?accountId=beta", `{}`); s != 409 {
		t.Errorf("a name was given again: %d", s)
	}
	for _, id := range []string{"main", "fireworks"} {
		if s := f.status("operator", "DELETE", "/v1/accounts/"+id, ""); s != 400 {
			t.Errorf("the server's own account %s: %d", id, s)
		}
	}
}

// TestOperatorKeyIsNoTenantKey: neither form is ever taken for the other.
func TestOperatorKeyIsNoTenantKey(t *testing.T) {
	for range 100 {
		if _, err := seal.ParseAPIKey(seal.NewOperatorKey().Text.Reveal()); err == nil {
			t.Fatal("an operator key parses as a tenant's")
		}
		if _, err := seal.ParseOperatorKey(seal.NewAPIKey().Text.Reveal()); err == nil {
			t.Fatal("a tenant's key parses as the operator's")
		}
	}
	f := newFixture(t)
	// Even a row with the operator's hash in the database opens no tenant.
	row := store.APIKey{ID: "planted", Account: "main", User: "admin", Hash: seal.HashAPIKey(f.keys["operator"]), Expires: time.Now().Add(time.Hour)}
	_, err := f.db.CreateAPIKey(context.Background(), row, store.Act{})
	must(t, err)
	if s := f.status("operator", "GET", "/v1/accounts/main/models", ""); s != 404 {
		t.Errorf("the operator's key reads a tenant: %d", s)
	}
	_, err = f.db.CreateUser(context.Background(), store.User{Account: "acme", ID: "op", Role: string(authz.Operator)}, store.Act{})
	must(t, err)
	f.keys["op"] = f.key("acme", "op", time.Now().Add(time.Hour))
	if s := f.status("op", "GET", "/v1/accounts", ""); s != 401 {
		t.Errorf("a user with the operator's role: %d", s)
	}
}

// TestQuotas: what is used up answers 429 and says when to come back; one
// account's flood costs the other nothing.
func TestQuotas(t *testing.T) {
	f := newFixture(t)
	as[api.Quota](t, f, "operator", "PATCH", "/v1/accounts/acme/quotas/requests-per-second", `{"maxValue":1}`)
	limited := false
	for i := 0; !limited && i < 1000; i++ {
		status, h, text := f.do("acme/admin", "GET", "/v1/accounts/acme", "")
		if limited = status == 429; limited && (h.Get("Retry-After") == "" || h.Get("X-Ratelimit-Remaining-Requests") != "0" || !strings.Contains(text, "requests per second")) {
			t.Errorf("%v %s", h, text)
		}
	}
	if !limited {
		t.Error("a flood passed")
	}
	status, h, _ := f.do("main/admin", "GET", "/v1/accounts/main", "")
	if status != 200 || h.Get("X-Ratelimit-Limit-Requests") != "" {
		t.Errorf("another account, without a limit: %d %v", status, h)
	}
	as[api.Quota](t, f, "operator", "PATCH", "/v1/accounts/main/quotas/requests-per-second", `{"maxValue":1000}`)
	for want := 1999; want > 1997; want-- {
		status, h, _ := f.do("main/admin", "GET", "/v1/accounts/main", "")
		left, _ := strconv.Atoi(h.Get("X-Ratelimit-Remaining-Requests"))
		reset, err := time.ParseDuration(h.Get("X-Ratelimit-Reset-Requests"))
		if status != 200 || h.Get("X-Ratelimit-Limit-Requests") != "2000" || left < want || left > 1999 || err != nil || reset <= 0 || reset > 2*time.Second {
			t.Errorf("%d %v", status, h)
		}
	}
	const q = "/v1/accounts/main/quotas/queued-jobs"
	if s := f.status("main/admin", "PATCH", q, `{"maxValue":5}`); s != 403 {
		t.Errorf("an admin raised his own ceiling: %d", s)
	}
	as[api.Quota](t, f, "operator", "PATCH", q, `{"maxValue":3}`)
	if s := f.status("main/admin", "PATCH", q, `{"value":4}`); s != 400 {
		t.Errorf("a value above the ceiling: %d", s)
	}
	if got := as[api.Quota](t, f, "main/admin", "PATCH", q, `{"value":1}`); got.Value != 1 || got.MaxValue != 3 {
		t.Errorf("%+v", got)
	}
	if s := f.status("main/ann", "PATCH", q, `{"value":1}`); s != 403 {
		t.Errorf("a user changed a quota: %d", s)
	}
	as[api.Model](t, f, "main/admin", "POST", "/v1/accounts/main/models", `{"modelId":"waiting"}`)
	as[api.Dataset](t, f, "main/admin", "POST", "/v1/accounts/main/datasets", `{"datasetId":"d","dataset":{"externalUrl":"s3://bucket/rows.jsonl"}}`) // one queued job
	status, h, text := f.do("main/admin", "POST", "/v1/accounts/main/rlorTrainerJobs", `{"dataset":"d","trainingConfig":{"baseModel":"base"}}`)
	if status != 429 || h.Get("Retry-After") != "30" || !strings.Contains(text, "queued-jobs") {
		t.Errorf("%d %v %s", status, h, text)
	}
	for path, body := range map[string]string{
		"models":                `{"modelId":"m","model":{"firekeep":{"source":"s3://bucket/m/"}}}`,
		"models/waiting:import": `{"awsS3Source":{"s3Bucket":"bucket"}}`,
	} {
		if status, _, text := f.do("main/admin", "POST", "/v1/accounts/main/"+path, body); status != 429 || !strings.Contains(text, "queued-jobs") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if l := as[api.QuotaList](t, f, "main/admin", "GET", "/v1/accounts/main/quotas", ""); len(l.Quotas) != 4 || l.Quotas[1].Usage != 1 {
		t.Errorf("%+v", l)
	}
	as[api.Quota](t, f, "operator", "PATCH", q, `{"maxValue":-1}`)
}

// TestCustomRolesOverTheAPI: an account writes a role, gives it, and cannot take
// it away from under a user.
func TestCustomRolesOverTheAPI(t *testing.T) {
	f := newFixture(t)
	const roles = "/v1/accounts/main/roles"
	if s := f.status("main/ann", "POST", roles, `{"roleId":"r","role":{"policy":"permit (principal, action, resource);"}}`); s != 403 {
		t.Errorf("a user wrote a role: %d", s)
	}
	if s := f.status("main/admin", "POST", roles, `{"roleId":"r","role":{"policy":"permit everything"}}`); s != 400 {
		t.Errorf("no Cedar: %d", s)
	}
	policy := `permit (principal, action == Action::\"models.get\", resource) when { resource.name == \"accounts/main/models/base\" };`
	as[api.Role](t, f, "main/admin", "POST", roles, `{"roleId":"r","role":{"policy":"`+policy+`"}}`)
	as[api.User](t, f, "main/admin", "POST", "/v1/accounts/main/users?userId=rita", `{"role":"custom","permissionPreset":"r"}`)
	if s := f.status("main/admin", "POST", "/v1/accounts/main/users?userId=rob", `{"role":"custom","permissionPreset":"none"}`); s != 400 {
		t.Errorf("a role that is not there: %d", s)
	}
	f.keys["rita"] = f.key("main", "rita", time.Now().Add(time.Hour))
	for path, want := range map[string]int{"/v1/accounts/main/models/base": 200, "/v1/accounts/main/models/other": 403, "/v1/accounts/main/datasets": 403} {
		if s := f.status("rita", "GET", path, ""); s != want {
			t.Errorf("%s: %d, want %d", path, s, want)
		}
	}
	as[api.Role](t, f, "main/admin", "POST", roles, `{"roleId":"r","role":{"policy":"permit (principal, action == Action::\"datasets.list\", resource);"}}`)
	if s := f.status("rita", "GET", "/v1/accounts/main/models/base", ""); s != 403 {
		t.Errorf("the old policies still count: %d", s)
	}
	if s := f.status("main/admin", "DELETE", roles+"/r", ""); s != 400 {
		t.Errorf("a role that is in use was deleted: %d", s)
	}
}

// TestDecisionIsAudited: the row of an operation carries the decision and the
// policies that made it, of a refusal too.
func TestDecisionIsAudited(t *testing.T) {
	f := newFixture(t)
	as[api.Dataset](t, f, "main/ann", "POST", "/v1/accounts/main/datasets", `{"datasetId":"d","dataset":{"externalUrl":"s3://bucket/rows.jsonl"}}`)
	f.status("main/ina", "POST", "/v1/accounts/main/datasets", `{}`)
	p, err := f.db.ListAudit(context.Background(), "main", store.AuditRange{}, store.ListOptions{Limit: 200})
	must(t, err)
	got := map[string]string{}
	for _, r := range p.Items {
		got[r.Method] = r.Decision + " " + r.Policy + " " + r.Result
	}
	if got["CreateDataset"] != "allow role.user OK" || got["datasets.create"] != "deny default PERMISSION_DENIED" {
		t.Errorf("%v", got)
	}
}

// TestAccessReview: the review lists for each user exactly what the routes allow
// him, and is signed only as it was seen.
func TestAccessReview(t *testing.T) {
	f := newFixture(t)
	keys := credentials(t, f)
	r := as[api.AccessReview](t, f, "main/admin", "GET", "/v1/accounts/main/accessReview", "")
	users := map[string]api.AccessOfUser{}
	for _, u := range r.Users {
		users[u.User] = u
	}
	var seen map[authz.Action]bool
	f.srv.observe = func(ctx context.Context, _ *route) context.Context {
		return authz.WithObserver(ctx, func(a authz.Action, _ authz.Resource, d authz.Decision) { seen[a] = d.Allowed })
	}
	compared := 0
	for user, key := range map[string]string{"admin": keys["admin"], "ann": keys["user"], "carl": keys["contributor"], "ina": keys["inference-user"], "rita": keys["custom"]} {
		u, ok := users[user]
		if !ok {
			t.Errorf("%s is not in the review", user)
			continue
		}
		seen = map[authz.Action]bool{}
		f.keys["reviewed"] = key
		for _, rt := range f.srv.table.routes {
			if rt.public() {
				continue
			}
			body, kind := lateBody(rt)
			f.do("reviewed", rt.Method, filled(rt.Pattern), body, "Content-Type", kind)
		}
		for action, allowed := range seen {
			compared++
			if listed := slices.Contains(u.Actions, string(action)); listed != allowed {
				t.Errorf("%s: %s is allowed: %v, listed: %v", user, action, allowed, listed)
			}
		}
	}
	if compared < 200 {
		t.Errorf("only %d decisions were compared", compared)
	}
	for user, want := range map[string][5]bool{ // read, train, serve, export, administer
		"admin": {true, true, true, true, true}, "ann": {true, true, true, true, false}, "carl": {true, true, true, false, false},
		"ina": {true, false, true, false, false}, "rita": {true, false, false, false, false}} {
		u := users[user]
		if got := [5]bool{u.Read, u.Train, u.Serve, u.Export, u.Administer}; got != want {
			t.Errorf("%s: %v, want %v", user, got, want)
		}
	}
	if k := users["ann"].Keys; len(k) != 1 || k[0].ExpireTime.IsZero() {
		t.Errorf("the keys of ann, without the expired and the revoked: %+v", k)
	}
	sign := func(digest string) int {
		return f.status("main/admin", "POST", "/v1/accounts/main/accessReviews", `{"digest":"`+digest+`","comment":"quarterly"}`)
	}
	if s := sign("sha256:0"); s != 400 {
		t.Errorf("another digest: %d", s)
	}
	if s := sign(r.Digest); s != 200 {
		t.Errorf("the digest that was shown: %d", s)
	}
	if s := f.status("main/admin", "PATCH", "/v1/accounts/main/users/ina", `{"role":"admin"}`); s != 200 {
		t.Fatal(s)
	}
	if s := sign(r.Digest); s != 400 {
		t.Errorf("a review of yesterday was signed: %d", s)
	}
	l := as[api.AccessReviewList](t, f, "main/admin", "GET", "/v1/accounts/main/accessReviews", "")
	if len(l.AccessReviews) != 1 || l.AccessReviews[0].SignedBy != "admin" || l.AccessReviews[0].Digest != r.Digest || len(l.AccessReviews[0].Users) != len(r.Users) {
		t.Errorf("%+v", l)
	}
}

// TestTokenExchangeRefusals: what strangers send is bounded, comes in the body
// only, and every refusal is the same.
func TestTokenExchangeRefusals(t *testing.T) {
	f := newFixture(t)
	const form = "application/x-www-form-urlencoded"
	grant := "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&subject_token_type=urn:ietf:params:oauth:token-type:jwt"
	post := func(body, kind string) (int, string) {
		resp, err := http.Post(f.http.URL+"/v1/token", kind, strings.NewReader(body))
		must(t, err)
		defer resp.Body.Close()
		var e struct{ Message string }
		_ = json.NewDecoder(resp.Body).Decode(&e)
		return resp.StatusCode, e.Message
	}
	for _, c := range []struct {
		body, kind string
		want       int
	}{{"{}", "application/json", 415}, {"", form, 400}, {grant, form, 400}, {grant + "&audience=main", form, 400}, {"a=%zz", form, 400}, {strings.Repeat("a", maxTokenRequest+1), form, 413}} {
		if s, _ := post(c.body, c.kind); s != c.want {
			t.Errorf("%.60s: %d, want %d", c.body, s, c.want)
		}
	}
	_, said := post(grant+"&audience=accounts/main/identityProviders/none&subject_token=x", form)
	status, elsewhere := post(grant+"&audience=accounts/none/identityProviders/none&subject_token=x", form)
	if status != 401 || said != elsewhere {
		t.Errorf("%d %q %q", status, said, elsewhere)
	}
	// Together, for as long as it takes: a slow machine gives places back meanwhile.
	var refused atomic.Bool
	var flood sync.WaitGroup
	for range 4 {
		flood.Go(func() {
			for n := 0; n < 40*strangersPerSecond && !refused.Load(); n++ {
				resp, err := http.Post(f.http.URL+"/v1/token", form, strings.NewReader(grant+"&audience=accounts/main/identityProviders/none&subject_token=x"))
				if err == nil {
					resp.Body.Close()
					refused.CompareAndSwap(false, resp.StatusCode == http.StatusTooManyRequests)
				}
			}
		})
	}
	flood.Wait()
	if !refused.Load() {
		t.Error("a flood of strangers was answered")
	}
}

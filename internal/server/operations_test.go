package server

import (
	"strings"
	"testing"
)

// TestOperations: what the contract has is served, or refused with a reason and
// 501, for every method and path of its list.
func TestOperations(t *testing.T) {
	f := newFixture(t)
	ops := f.srv.Operations()
	supported := 0
	for _, o := range ops {
		path := filled(o.Path)
		if o.Supported {
			supported++
			if route, _, _ := f.srv.table.find(o.Method, path); route == nil {
				t.Errorf("%s: no route for %s %s", o.Name, o.Method, path)
			}
			continue
		}
		status, h, body := f.do("main/admin", o.Method, path, "{}")
		if status != 501 || h.Get("X-Should-Retry") != "false" || !strings.Contains(body, o.Reason) || o.Reason == "" {
			t.Errorf("%s %s: %d %s, want 501 and %q", o.Method, path, status, body, o.Reason)
		}
		if status, _, _ := f.do("", o.Method, path, "{}"); status != 401 {
			t.Errorf("%s %s without a key: %d", o.Method, path, status)
		}
	}
	if len(ops) < 200 || supported < 60 {
		t.Errorf("%d operations, %d supported: the list is not what it says", len(ops), supported)
	}
}

// TestReasonsAreOfTheContract: a reason for what a route serves, or for nothing,
// is a mistake.
func TestReasonsAreOfTheContract(t *testing.T) {
	f := newFixture(t)
	for key := range reasons {
		method, path, one := strings.Cut(key, " ")
		if !one {
			continue
		}
		if r, _, _ := contract.find(method, path); r == nil {
			t.Errorf("%s is not an operation of the contract", key)
		}
		if r, _, _ := f.srv.table.find(method, path); r != nil {
			t.Errorf("%s has a reason against it and a route", key)
		}
	}
	for path, want := range map[string]string{
		"/v1/accounts/main/reinforcementFineTuningJobs": "firekeep.rollouts", "/v1/accounts/main/evaluatorsV2": "firekeep.rollouts",
		"/v1/accounts/main/clusters/c": "one host", "/v1/accounts/main/leaderboards": "no user code", "/inference/v1/embeddings": "does not have",
	} {
		if _, _, body := f.do("main/admin", "POST", path, "{}"); !strings.Contains(body, want) {
			t.Errorf("%s: %s, want %q", path, body, want)
		}
	}
}

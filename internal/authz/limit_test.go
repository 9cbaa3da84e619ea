package authz

import (
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/store"
)

// TestAdmit: a burst of two seconds' worth passes, then the rate; accounts do not
// share, and no limit is no bucket.
func TestAdmit(t *testing.T) {
	k := &Keys{}
	now := time.Unix(1_000_000, 0)
	p := Principal{Account: "main", Limits: Limits{RequestsPerSecond: 5}}
	passed := func(p Principal, n int) (ok int, after time.Duration) {
		for range n {
			wait, admitted := k.Admit(p, now)
			if admitted {
				ok++
			} else {
				after = wait
			}
		}
		return ok, after
	}
	if n, after := passed(p, 100); n != 10 || after != 200*time.Millisecond {
		t.Errorf("%d of a burst of 100, the next after %s", n, after)
	}
	if n, _ := passed(Principal{Account: "acme", Limits: p.Limits}, 100); n != 10 {
		t.Errorf("%d of another account's burst", n)
	}
	if n, _ := passed(Principal{Account: "free"}, 1000); n != 1000 {
		t.Errorf("%d of 1000 without a limit", n)
	}
	now = now.Add(time.Second)
	if n, _ := passed(p, 100); n != 5 {
		t.Errorf("%d after a second", n)
	}
	now = now.Add(-time.Hour) // a clock that was set back gives nothing and takes nothing
	if n, _ := passed(p, 100); n != 0 {
		t.Errorf("%d before", n)
	}
}

func TestLimits(t *testing.T) {
	d := Limits{RequestsPerSecond: 100, QueuedJobs: 7}
	for _, c := range []struct {
		set  store.Quota
		want int64
	}{{store.Quota{}, 100}, {store.Quota{Value: 5}, 5}, {store.Quota{Value: 5, Max: 3}, 3}, {store.Quota{Max: 3}, 3}, {store.Quota{Value: 2, Max: 3}, 2}} {
		if got := d.with(map[string]store.Quota{QuotaRequests: c.set}); got.RequestsPerSecond != c.want || got.QueuedJobs != 7 {
			t.Errorf("%+v: %+v", c.set, got)
		}
	}
	for _, id := range Quotas() {
		if d := (Limits{}).with(map[string]store.Quota{id: {Value: 9}}); d.Of(id) != 9 {
			t.Errorf("%s is not kept: %+v", id, d)
		}
	}
}

package store_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

func queue(t *testing.T, db *store.DB, c *clock, account, id string) {
	t.Helper()
	c.add(time.Millisecond) // jobs of one instant have no order
	must(db.CreateJob(t.Context(), store.Job{Account: account, ID: id, Kind: store.JobStep, Spec: []byte("{}")}, act))
}

func tenants(t *testing.T, db *store.DB, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if _, err := db.Account(t.Context(), id); rft.KindOf(err) == rft.KindNotFound {
			must(db.CreateAccount(t.Context(), store.Account{ID: id}, act))
		}
	}
}

// TestAccountsTakeTurns: jobs that one account queued first do not stand before
// another's.
func TestAccountsTakeTurns(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		tenants(t, db, "main", "acme", "beta")
		for _, id := range []string{"m1", "m2", "m3", "m4"} {
			queue(t, db, c, "main", id)
		}
		queue(t, db, c, "acme", "a1")
		queue(t, db, c, "acme", "a2")
		queue(t, db, c, "beta", "b1")
		var got []string
		for range 7 { // one runner: each job ends before the next begins
			j, ok, err := db.LeaseJob(t.Context(), "r", []store.JobKind{store.JobStep}, time.Minute)
			if err != nil || !ok {
				t.Fatalf("%v %v after %v", ok, err, got)
			}
			got = append(got, j.ID)
			if err := db.Stop(t.Context(), j.UID, j.Fence, rft.StateFailed, store.Status{Code: "INTERNAL"}, act); err != nil {
				t.Fatal(err)
			}
			c.add(time.Second)
		}
		if want := []string{"m1", "a1", "b1", "m2", "a2", "m3", "m4"}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

// TestStepsLimitAndSuspension: an account runs no more steps at once than it may,
// and none while it is suspended; other accounts go on.
func TestStepsLimitAndSuspension(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		tenants(t, db, "main", "acme")
		must(db.SetQuota(ctx, "main", store.QuotaSteps, func(q store.Quota) store.Quota { q.Max = 1; return q }, act))
		for _, id := range []string{"m1", "m2"} {
			queue(t, db, c, "main", id)
		}
		next := func() string {
			j, _, err := db.LeaseJob(ctx, "r", []store.JobKind{store.JobStep}, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			return j.ID
		}
		if a, b := next(), next(); a != "m1" || b != "" {
			t.Errorf("leased %q and %q", a, b)
		}
		must(db.SetQuota(ctx, "main", store.QuotaSteps, func(q store.Quota) store.Quota { q.Max = 2; return q }, act))
		must(db.SetAccountState(ctx, "main", store.AccountSuspended, act))
		queue(t, db, c, "acme", "a1")
		if a, b := next(), next(); a != "a1" || b != "" {
			t.Errorf("leased %q and %q", a, b)
		}
		must(db.SetAccountState(ctx, "main", store.AccountActive, act))
		if a := next(); a != "m2" {
			t.Errorf("leased %q", a)
		}
	})
}

// TestExchangeIsOnce: a foreign token makes one key and one user, also when it is
// taken twice at the same instant.
func TestExchangeIsOnce(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := context.Background()
		tenants(t, db, "main")
		s := store.SignIn{Issuer: "https://i.example", Subject: "ann", Token: "jti-1", Expires: c.now().Add(time.Minute), Create: true,
			User: store.User{Account: "main", ID: "sso-1", Role: "user"}}
		exchange := func(token, hash, role string) error {
			s.Token, s.User.Role = token, role
			s.Key = store.APIKey{ID: hash, Hash: []byte(hash), Kind: store.KeyLogin, Expires: c.now().Add(time.Hour)}
			_, u, err := db.ExchangeToken(ctx, s, act)
			if err == nil && (u.ID != "sso-1" || u.Role != role) {
				t.Errorf("%+v", u)
			}
			return err
		}
		if err := exchange("jti-1", "h1", "user"); err != nil {
			t.Fatal(err)
		}
		wantKind(t, exchange("jti-1", "h2", "user"), rft.KindUnauthenticated)
		_, err := db.Credential(ctx, []byte("h2"))
		wantKind(t, err, rft.KindNotFound)
		if err := exchange("jti-2", "h3", "admin"); err != nil { // a new group of the issuer's
			t.Fatal(err)
		}
		if got := must(db.Credential(ctx, []byte("h1"))); got.User.Role != "admin" {
			t.Errorf("%+v", got.User)
		}
		c.add(2 * time.Hour) // the sessions end, and are forgotten with the next
		_, err = db.Credential(ctx, []byte("h1"))
		wantKind(t, err, rft.KindNotFound)
	})
}

package store_test

import (
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

func TestAuditState(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		if s := must(db.AuditState(ctx)); s.Verifier != "" {
			t.Errorf("a fresh database has %+v", s)
		}
		must(db.StartAudit(ctx, "key", []byte{0, 1, 255}))
		s := must(db.StartAudit(ctx, "another", []byte{2})) // the first one stands
		if s.Verifier != "key" || string(s.SealedKey) != "\x00\x01\xff" {
			t.Errorf("state %+v", s)
		}
		for range 5 {
			must(db.AppendAudit(ctx, act, "OK"))
		}
		if err := db.SetAuditHead(ctx, 4, "head of 4"); err != nil {
			t.Fatal(err)
		}
		if err := db.SetAuditHead(ctx, 3, "an older one"); err != nil { // never goes back
			t.Fatal(err)
		}
		s = must(db.AuditState(ctx))
		if s.Head != "head of 4" || s.HeadSize != 4 {
			t.Errorf("state %+v", s)
		}
		for _, r := range must(db.AuditFrom(ctx, 1, 100)) {
			if want := r.Seq - 1; r.Seq <= 4 && r.LogIndex != want || r.Seq > 4 && r.LogIndex != -1 {
				t.Errorf("row %d has index %d", r.Seq, r.LogIndex)
			}
		}
	})
}

// TestAuditRowsLeaveFromTheOldEnd: no gap arises, the newest row stays, and
// numbers go on.
func TestAuditRowsLeaveFromTheOldEnd(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		must(db.StartAudit(ctx, "key", []byte{1}))
		for range 9 {
			c.add(time.Hour)
			must(db.AppendAudit(ctx, act, "OK"))
		}
		last := must(db.LastAudit(ctx))
		if n := must(db.DropAudit(ctx, c.now(), last)); n != 0 {
			t.Errorf("%d rows were dropped that are in no log", n)
		}
		if err := db.SetAuditHead(ctx, last, "head"); err != nil {
			t.Fatal(err)
		}
		if n := must(db.DropAudit(ctx, c.now().Add(-4*time.Hour), last)); n != last-5 {
			t.Errorf("%d rows were dropped by their time", n)
		}
		if n := must(db.DropAudit(ctx, c.now().Add(time.Hour), last-3)); n != 2 {
			t.Errorf("%d rows were dropped up to a number", n)
		}
		if n := must(db.DropAudit(ctx, c.now().Add(time.Hour), last+7)); n != 2 {
			t.Errorf("%d rows were dropped, the newest stays", n)
		}
		if seq := must(db.AppendAudit(ctx, act, "OK")); seq != last+1 {
			t.Errorf("the next number is %d", seq)
		}
		if problems := must(db.Check(ctx)); len(problems) != 0 {
			t.Error(problems)
		}
		if got := must(db.AuditState(ctx)).Dropped; got != last-1 {
			t.Errorf("dropped %d", got)
		}
	})
}

func TestRestoredAuditRowsFollow(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		last := must(db.LastAudit(ctx))
		row := store.AuditRow{Seq: last + 1, Time: c.now(), Act: act, Result: "OK", LogIndex: last}
		next := row
		next.Seq, next.LogIndex = last+2, last+1
		if err := db.RestoreAudit(ctx, []store.AuditRow{row, next}); err != nil {
			t.Fatal(err)
		}
		wantKind(t, db.RestoreAudit(ctx, []store.AuditRow{next}), rft.KindDataLoss)
		if seq := must(db.AppendAudit(ctx, act, "OK")); seq != last+3 {
			t.Errorf("the next number is %d", seq)
		}
		if problems := must(db.Check(ctx)); len(problems) != 0 {
			t.Error(problems)
		}
	})
}

// TestAuditTakesWhatClientsSend: names that clients chose are cut and cleaned, so
// that a row always fits into the log.
func TestAuditTakesWhatClientsSend(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, _ *clock) {
		ctx := t.Context()
		long := strings.Repeat("\x00\xff\"é", 5000)
		hostile := store.Act{Account: long, Actor: long, ActorID: long, ActorKind: long, Method: long, Resource: long, APIKeyID: long, ClientIP: long, UserAgent: long,
			Decision: long, Policy: long, Detail: map[string]string{}}
		for i := range 100 {
			hostile.Detail[strings.Repeat("k", 100)+string(rune('a'+i))] = long
			hostile.Detail[string(rune(0x4e00+i))] = long
		}
		seq := must(db.AppendAudit(ctx, hostile, long))
		rows := must(db.AuditFrom(ctx, seq, 1))
		size := 0
		for _, s := range []string{rows[0].Actor, rows[0].Resource, rows[0].UserAgent, rows[0].Policy, rows[0].Result} {
			if strings.ContainsRune(s, 0) || !strings.Contains(s, `"`) {
				t.Errorf("kept %q", s[:20])
			}
			size += len(s)
		}
		if size > 4096 || len(rows[0].Detail) > 32 {
			t.Errorf("%d bytes and %d details were kept", size, len(rows[0].Detail))
		}
		if hostile.Actor != long {
			t.Error("the caller's act was changed")
		}
	})
}

func TestAuditFilters(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		one := act
		one.Method, one.Resource, one.ActorID, one.Decision = "DeleteApiKey", "accounts/main/users/ann/apiKeys/k9", "accounts/main/users/ann", store.DecisionAllow
		must(db.AppendAudit(ctx, one, "OK"))
		must(db.AppendAudit(ctx, act, "PERMISSION_DENIED"))
		for _, f := range []struct {
			term store.Term
			want int
		}{
			{store.Term{Field: "target_api_key_id", Op: "=", Value: "k9"}, 1},
			{store.Term{Field: "target_api_key_id", Op: "!=", Value: "k9"}, 1},
			{store.Term{Any: [][]store.Term{{{Field: "target_api_key_id", Op: "=", Value: "k9"}}, {{Field: "result", Op: "=", Value: "PERMISSION_DENIED"}}}}, 2},
			{store.Term{Field: "event_type", Op: "=", Value: "DeleteApiKey"}, 1},
			{store.Term{Field: "principal_id", Op: "=", Value: "accounts/main/users/ann"}, 1},
			{store.Term{Field: "decision", Op: "=", Value: store.DecisionDeny}, 1},
			{store.Term{Field: "result", Op: "=", Value: "PERMISSION_DENIED"}, 1},
			{store.Term{Field: "resource", Op: ":", Value: "/apikeys/"}, 1},
			{store.Term{Field: "resource", Op: ":", Value: "nothing"}, 0},
		} {
			p, err := db.ListAudit(ctx, "main", store.AuditRange{}, store.ListOptions{Filter: []store.Term{f.term}})
			if err != nil || len(p.Items) != f.want {
				t.Errorf("%v: %d rows, %v", f.term, len(p.Items), err)
			}
		}
	})
}

package store_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

var act = store.Act{Account: "main", Actor: "ann@example.com", Method: "Test", Resource: "accounts/main", Detail: map[string]string{"k": "v"}}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func wantKind(t *testing.T, err error, kind rft.Kind) {
	t.Helper()
	if rft.KindOf(err) != kind {
		t.Fatalf("got %q (%v), want kind %q", rft.KindOf(err), err, kind)
	}
}

func TestAccountsUsersKeys(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		_, err := db.CreateAccount(ctx, store.Account{ID: "main"}, act)
		wantKind(t, err, rft.KindAlreadyExists)
		u := must(db.CreateUser(ctx, store.User{Account: "main", ID: "ann", Email: "ann@example.com", Role: "admin"}, act))
		_, err = db.CreateUser(ctx, store.User{Account: "nobody", ID: "ann"}, act)
		if err == nil {
			t.Fatal("a user of an account that does not exist was created")
		}
		got := must(db.User(ctx, "main", "ann"))
		if !reflect.DeepEqual(got, u) {
			t.Errorf("read back %+v, wrote %+v", got, u)
		}
		renamed := u
		renamed.DisplayName = "Ann"
		renamed = must(db.UpdateUser(ctx, renamed, u, act))
		demoted := renamed
		demoted.Role = "user"
		must(db.UpdateUser(ctx, demoted, renamed, act))
		renamed.DisplayName = "Anna" // by somebody who read her as an admin
		_, err = db.UpdateUser(ctx, renamed, u, act)
		wantKind(t, err, rft.KindAborted)
		if now := must(db.User(ctx, "main", "ann")); now.Role != "user" || now.DisplayName != "Ann" {
			t.Errorf("a change of a name left %+v", now)
		}
		hash := []byte{0, 1, 255, '\'', '?'}
		k := must(db.CreateAPIKey(ctx, store.APIKey{ID: "k1", Account: "main", User: "ann", Hash: hash, Prefix: "fk_k1", Expires: c.now().Add(time.Hour), Annotations: map[string]string{"a": "b"}}, act))
		_, err = db.CreateAPIKey(ctx, store.APIKey{ID: "k2", Account: "main", User: "bob", Hash: []byte("x")}, act)
		wantKind(t, err, rft.KindNotFound)
		gotKey, gotUser, err := db.APIKeyByHash(ctx, hash)
		if err != nil || !reflect.DeepEqual(gotKey, k) || gotUser.ID != "ann" {
			t.Fatalf("by hash: %+v, %+v, %v", gotKey, gotUser, err)
		}
		_, _, err = db.APIKeyByHash(ctx, []byte{0, 1})
		wantKind(t, err, rft.KindNotFound)
		if err := db.TouchAPIKey(ctx, "k1"); err != nil {
			t.Fatal(err)
		}
		if used := must(db.ListAPIKeys(ctx, "main", "ann", store.ListOptions{})).Items[0].LastUsed; !used.Equal(c.now().Truncate(time.Minute)) {
			t.Errorf("last used %v", used)
		}
		c.add(time.Hour)
		_, _, err = db.APIKeyByHash(ctx, hash)
		wantKind(t, err, rft.KindUnauthenticated)
		if err := db.DeleteAPIKey(ctx, "main", "ann", "k1", act); err != nil {
			t.Fatal(err)
		}
		wantKind(t, db.DeleteAPIKey(ctx, "main", "ann", "k1", act), rft.KindNotFound)
	})
}

func TestAuditIsDenseAndInTheSameTransaction(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		before := must(db.ListAudit(ctx, "", store.AuditRange{}, store.ListOptions{})).Total
		_, err := db.CreateUser(ctx, store.User{Account: "main", ID: "u"}, act)
		if err != nil {
			t.Fatal(err)
		}
		// A refused mutation leaves neither row nor audit row.
		_, err = db.CreateUser(ctx, store.User{Account: "main", ID: "u"}, act)
		wantKind(t, err, rft.KindAlreadyExists)
		if err := db.Record(ctx, act, rft.Errorf(rft.KindPermissionDenied, "no")); err != nil {
			t.Fatal(err)
		}
		page := must(db.ListAudit(ctx, "main", store.AuditRange{}, store.ListOptions{Limit: 1}))
		if page.Items[0].Result != "PERMISSION_DENIED" || page.Next == "" {
			t.Errorf("newest row %+v", page.Items[0])
		}
		next := must(db.ListAudit(ctx, "main", store.AuditRange{}, store.ListOptions{Limit: 1, After: page.Next}))
		if next.Items[0].Seq != page.Items[0].Seq-1 || !reflect.DeepEqual(next.Items[0].Act, act) {
			t.Errorf("second row %+v", next.Items[0])
		}
		if total := must(db.ListAudit(ctx, "", store.AuditRange{}, store.ListOptions{})).Total; total != before+2 {
			t.Errorf("%d rows, want %d", total, before+2)
		}
		rows := must(db.AuditFrom(ctx, 1, 100))
		for i, r := range rows {
			if r.Seq != int64(i)+1 {
				t.Fatalf("gap: row %d has seq %d", i, r.Seq)
			}
		}
		none := must(db.ListAudit(ctx, "main", store.AuditRange{To: c.now().Add(-time.Hour)}, store.ListOptions{}))
		if none.Total != 0 {
			t.Errorf("%d rows before time began", none.Total)
		}
	})
}

// TestConcurrentWritersKeepTheSequence proves the single writer on both databases.
func TestConcurrentWritersKeepTheSequence(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, _ *clock) {
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for k := range 5 {
					if _, err := db.CreateUser(t.Context(), store.User{Account: "main", ID: fmt.Sprintf("u%d-%d", i, k)}, act); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		rows := must(db.AuditFrom(t.Context(), 1, 1000))
		if len(rows) != 41 || rows[40].Seq != 41 {
			t.Errorf("%d rows, the last %d", len(rows), rows[len(rows)-1].Seq)
		}
	})
}

func TestListPagesFiltersOrders(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, c *clock) {
		ctx := t.Context()
		var want []string
		for i := range 7 {
			c.add(time.Second)
			id := fmt.Sprintf("d%d", (i*3)%7)
			want = append(want, id)
			format := "RL"
			if i%2 == 1 {
				format = "CHAT"
			}
			must(db.CreateDataset(ctx, store.Dataset{Account: "main", ID: id, DisplayName: "Set 100%_" + id, Format: format, State: store.StateReady}, nil, act))
		}
		// What follows must not show it, whatever the filter and the cursor.
		must(db.CreateAccount(ctx, store.Account{ID: "other"}, act))
		must(db.CreateDataset(ctx, store.Dataset{Account: "other", ID: "d3", DisplayName: "Set 100%_d3", Format: "RL", State: store.StateReady}, nil, act))
		walk := func(o store.ListOptions) (ids []string) {
			o.Limit = 3
			for {
				p, err := db.ListDatasets(ctx, "main", o)
				if err != nil {
					t.Fatal(err)
				}
				for _, d := range p.Items {
					ids = append(ids, d.ID)
				}
				if p.Next == "" {
					return ids
				}
				o.After = p.Next
			}
		}
		if got := walk(store.ListOptions{OrderBy: []store.Order{{Field: "create_time"}}}); !slices.Equal(got, want) {
			t.Errorf("by time: %v, want %v", got, want)
		}
		slices.Reverse(want)
		if got := walk(store.ListOptions{OrderBy: []store.Order{{Field: "create_time", Desc: true}}}); !slices.Equal(got, want) {
			t.Errorf("by time, descending: %v, want %v", got, want)
		}
		if got := walk(store.ListOptions{}); !slices.IsSorted(got) || len(got) != 7 {
			t.Errorf("by name: %v", got)
		}
		if got, want := walk(store.ListOptions{OrderBy: []store.Order{{Field: "format"}, {Field: "create_time", Desc: true}}}), []string{"d1", "d2", "d3", "d4", "d5", "d6", "d0"}; !slices.Equal(got, want) {
			t.Errorf("by format and time: %v, want %v", got, want)
		}
		if got, want := walk(store.ListOptions{OrderBy: []store.Order{{Field: "format", Desc: true}}}), []string{"d6", "d5", "d4", "d0", "d3", "d2", "d1"}; !slices.Equal(got, want) {
			t.Errorf("by format and name, descending: %v, want %v", got, want)
		}
		term := func(field, op, value string) store.Term { return store.Term{Field: field, Op: op, Value: value} }
		for _, f := range []struct {
			term store.Term
			n    int
		}{
			{store.Term{Field: "format", Op: "=", Value: "RL"}, 4},
			{store.Term{Field: "format", Op: "!=", Value: "RL"}, 3},
			{store.Term{Field: "display_name", Op: ":", Value: "SET 100%_d3"}, 1},
			{store.Term{Field: "display_name", Op: ":", Value: "%"}, 7},
			{store.Term{Field: "display_name", Op: ":", Value: "100x"}, 0},
			{store.Term{Field: "create_time", Op: ">", Value: c.now().Add(-2500 * time.Millisecond).Format(time.RFC3339Nano)}, 3},
			{store.Term{Field: "display_name", Op: "=", Value: "'; DROP TABLE datasets; --"}, 0},
			{store.Term{Field: "display_name", Op: "=", Value: "Set 100%_d*"}, 7},
			{store.Term{Field: "display_name", Op: "!=", Value: "*_d3"}, 6},
			{store.Term{Field: "external_url", Op: ":", Value: "*"}, 0},
			{store.Term{Field: "external_url", Op: ":", Value: "*", Not: true}, 7},
			{store.Term{Any: [][]store.Term{{term("name", "=", "d3")}, {term("format", "=", "RL"), term("name", "!=", "d0")}}}, 4},
			{store.Term{Any: [][]store.Term{{term("name", "=", "d3")}, {term("name", "=", "d2")}}, Not: true}, 5},
		} {
			p, err := db.ListDatasets(ctx, "main", store.ListOptions{Filter: []store.Term{f.term}})
			if err != nil || p.Total != f.n || len(p.Items) != f.n {
				t.Errorf("%+v: %d of %d, %v; want %d", f.term, len(p.Items), p.Total, err, f.n)
			}
		}
		for _, o := range []store.ListOptions{{OrderBy: []store.Order{{Field: "size"}}}, {OrderBy: make([]store.Order, 9)}, {Filter: []store.Term{{Any: [][]store.Term{{{Field: "sealed", Op: "=", Value: "x"}}}}}}, {After: "???"}, {After: "bm9wZQ"}, {Limit: -1},
			{Filter: []store.Term{{Field: "sealed", Op: "=", Value: "x"}}}, {Filter: []store.Term{{Field: "state", Op: "~", Value: "x"}}},
			{Filter: []store.Term{{Field: "create_time", Op: ">", Value: "yesterday"}}}} {
			_, err := db.ListDatasets(ctx, "main", o)
			wantKind(t, err, rft.KindInvalidArgument)
		}
	})
}

func TestDatasetsAndConnections(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, _ *clock) {
		ctx := t.Context()
		conn := must(db.CreateConnection(ctx, store.Connection{Account: "main", ID: "c", Kind: "s3", URLPrefix: "s3://b/p/", Sealed: []byte{1, 2, 0}, Options: json.RawMessage(`{"region":"x"}`)}, act))
		if got := must(db.Connection(ctx, "main", "c")); !reflect.DeepEqual(got, conn) {
			t.Errorf("read back %+v, wrote %+v", got, conn)
		}
		if all := must(db.AllConnections(ctx, "main")); len(all) != 1 || !bytes.Equal(all[0].Sealed, conn.Sealed) {
			t.Errorf("all: %+v", all)
		}
		_, err := db.Connection(ctx, "other", "c")
		wantKind(t, err, rft.KindNotFound)

		d := readyDataset(t, db, "d")
		got, objects, err := db.DatasetByUID(ctx, d.UID)
		if err != nil || got.State != store.StateReady || got.Counts.Samples != 40 || got.Index != "idx" {
			t.Fatalf("%+v, %v", got, err)
		}
		want := []store.Object{{Key: "b.jsonl", Pin: objstore.Pin{Size: 9, Version: "1"}, SHA256: "aa"}, {Key: "a.jsonl", Pin: objstore.Pin{Size: 1 << 40, ETag: `"x"`}}}
		if !slices.Equal(objects, want) {
			t.Errorf("objects %+v", objects)
		}
		wantKind(t, db.UploadedDataset(ctx, d.UID, nil, &store.Job{Account: "main", Kind: store.JobValidation}, store.Room{}, act), rft.KindFailedPrecondition)
		if got := must(db.UpdateDataset(ctx, "main", "d", "New", act)); got.DisplayName != "New" {
			t.Errorf("%+v", got)
		}
		if _, objects, err := db.DeleteDataset(ctx, "main", "d", act); err != nil || len(objects) != 2 {
			t.Fatalf("%v, %v", objects, err)
		}
		_, err = db.Dataset(ctx, "main", "d")
		wantKind(t, err, rft.KindNotFound)
		if p := must(db.ListJobs(ctx, "main", store.JobValidation, store.ListOptions{})); p.Total != 0 {
			t.Errorf("the validation of a deleted dataset is left")
		}
	})
}

// readyDataset makes a dataset the way a runner does.
func readyDataset(t *testing.T, db *store.DB, id string) store.Dataset {
	t.Helper()
	ctx := t.Context()
	uid := store.NewUID()
	name := store.Dataset{Account: "main", ID: id}.Name()
	d := must(db.CreateDataset(ctx, store.Dataset{UID: uid, Account: "main", ID: id, ExternalURL: "file:///x", State: store.StateUploading, Status: store.OK()},
		&store.Job{Account: "main", Kind: store.JobValidation, Dataset: name, Spec: json.RawMessage(`{"uid":"` + uid + `"}`)}, act))
	j := lease(t, db, store.JobValidation)
	advance(t, db, j, rft.StateValidating, rft.StateRunning, rft.StateWriting)
	d.Format, d.Counts, d.Index, d.IndexDigest = "RL", store.Counts{Rows: 10, Samples: 40, EvalKeys: []string{"score"}}, "idx", "sha256:00"
	objects := []store.Object{{Key: "b.jsonl", Pin: objstore.Pin{Size: 9, Version: "1"}, SHA256: "aa"}, {Key: "a.jsonl", Pin: objstore.Pin{Size: 1 << 40, ETag: `"x"`}}}
	if err := db.FinishValidation(ctx, j.UID, j.Fence, d, objects, nil, act); err != nil {
		t.Fatal(err)
	}
	return d
}

func lease(t *testing.T, db *store.DB, kinds ...store.JobKind) store.Job {
	t.Helper()
	j, ok, err := db.LeaseJob(t.Context(), "r1", kinds, 15*time.Second)
	if err != nil || !ok {
		t.Fatalf("no job to lease: %v", err)
	}
	return j
}

func advance(t *testing.T, db *store.DB, j store.Job, states ...rft.JobState) {
	t.Helper()
	for _, s := range states {
		if err := db.Advance(t.Context(), j.UID, j.Fence, s); err != nil {
			t.Fatal(err)
		}
	}
}

func readyBase(t *testing.T, db *store.DB) store.Model {
	t.Helper()
	return must(db.CreateModel(t.Context(), store.Model{Account: "main", ID: "base", Kind: store.KindBase, State: store.StateReady, Digest: "sha256:b", Targets: []string{"q_proj"}, Alpha: 1.5}, nil, act))
}

func queueStep(t *testing.T, db *store.DB, d store.Dataset, base store.Model, id, output string) (store.Job, error) {
	t.Helper()
	return db.CreateStep(t.Context(), store.Job{Account: "main", ID: id, Kind: store.JobStep, Dataset: d.Name(), BaseModel: base.Name(), Spec: json.RawMessage(`{}`)},
		store.Model{Account: "main", ID: output, Kind: store.KindAdapter, BaseUID: base.UID}, d.UID, []string{base.UID}, act)
}

func TestSQLiteFileIsPrivate(t *testing.T) {
	path := sqlitePath(t)
	open(t, path)
	for _, p := range []string{path, path + "-wal"} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", p, info.Mode().Perm())
		}
	}
}

// TestReopenKeepsEverything: what was acknowledged is there for the next process,
// and migrating again changes nothing.
func TestReopenKeepsEverything(t *testing.T) {
	for _, dsn := range []string{sqlitePath(t), startPostgres(t).database(t)} {
		db := open(t, dsn)
		must(db.CreateAccount(t.Context(), store.Account{ID: "main"}, act))
		base := readyBase(t, db)
		db.Close()
		if got := must(open(t, dsn).Model(t.Context(), "main", "base")); !reflect.DeepEqual(got, base) {
			t.Errorf("postgres %v: read back %+v, wrote %+v", isPostgres(dsn), got, base)
		}
	}
}

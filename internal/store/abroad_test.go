package store_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// TestPublishedModelsAreKept: what the operator published stays while jobs of other
// accounts read it, and nobody hears whose they are.
func TestPublishedModelsAreKept(t *testing.T) {
	both(t, func(t *testing.T, db *store.DB, _ *clock) {
		ctx := t.Context()
		must(db.CreateAccount(ctx, store.Account{ID: rft.OperatorAccount}, act))
		published := func(id string, kind string, on store.Model) store.Model {
			return must(db.CreateModel(ctx, store.Model{Account: rft.OperatorAccount, ID: id, Kind: kind, State: store.StateReady, BaseUID: on.UID, Public: true}, nil, act))
		}
		own, open := readyBase(t, db), published("open", store.KindBase, store.Model{})
		lora, started := published("lora", store.KindAdapter, own), published("started", store.KindAdapter, own)
		job := func(kind store.JobKind, base, warm store.Model) store.Job {
			return store.Job{Account: "main", ID: "secret-" + string(kind), Kind: kind, BaseModel: base.Name(), WarmStart: warm.Name(), Spec: json.RawMessage(`{}`)}
		}
		must(db.CreateMerge(ctx, job(store.JobMerge, own, lora), store.Model{Account: "main", ID: "whole", Kind: store.KindBase}, []string{lora.UID, own.UID}, store.Room{}, act))
		must(db.CreateTrainer(ctx, job(store.JobStep, own, started), nil, []string{own.UID, started.UID}, act))
		must(db.CreateJob(ctx, job(store.JobBatch, open, store.Model{}), act))
		for id, reader := range map[string]store.JobKind{"lora": store.JobMerge, "started": store.JobStep, "open": store.JobBatch} {
			_, err := db.DeleteModel(ctx, rft.OperatorAccount, id, act)
			wantKind(t, err, rft.KindFailedPrecondition)
			if err != nil && (!strings.Contains(err.Error(), "1 jobs of other accounts") || strings.Contains(err.Error(), "main") || strings.Contains(err.Error(), "secret")) {
				t.Errorf("%s: %v", id, err)
			}
			_, err = db.CancelJob(ctx, "main", reader, "secret-"+string(reader), act)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.DeleteModel(ctx, rft.OperatorAccount, id, act); err != nil {
				t.Errorf("%s, which nothing reads any more: %v", id, err)
			}
		}
	})
}

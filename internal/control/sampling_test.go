package control

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/custody"
	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// TestChatInTheTemplateOfTraining: a checkpoint that was trained with a template
// of its own is chatted with in it, also through what is continued from it; other
// models and completions are left alone.
func TestChatInTheTemplateOfTraining(t *testing.T) {
	ctx := t.Context()
	db, err := store.Open(ctx, filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.CreateAccount(ctx, store.Account{ID: "main"}, store.Act{}); err != nil {
		t.Fatal(err)
	}
	base := store.Model{UID: "b", Account: "main", ID: "base", Kind: store.KindBase, State: store.StateReady}
	adapter := func(id, template string) store.Model {
		spec, err := json.Marshal(engine.Spec{Template: template})
		if err != nil {
			t.Fatal(err)
		}
		return store.Model{Account: "main", ID: id, Kind: store.KindAdapter, State: store.StateReady, BaseUID: "b", Spec: spec}
	}
	imported := adapter("imported", "")
	imported.Spec = nil
	for _, m := range []store.Model{base, adapter("own", "{{ own }}"), adapter("plain", ""), imported} {
		if _, err := db.CreateModel(ctx, m, nil, store.Act{}); err != nil {
			t.Fatal(err)
		}
	}
	host, err := seal.CreateKeyring(filepath.Join(t.TempDir(), "keyring.json"))
	if err != nil {
		t.Fatal(err)
	}
	keys := custody.New(custody.Config{DB: db, Dir: t.TempDir(), Host: host})
	c := &Control{DB: db, Catalog: catalog.New(db, catalog.NewVault(nil, keys), nil)}
	who := Caller{Principal: authz.Principal{Account: "main", Role: authz.Admin}}
	for id, want := range map[string]string{"base": "", "own": "{{ own }}", "plain": "", "imported": ""} {
		s, err := c.Chat(ctx, who, &api.CompletionRequest{Model: id, Messages: []api.Message{{Role: "user", Content: api.Text("hi")}}})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.requests[0].Template; got != want {
			t.Errorf("%s is chatted with in template %q, want %q", id, got, want)
		}
	}
	s, err := c.Complete(ctx, who, &api.CompletionRequest{Model: "own", Prompt: &api.Prompt{Texts: []string{"hi"}}})
	if err != nil || s.requests[0].Template != "" {
		t.Errorf("a prompt has template %+v, %v", s, err)
	}
}

// TestOperatorsPrivateModels: what lies in the operator's account and is not
// published is not there for others, by whatever way they name it.
func TestOperatorsPrivateModels(t *testing.T) {
	ctx := t.Context()
	db, err := store.Open(ctx, filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, id := range []string{"main", rft.OperatorAccount} {
		if _, err := db.CreateAccount(ctx, store.Account{ID: id}, store.Act{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range []store.Model{{ID: "open", Public: true}, {ID: "private"}} {
		m.Account, m.Kind, m.State = rft.OperatorAccount, store.KindBase, store.StateReady
		if _, err := db.CreateModel(ctx, m, nil, store.Act{}); err != nil {
			t.Fatal(err)
		}
	}
	c := catalog.New(db, nil, nil)
	for ref, want := range map[string]rft.Kind{"open": "", "accounts/fireworks/models/open": "", "private": rft.KindNotFound, "accounts/fireworks/models/private": rft.KindNotFound} {
		if _, err := c.Model(ctx, "main", "model", ref); rft.KindOf(err) != want {
			t.Errorf("%s: %v", ref, err)
		}
	}
	if _, err := c.Model(ctx, rft.OperatorAccount, "model", "private"); err != nil {
		t.Errorf("the operator's own: %v", err)
	}
}

// TestClientsEndIsNoFailure: a client that goes away while several prompts are
// in work has a cancelled request, not an internal error.
func TestClientsEndIsNoFailure(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the connection is gone"))
	s := &Sampling{}
	if err := s.Run(ctx, nil); rft.KindOf(err) != rft.KindCancelled {
		t.Errorf("%v", err)
	}
}

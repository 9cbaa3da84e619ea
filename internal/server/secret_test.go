package server

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecretsAreWriteOnly: no answer, no log line and no file has the value of a
// secret; what runs in the account's name opens it, and another account's row
// does not open there.
func TestSecretsAreWriteOnly(t *testing.T) {
	f := newFixture(t)
	const a = "/v1/accounts/main/secrets"
	var said strings.Builder
	ask := func(method, path, body string) {
		_, _, text := f.do("main/admin", method, path, body)
		said.WriteString(text)
	}
	ask("POST", a, `{"name":"accounts/main/secrets/s","keyName":"K","value":"planted-first"}`)
	open := func(want string) {
		t.Helper()
		v, err := f.world.Control.Catalog.OpenSecret(t.Context(), "main", "secret", "accounts/main/secrets/s")
		if err != nil || v.Reveal() != want {
			t.Fatalf("the secret opens as %v, %v", v.Reveal() == want, err)
		}
	}
	open("planted-first")
	ask("PATCH", a+"/s", `{"keyName":"K2"}`)
	open("planted-first")
	ask("PATCH", a+"/s", `{"keyName":"K","value":"planted-second"}`)
	open("planted-second")
	ask("PATCH", a+"/s?updateMask=value", `{"value":"planted-third"}`)
	open("planted-third")
	ask("GET", a+"/s", "")
	ask("GET", a, "")
	ask("GET", a+"?filter=value%3Dplanted-third", "")
	ask("PATCH", a+"/s", `{"value":{"planted-object":1}}`)
	if !strings.Contains(said.String(), `"keyName":"K2"`) {
		t.Fatalf("the answers are not those of secrets: %s", said.String())
	}
	if v, err := f.world.Control.Catalog.OpenSecret(t.Context(), "acme", "secret", "accounts/main/secrets/s"); err == nil {
		t.Errorf("another account opened it: %v", v)
	}
	for _, where := range map[string]string{"an answer": said.String(), "the log": f.logs.String()} {
		if strings.Contains(where, "planted-first") || strings.Contains(where, "planted-second") || strings.Contains(where, "planted-third") {
			t.Errorf("the value was shown: %s", where)
		}
	}
	for _, file := range f.world.Files() {
		b, err := os.ReadFile(file)
		must(t, err)
		if strings.Contains(string(b), "planted-") {
			t.Errorf("%s holds a value", filepath.Base(file))
		}
	}
}

// TestSecretsAreBoundToTheirRows: a sealed value that is moved to another secret
// does not open there.
func TestSecretsAreBoundToTheirRows(t *testing.T) {
	f := newFixture(t)
	for _, id := range []string{"one", "two"} {
		if status, _, body := f.do("main/admin", "POST", "/v1/accounts/main/secrets", `{"name":"`+id+`","keyName":"K","value":"planted-`+id+`"}`); status != 200 {
			t.Fatal(body)
		}
	}
	db, err := sql.Open("sqlite", f.world.Database)
	must(t, err)
	defer db.Close()
	_, err = db.ExecContext(context.Background(), "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE id = 'one') WHERE id = 'two'")
	must(t, err)
	if v, err := f.world.Control.Catalog.OpenSecret(t.Context(), "main", "secret", "two"); err == nil {
		t.Errorf("it opened: %v", v.Reveal() == "planted-one")
	}
	if _, err := f.world.Control.Catalog.OpenSecret(t.Context(), "main", "secret", "one"); err != nil {
		t.Error(err)
	}
}

// TestSecretsStayInTheirAccount: a list holds the secrets of its account.
func TestSecretsStayInTheirAccount(t *testing.T) {
	f := newFixture(t)
	for _, account := range []string{"main", "acme"} {
		if status, _, body := f.do(account+"/admin", "POST", "/v1/accounts/"+account+"/secrets", `{"name":"of-`+account+`","keyName":"K"}`); status != 200 {
			t.Fatal(body)
		}
	}
	if _, _, body := f.do("main/admin", "GET", "/v1/accounts/main/secrets", ""); strings.Contains(body, "of-acme") || !strings.Contains(body, "of-main") {
		t.Error(body)
	}
}

package cli

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// keyTaker is a server that notes the key that it is sent.
func keyTaker(t *testing.T, got *string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*got = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		w.Header().Set("X-Fireworks-Account-Id", "main")
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// somebody is a person with a home.
type somebody struct{ home string }

// run runs a command as they would.
func (p somebody) run(env map[string]string, stdin string, args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	code = Run(context.Background(), Invocation{Args: args, Stdin: strings.NewReader(stdin), Stdout: &o, Stderr: &e, Version: "test", Env: func(k string) string {
		if k == "HOME" {
			return p.home
		}
		return env[k]
	}})
	return code, o.String(), e.String()
}

// TestProfilePrecedence: a flag stands above the environment, and that above the
// profile in use; a profile that a flag names is a flag.
func TestProfilePrecedence(t *testing.T) {
	var prod, dev string
	prodURL, devURL := keyTaker(t, &prod), keyTaker(t, &dev)
	p := somebody{t.TempDir()}
	for name, base := range map[string]string{"prod": prodURL, "dev": devURL} {
		if code, _, errs := p.run(nil, "fk_"+name+"\n", "profile", "set", name, "--base-url", base, "--key-from", "-"); code != 0 {
			t.Fatal(errs)
		}
	}
	if code, _, errs := p.run(nil, "", "profile", "use", "prod"); code != 0 {
		t.Fatal(errs)
	}
	for _, c := range []struct {
		name              string
		env               map[string]string
		args              []string
		wantProd, wantDev string
	}{
		{"the one in use", nil, nil, "fk_prod", ""},
		{"FIREKEEP_PROFILE", map[string]string{"FIREKEEP_PROFILE": "dev"}, nil, "", "fk_dev"},
		{"--profile over FIREKEEP_PROFILE", map[string]string{"FIREKEEP_PROFILE": "dev"}, []string{"--profile", "prod"}, "fk_prod", ""},
		{"the environment over the one in use", map[string]string{"FIREKEEP_BASE_URL": devURL, "FIREKEEP_API_KEY": "fk_env"}, nil, "", "fk_env"},
		{"--profile over the environment", map[string]string{"FIREKEEP_BASE_URL": devURL, "FIREKEEP_API_KEY": "fk_env"}, []string{"-p", "prod"}, "fk_prod", ""},
		{"--base-url over --profile", map[string]string{"FIREKEEP_API_KEY": "fk_env"}, []string{"-p", "prod", "--base-url", devURL}, "", "fk_env"},
	} {
		prod, dev = "", ""
		if code, _, errs := p.run(c.env, "", append([]string{"whoami"}, c.args...)...); code != 0 {
			t.Errorf("%s: %s", c.name, errs)
		}
		if prod != c.wantProd || dev != c.wantDev {
			t.Errorf("%s: prod was sent %q, dev %q; want %q and %q", c.name, prod, dev, c.wantProd, c.wantDev)
		}
	}
}

// TestProfileKeyStaysHome: the key of a profile is for its server, whatever names
// another one.
func TestProfileKeyStaysHome(t *testing.T) {
	got := "nothing"
	elsewhere := keyTaker(t, &got)
	p := somebody{t.TempDir()}
	if code, _, errs := p.run(nil, "fk_planted", "profile", "set", "prod", "--base-url", "https://prod.example.com", "--key-from", "-"); code != 0 {
		t.Fatal(errs)
	}
	for _, c := range []struct {
		env  map[string]string
		args []string
	}{
		{nil, []string{"--base-url", elsewhere}},
		{nil, []string{"--base-url", elsewhere, "--profile", "prod"}},
		{map[string]string{"FIREKEEP_BASE_URL": elsewhere}, nil},
	} {
		code, _, errs := p.run(c.env, "", append([]string{"whoami"}, c.args...)...)
		if code != 3 || got != "nothing" || !strings.Contains(errs, "is for https://prod.example.com") || strings.Contains(errs, "planted") {
			t.Errorf("%v %v: exit code %d, sent %q, said %s", c.env, c.args, code, got, errs)
		}
	}
	if code, _, _ := p.run(nil, "", "profile", "set", "prod", "--base-url", elsewhere); code != 2 {
		t.Errorf("a profile's server changed under its key: exit code %d", code)
	}
}

// TestProfileFile: nobody else can read it, and it is not read where they could.
func TestProfileFile(t *testing.T) {
	p := somebody{t.TempDir()}
	path := filepath.Join(p.home, ".config", "firekeep", "config")
	if code, _, errs := p.run(nil, "fk_planted\n", "profile", "set", "one", "--key-from", "-", "--ca-file", "ca.pem"); code != 0 {
		t.Fatal(errs)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info.Mode(), err)
	}
	for _, args := range [][]string{{"profile", "list"}, {"profile", "list", "--json"}} {
		if code, out, _ := p.run(nil, "", args...); code != 0 || strings.Contains(out, "planted") || !strings.Contains(out, "one") {
			t.Errorf("%v: %d %s", args, code, out)
		}
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"profile", "list"}, {"whoami"}, {"model", "list"}, {"profile", "use", "one"}} {
		if code, _, errs := p.run(nil, "", args...); code != 7 || !strings.Contains(errs, "chmod 600") || strings.Contains(errs, "planted") {
			t.Errorf("%v with mode 0640: exit code %d: %s", args, code, errs)
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := p.run(nil, "", "whoami", "--profile", "two"); code != 4 || !strings.Contains(errs, "profile list") {
		t.Errorf("an unknown profile: %d %s", code, errs)
	}
	if code, _, errs := p.run(nil, "", "profile", "set", "b\x1b[2Jd"); code != 2 || strings.ContainsRune(errs, 0x1b) {
		t.Errorf("a name that acts on terminals: %d %q", code, errs)
	}
	if code, _, errs := p.run(nil, "", "profile", "remove", "one"); code != 0 {
		t.Error(errs)
	}
	if raw, _ := os.ReadFile(path); strings.Contains(string(raw), "planted") {
		t.Error("the key outlived its profile")
	}
	if err := os.WriteFile(path, []byte(`{"profiles": {"x": {"apiKee": "fk_planted"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := p.run(nil, "", "whoami"); code != 7 || strings.Contains(errs, "planted") {
		t.Errorf("a file with a mistake: %d %s", code, errs)
	}
}

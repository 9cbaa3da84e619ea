package custody_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/kms"
)

// TestOpenBao runs against a real transit engine: OpenBao, which speaks Vault's API.
// The key is disabled by what an operator would do: its policy is taken away.
func TestOpenBao(t *testing.T) {
	if os.Getenv("FIREKEEP_WITHOUT_ORACLES") != "" {
		t.Skip("FIREKEEP_WITHOUT_ORACLES")
	}
	b := startOpenBao(t)
	suite(t, func(t *testing.T) service { return b.transit(t, false) })
	t.Run("AppRole", func(t *testing.T) {
		w := newWorld(t, b.transit(t, true))
		envelope, content := w.put(w.a.UID, "acme/model/1/")
		w.opens(w.open(), envelope, content)
	})
	t.Run("Policy", func(t *testing.T) { // docs/keys.md says what the credential needs; it needs no more
		s := b.transit(t, false)
		if got := b.as(t, s.credential, "POST", "transit/keys/of-somebody-else", nil, nil); got != http.StatusForbidden {
			t.Errorf("the credential makes keys: %d", got)
		}
	})
}

const baoRoot = "root-of-the-test"

// bao is a server in memory that ends with the test.
type bao struct {
	address string
	made    atomic.Int64
}

func startOpenBao(t *testing.T) *bao {
	t.Helper()
	program := os.Getenv("FIREKEEP_OPENBAO")
	if program == "" {
		program = filepath.Join("..", "..", ".cache", "bin", "bao")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bao{address: l.Addr().String()}
	l.Close()
	var out bytes.Buffer
	cmd := exec.Command(program, "server", "-dev", "-dev-root-token-id="+baoRoot, "-dev-listen-address="+b.address, "-dev-no-store-token")
	cmd.Stdout, cmd.Stderr, cmd.Env = &out, &out, []string{"HOME=" + t.TempDir()}
	if err := cmd.Start(); err != nil {
		t.Fatalf("OpenBao cannot be started (make installs it, FIREKEEP_OPENBAO names it): %v", err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-ended })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if r, err := http.Get("http://" + b.address + "/v1/sys/health"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return b
			}
		}
		select {
		case <-ended:
			t.Fatalf("OpenBao ended: %s", out.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("OpenBao does not answer: %s", out.String())
		}
	}
}

// ask makes a request with token in a namespace and returns the status.
func (b *bao) ask(t *testing.T, token, namespace, method, path string, in, out any) int {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+b.address+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", token)
	r.Header.Set("X-Vault-Namespace", namespace)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if out != nil && json.Unmarshal(text, out) != nil {
		t.Fatalf("%s %s: %d %s", method, path, answer.StatusCode, text)
	}
	return answer.StatusCode
}

// must is ask as root; anything but success ends the test.
func (b *bao) must(t *testing.T, namespace, method, path string, in, out any) {
	t.Helper()
	if status := b.ask(t, baoRoot, namespace, method, path, in, out); status >= 300 {
		t.Fatalf("%s %s: %d", method, path, status)
	}
}

// as is ask with the token of a credential, in no namespace.
func (b *bao) as(t *testing.T, credential, method, path string, in, out any) int {
	t.Helper()
	var c struct{ Token string }
	if json.Unmarshal([]byte(credential), &c) != nil || c.Token == "" {
		t.Fatal("a credential without token")
	}
	return b.ask(t, c.Token, "", method, path, in, out)
}

// transit is a namespace of its own with two keys and a credential for both,
// behind a proxy that can be switched off.
func (b *bao) transit(t *testing.T, appRole bool) service {
	t.Helper()
	space := fmt.Sprintf("team-%d", b.made.Add(1))
	b.must(t, "", "POST", "sys/namespaces/"+space, struct{}{}, nil)
	b.must(t, space, "POST", "sys/mounts/transit", map[string]string{"type": "transit"}, nil)
	for _, key := range []string{"acme", "acme-2"} {
		b.must(t, space, "POST", "transit/keys/"+key, map[string]string{"type": "aes256-gcm96"}, nil)
	}
	allow := func(keys ...string) {
		rules := ""
		for _, key := range keys {
			rules += fmt.Sprintf(`path "transit/encrypt/%[1]s" { capabilities = ["update"] } path "transit/decrypt/%[1]s" { capabilities = ["update"] } path "transit/keys/%[1]s" { capabilities = ["read"] } `, key)
		}
		b.must(t, space, "PUT", "sys/policies/acl/firekeep", map[string]string{"policy": rules}, nil)
	}
	allow("acme", "acme-2")
	to, err := url.Parse("http://" + b.address)
	if err != nil {
		t.Fatal(err)
	}
	var off atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if off.Load() {
			http.Error(w, `{"errors":["sealed"]}`, http.StatusServiceUnavailable)
			return
		}
		httputil.NewSingleHostReverseProxy(to).ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	credential := b.token(t, space)
	if appRole {
		credential = b.appRole(t, space)
	}
	return service{kind: kms.Vault, config: kms.Config{VaultAddress: proxy.URL, VaultNamespace: space}, settings: `{"key":"acme"}`, another: `{"key":"acme-2"}`,
		credential: credential,
		disable: func() {
			allow("acme-2")
		},
		enable: func() { allow("acme", "acme-2") },
		down:   func() { off.Store(true) }, up: func() { off.Store(false) }}
}

func (b *bao) token(t *testing.T, space string) string {
	var made struct{ Auth struct{ Client_token string } }
	b.must(t, space, "POST", "auth/token/create-orphan", map[string]any{"policies": []string{"firekeep"}, "no_default_policy": true}, &made)
	return fmt.Sprintf(`{"token":%q}`, made.Auth.Client_token)
}

func (b *bao) appRole(t *testing.T, space string) string {
	b.must(t, space, "POST", "sys/auth/approle", map[string]string{"type": "approle"}, nil)
	b.must(t, space, "POST", "auth/approle/role/firekeep", map[string]any{"token_policies": []string{"firekeep"}}, nil)
	var role struct{ Data struct{ Role_id string } }
	b.must(t, space, "GET", "auth/approle/role/firekeep/role-id", nil, &role)
	var secret struct{ Data struct{ Secret_id string } }
	b.must(t, space, "POST", "auth/approle/role/firekeep/secret-id", struct{}{}, &secret)
	return fmt.Sprintf(`{"role_id":%q,"secret_id":%q}`, role.Data.Role_id, secret.Data.Secret_id)
}

package cli

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/firekeep/firekeep/api"
)

// startIssuer starts the OpenID provider of testdata.
func startIssuer(t *testing.T) string {
	t.Helper()
	modules := os.Getenv("FIREKEEP_NODE_MODULES")
	if modules == "" {
		modules, _ = filepath.Abs("../../.cache/oidc/node_modules")
	}
	if _, err := os.Stat(filepath.Join(modules, "oidc-provider")); err != nil {
		t.Fatalf("%v: `make doubles` installs it", err)
	}
	cmd := exec.Command("node", "testdata/oidc_provider.mjs")
	cmd.Env = append(os.Environ(), "FIREKEEP_NODE_MODULES="+modules)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "http://") {
			go io.Copy(io.Discard, out)
			return lines.Text()
		}
	}
	t.Fatalf("the provider did not start: %s", said.String())
	return ""
}

// browser walks through the provider's pages as a person would: it follows
// redirects, keeps cookies, and fills in the forms.
type browser struct {
	*http.Client
	login string
}

func newBrowser(login string) *browser {
	jar, _ := cookiejar.New(nil)
	return &browser{&http.Client{Jar: jar}, login}
}

var (
	formAction = regexp.MustCompile(`<form[^>]*action="([^"]+)"`)
	hidden     = regexp.MustCompile(`<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"`)
)

// visit opens a page and goes on until no form is left.
func (b *browser) visit(address string, extra url.Values) (string, error) {
	resp, err := b.Get(address)
	for range 10 {
		if err != nil {
			return "", err
		}
		page, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return "", err
		}
		action := formAction.FindSubmatch(page)
		if action == nil || resp.StatusCode >= 400 {
			return fmt.Sprintf("%d %s", resp.StatusCode, page), nil
		}
		form := url.Values{"login": {b.login}, "password": {"any"}}
		for _, h := range hidden.FindAllSubmatch(page, -1) {
			form.Set(string(h[1]), string(h[2]))
		}
		for k, v := range extra {
			form[k] = v
		}
		to, err := resp.Request.URL.Parse(strings.ReplaceAll(string(action[1]), "&amp;", "&"))
		if err != nil {
			return "", err
		}
		resp, err = b.PostForm(to.String(), form)
		if err != nil {
			return "", err
		}
	}
	return "", fmt.Errorf("forms without end")
}

// lineWriter hands over each line that a command prints.
type lineWriter struct {
	mu   sync.Mutex
	text bytes.Buffer
	each func(line string)
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range b {
		w.text.WriteByte(c)
		if c == '\n' {
			lines := strings.Split(strings.TrimRight(w.text.String(), "\n"), "\n")
			go w.each(lines[len(lines)-1])
		}
	}
	return len(b), nil
}

// firekeep runs a command against a server with an environment of its own.
func firekeep(env map[string]string, stdin string, stderr io.Writer, args ...string) (int, string) {
	var out bytes.Buffer
	code := Run(context.Background(), Invocation{Args: args, Env: func(k string) string { return env[k] }, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: stderr, Version: "test"})
	return code, out.String()
}

// TestSignIn signs people in at a real OpenID provider, by browser and by device,
// and lets a job exchange its token: each once, under the configured trust only.
func TestSignIn(t *testing.T) {
	issuer := startIssuer(t)
	home := filepath.Join(t.TempDir(), "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(`{"allowAddresses":["127.0.0.0/8"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, home)
	admin := map[string]string{"FIREKEEP_BASE_URL": s.base, "FIREKEEP_API_KEY": s.key, "HOME": t.TempDir()}
	ok := func(env map[string]string, stdin string, args ...string) string {
		t.Helper()
		var stderr bytes.Buffer
		code, out := firekeep(env, stdin, &stderr, args...)
		if code != 0 {
			t.Fatalf("firekeep %v: %d %s", args, code, stderr.String())
		}
		return out
	}
	ok(admin, "", "identity-provider", "create", "corp", "--kind", "login", "--issuer", issuer, "--audience", "firekeep-cli", "--groups", "groups", "--role", "engineers=user")
	ok(admin, "", "user", "create", "robot", "--role", "contributor", "--service-account")
	ok(admin, "", "identity-provider", "create", "ci", "--kind", "workload", "--issuer", issuer, "--audience", "firekeep-cli", "--subject", "ann", "--user", "robot")

	// login runs `firekeep login` while a person walks through the pages.
	login := func(person string, env map[string]string, args ...string) (int, string) {
		b := newBrowser(person)
		pages := make(chan string, 8)
		w := &lineWriter{each: func(line string) {
			if at, found := strings.CutPrefix(line, "open "); found {
				at, code, device := strings.Cut(at, " and type ")
				extra := url.Values{}
				if device {
					extra.Set("user_code", code)
				}
				page, err := b.visit(at, extra)
				pages <- fmt.Sprint(page, err)
			}
		}}
		code, _ := firekeep(env, "", w, append([]string{"login", "--provider", "accounts/main/identityProviders/corp", "--issuer", issuer, "--client-id", "firekeep-cli", "--wait", "20s"}, args...)...)
		said := w.text.String()
		select {
		case page := <-pages:
			said += page
		default:
		}
		return code, said
	}
	for _, way := range []string{"browser", "device"} {
		ann := map[string]string{"FIREKEEP_BASE_URL": s.base, "HOME": t.TempDir()}
		var args []string
		if way == "device" {
			args = []string{"--device"}
		}
		if code, said := login("ann", ann, args...); code != 0 {
			t.Fatalf("%s: %d %s", way, code, said)
		}
		info, err := os.Stat(filepath.Join(ann["HOME"], ".firekeep", sessionFile))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: the session file: %v %v", way, info.Mode(), err)
		}
		ok(ann, "", "model", "list")
		if code, _ := firekeep(ann, "", io.Discard, "user", "create", "x", "--role", "admin"); code != 6 {
			t.Errorf("%s: an engineer made a user: %d", way, code)
		}
		raw, _ := os.ReadFile(filepath.Join(ann["HOME"], ".firekeep", sessionFile))
		var kept signedIn
		if err := json.Unmarshal(raw, &kept); err != nil {
			t.Fatal(err)
		}
		ok(ann, "", "logout")
		ann["FIREKEEP_API_KEY"] = kept.Token
		if code, _ := firekeep(ann, "", io.Discard, "model", "list"); code != 3 {
			t.Errorf("%s: the token works behind the sign-out: %d", way, code)
		}
	}
	if code, said := login("eve", map[string]string{"FIREKEEP_BASE_URL": s.base, "HOME": t.TempDir()}); code != 3 {
		t.Errorf("a guest signed in: %d %s", code, said)
	}

	// Workloads: a token of the provider stands for the job's own.
	foreign := idToken(t, issuer, "ann", "firekeep-cli")
	out := ok(map[string]string{"FIREKEEP_BASE_URL": s.base, "HOME": t.TempDir()}, foreign, "token", "--provider", "accounts/main/identityProviders/ci")
	robot := map[string]string{"FIREKEEP_BASE_URL": s.base, "FIREKEEP_API_KEY": strings.TrimSpace(out), "HOME": t.TempDir()}
	ok(robot, "", "dataset", "list")
	if code, _ := firekeep(robot, "", io.Discard, "key", "create", "--user", "robot"); code != 6 {
		t.Errorf("a workload's token made a key: %d", code)
	}
	refused := map[string]struct{ provider, token string }{
		"used before":         {"accounts/main/identityProviders/ci", foreign},
		"another subject":     {"accounts/main/identityProviders/ci", idToken(t, issuer, "eve", "firekeep-cli")},
		"another audience":    {"accounts/main/identityProviders/ci", idToken(t, issuer, "ann", "other-program")},
		"no such provider":    {"accounts/main/identityProviders/none", idToken(t, issuer, "ann", "firekeep-cli")},
		"no such account":     {"accounts/none/identityProviders/ci", idToken(t, issuer, "ann", "firekeep-cli")},
		"a changed signature": {"accounts/main/identityProviders/ci", tampered(idToken(t, issuer, "ann", "firekeep-cli"))},
		"no token":            {"accounts/main/identityProviders/ci", "x"},
		"an unsigned token":   {"accounts/main/identityProviders/ci", "eyJhbGciOiJub25lIn0." + strings.Split(foreign, ".")[1] + "."},
	}
	answers := map[string]bool{}
	for name, c := range refused {
		_, err := (&api.Client{BaseURL: s.base}).ExchangeToken(context.Background(), c.provider, c.token)
		if err == nil {
			t.Errorf("%s: exchanged", name)
			continue
		}
		answers[err.Error()] = true
	}
	if len(answers) != 1 {
		t.Errorf("refusals differ: %v", answers)
	}
	ok(admin, "", "identity-provider", "delete", "ci")
	if code, _ := firekeep(robot, "", io.Discard, "dataset", "list"); code != 3 {
		t.Errorf("a token works behind the end of the trust: %d", code)
	}
	if strings.Contains(s.log.String(), foreign) {
		t.Error("the log holds a token")
	}
}

// tampered changes the signature of a token.
func tampered(token string) string {
	i := strings.LastIndexByte(token, '.') + 5
	c := byte('A')
	if token[i] == c {
		c = 'B'
	}
	return token[:i] + string(c) + token[i+1:]
}

// idToken gets a token of the provider for a person and a client, by the code
// flow.
func idToken(t *testing.T, issuer, person, client string) string {
	t.Helper()
	const verifier = "a-verifier-of-the-right-length-for-pkce-0123456789"
	b := newBrowser(person)
	var code string
	b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == "/callback" {
			code = r.URL.Query().Get("code")
			return http.ErrUseLastResponse
		}
		return nil
	}
	q := url.Values{"client_id": {client}, "response_type": {"code"}, "scope": {"openid"}, "redirect_uri": {"http://127.0.0.1:1/callback"}, "state": {"s"},
		"code_challenge": {challenge(verifier)}, "code_challenge_method": {"S256"}}
	page, err := b.visit(issuer+"/auth?"+q.Encode(), nil)
	if code == "" {
		t.Fatalf("no code: %s %v", page, err)
	}
	resp, err := http.PostForm(issuer+"/token", url.Values{"client_id": {client}, "grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {"http://127.0.0.1:1/callback"}, "code_verifier": {verifier}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		IDToken string `json:"id_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.IDToken == "" {
		t.Fatalf("no token: %d %v", resp.StatusCode, err)
	}
	return got.IDToken
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

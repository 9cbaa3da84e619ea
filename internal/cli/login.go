package cli

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

// sessionFile keeps the token of a sign-in, mode 0600. Tokens live for an hour.
const sessionFile = "session.json"

// signedIn is what the session file holds. A token is for one server only.
type signedIn struct {
	BaseURL string    `json:"baseUrl"`
	Token   string    `json:"token"`
	Account string    `json:"account"`
	User    string    `json:"user"`
	Expires time.Time `json:"expires"`
}

// readSession reads the token of a sign-in at base, "" = there is none that works.
func readSession(home, base string) (string, error) {
	b, err := os.ReadFile(filepath.Join(home, sessionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", rft.Wrap(rft.KindUnauthenticated, err, "the session file %s cannot be read", filepath.Join(home, sessionFile))
	}
	var s signedIn
	if json.Unmarshal(b, &s) != nil || s.BaseURL != base || !time.Now().Before(s.Expires) {
		return "", nil
	}
	return s.Token, nil
}

// loginCmd signs a person in at the account's identity provider.
type loginCmd struct {
	Provider string        `required:"" help:"The account's identity provider: accounts/ACCOUNT/identityProviders/ID." placeholder:"NAME"`
	Issuer   string        `required:"" help:"Its issuer." placeholder:"URL"`
	ClientID string        `name:"client-id" required:"" help:"Id of this program there."`
	Device   bool          `help:"Show a code to type on another device, instead of opening a browser on this one."`
	Port     int           `help:"Port of the address on this host that the browser comes back to; any by default." hidden:""`
	Wait     time.Duration `default:"5m" help:"How long to wait for the sign-in."`
}

// Run implements a command.
func (c *loginCmd) Run(a *app) error {
	ctx, cancel := context.WithTimeout(a.ctx, c.Wait)
	defer cancel()
	base, _, err := a.baseURL()
	if err != nil {
		return err
	}
	h, err := a.httpClient()
	if err != nil {
		return err
	}
	ctx = oidc.ClientContext(ctx, h)
	p, err := oidc.NewProvider(ctx, c.Issuer)
	if err != nil {
		return rft.Wrap(rft.KindUnavailable, err, "the issuer %s does not answer as an OpenID provider", c.Issuer)
	}
	conf := &oauth2.Config{ClientID: c.ClientID, Endpoint: p.Endpoint(), Scopes: []string{oidc.ScopeOpenID, "profile", "email"}}
	var token *oauth2.Token
	nonce := ""
	if c.Device {
		token, err = c.byDevice(ctx, a, conf)
	} else {
		nonce = randomText()
		token, err = c.byBrowser(ctx, a, conf, nonce)
	}
	if err != nil {
		return err
	}
	raw, _ := token.Extra("id_token").(string)
	got, err := p.Verifier(&oidc.Config{ClientID: c.ClientID}).Verify(ctx, raw)
	if err != nil || subtle.ConstantTimeCompare([]byte(got.Nonce), []byte(nonce)) != 1 {
		return rft.Wrap(rft.KindUnauthenticated, err, "the identity provider's answer is not for this sign-in")
	}
	client := &api.Client{BaseURL: base, HTTP: h, UserAgent: "firekeep-cli/" + a.Version}
	t, err := client.ExchangeToken(ctx, c.Provider, raw)
	if err != nil {
		return err
	}
	s := signedIn{BaseURL: base, Token: t.AccessToken, Account: t.Account, User: t.User, Expires: time.Now().Add(time.Duration(t.ExpiresIn) * time.Second)}
	if err := a.saveSession(s); err != nil {
		return err
	}
	return a.done("signed in to %s as %s until %s", rft.AccountName(s.Account), s.User, s.Expires.Format(time.TimeOnly))
}

func (a *app) saveSession(s signedIn) error {
	if err := os.MkdirAll(a.home, 0o700); err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "the home directory %s cannot be created", a.home)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return writeSecretFile(filepath.Join(a.home, sessionFile), string(b)+"\n")
}

// byDevice shows a code and waits until it was typed elsewhere.
func (c *loginCmd) byDevice(ctx context.Context, a *app, conf *oauth2.Config) (*oauth2.Token, error) {
	if conf.Endpoint.DeviceAuthURL == "" {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "the issuer has no device flow; leave out --device")
	}
	d, err := conf.DeviceAuth(ctx)
	if err != nil {
		return nil, rft.Wrap(rft.KindUnauthenticated, err, "the issuer refuses the device flow for this client")
	}
	fmt.Fprintf(a.Stderr, "open %s and type %s\n", d.VerificationURI, d.UserCode)
	t, err := conf.DeviceAccessToken(ctx, d)
	if err != nil {
		return nil, rft.Wrap(rft.KindUnauthenticated, err, "the sign-in was not completed")
	}
	return t, nil
}

// byBrowser waits on an address of this host for the browser to come back with
// a code, bound to this program by PKCE and to this sign-in by state and nonce.
func (c *loginCmd) byBrowser(ctx context.Context, a *app, conf *oauth2.Config, nonce string) (*oauth2.Token, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", c.Port))
	if err != nil {
		return nil, rft.Wrap(rft.KindUnavailable, err, "cannot listen for the browser's return: %s", cause(err))
	}
	conf.RedirectURL = "http://" + l.Addr().String() + "/callback"
	state, verifier := randomText(), oauth2.GenerateVerifier()
	codes := make(chan string, 1)
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 32 << 10, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/callback" || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1 {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprintln(w, "You can close this window and go back to the terminal.")
		select {
		case codes <- q.Get("code"):
		default: // one answer counts
		}
	})}
	go srv.Serve(l)
	defer func() { // the page is still on its way to the browser
		shut, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(shut)
	}()
	fmt.Fprintf(a.Stderr, "open %s\n", conf.AuthCodeURL(state, oidc.Nonce(nonce), oauth2.S256ChallengeOption(verifier)))
	select {
	case code := <-codes:
		if code == "" {
			return nil, rft.Errorf(rft.KindUnauthenticated, "the identity provider refused the sign-in")
		}
		t, err := conf.Exchange(ctx, code, oauth2.VerifierOption(verifier))
		if err != nil {
			return nil, rft.Wrap(rft.KindUnauthenticated, err, "the identity provider does not take its own code back")
		}
		return t, nil
	case <-ctx.Done():
		return nil, rft.Errorf(rft.KindDeadlineExceeded, "nobody signed in within %s", c.Wait)
	}
}

func randomText() string {
	var b [24]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

type logoutCmd struct{}

// Run implements a command: the token is revoked at the server and forgotten here.
func (c *logoutCmd) Run(a *app) error {
	path := filepath.Join(a.home, sessionFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return a.done("nobody is signed in")
	}
	var s signedIn
	if err == nil && json.Unmarshal(b, &s) == nil && time.Now().Before(s.Expires) {
		h, err := a.httpClient()
		if err != nil {
			return err
		}
		client := &api.Client{BaseURL: s.BaseURL, Key: s.Token, HTTP: h}
		part := strings.Split(s.Token, "_") // fk_ID_SECRET
		if len(part) == 3 {
			if err := client.DeleteAPIKey(a.ctx, s.Account, s.User, part[1]); err != nil && kindOf(err) != rft.KindUnauthenticated {
				return err
			}
		}
	}
	if err := os.Remove(path); err != nil {
		return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot be removed", path)
	}
	return a.done("signed out")
}

type providerCmd struct {
	Create providerCreateCmd `cmd:"" help:"Trust an issuer: for people who sign in, or for jobs outside."`
	List   providerListCmd   `cmd:"" help:"List the issuers that the account trusts."`
	Get    providerGetCmd    `cmd:"" help:"Show an issuer and whom it is trusted about."`
	Delete providerDeleteCmd `cmd:"" help:"End the trust; tokens given in exchange end at once."`
}

type providerCreateCmd struct {
	ID       string            `arg:"" help:"Id of the provider."`
	Kind     string            `required:"" enum:"login,workload" help:"login (people) or workload (jobs outside)."`
	Issuer   string            `required:"" help:"The issuer." placeholder:"URL"`
	Audience string            `required:"" help:"What the tokens must be for: the client id of sign-ins."`
	Subject  string            `help:"Subject of the tokens, exact or a prefix ending in '*'."`
	Claim    map[string]string `help:"Claims that must have a value, NAME=VALUE." placeholder:"NAME=VALUE"`
	User     string            `help:"Workloads: the service account that they act as."`
	Groups   string            `help:"Sign-ins: the claim that names groups." placeholder:"CLAIM"`
	Role     map[string]string `help:"Sign-ins: roles of groups, GROUP=ROLE." placeholder:"GROUP=ROLE"`
	Default  string            `help:"Sign-ins: the role of people whose groups have none; they are refused without." placeholder:"ROLE"`
	Life     time.Duration     `help:"Life of the tokens given; 1h for sign-ins, 15m for workloads."`
}

// Run implements a command.
func (c *providerCreateCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	p := &api.IdentityProvider{Kind: c.Kind, OIDCConfig: &api.OIDCConfig{IssuerURL: c.Issuer, ClientID: c.Audience},
		Trust: &api.Trust{Subject: c.Subject, Claims: c.Claim, User: c.User, GroupsClaim: c.Groups, Roles: c.Role, DefaultRole: c.Default, LifeSeconds: api.Int64(c.Life / time.Second)}}
	made, err := client.CreateIdentityProvider(a.ctx, account, c.ID, p)
	if err != nil {
		return err
	}
	return a.show(made)
}

type providerListCmd struct{}

// Run implements a command.
func (c *providerListCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	list, err := all(func(o api.ListOptions) ([]api.IdentityProvider, api.Page, error) {
		l, err := client.ListIdentityProviders(a.ctx, account, o)
		return l.IdentityProviders, l.Page, err
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, p := range list {
		rows = append(rows, []string{id(p.Name), p.Kind, p.OIDCConfig.IssuerURL, p.OIDCConfig.ClientID})
	}
	return a.table(list, "ID KIND ISSUER AUDIENCE", rows)
}

type providerGetCmd struct {
	ID string `arg:"" help:"The provider." complete:"providers"`
}

// Run implements a command.
func (c *providerGetCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	p, err := client.GetIdentityProvider(a.ctx, account, id(c.ID))
	if err != nil {
		return err
	}
	return a.show(p)
}

type providerDeleteCmd struct {
	ID string `arg:"" help:"The provider." complete:"providers"`
}

// Run implements a command.
func (c *providerDeleteCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	if err := client.DeleteIdentityProvider(a.ctx, account, c.ID); err != nil {
		return err
	}
	return a.done("deleted %s", c.ID)
}

// tokenCmd is for jobs outside: their own token in, a short one of Firekeep out.
type tokenCmd struct {
	Provider string `required:"" help:"The account's identity provider: accounts/ACCOUNT/identityProviders/ID." placeholder:"NAME"`
	From     string `default:"-" help:"File with the job's own token, - = standard input." placeholder:"PATH"`
}

// Run implements a command.
func (c *tokenCmd) Run(a *app) error {
	base, _, err := a.baseURL()
	if err != nil {
		return err
	}
	h, err := a.httpClient()
	if err != nil {
		return err
	}
	raw, err := a.readInput(c.From, maxSecret)
	if err != nil {
		return err
	}
	client := &api.Client{BaseURL: base, HTTP: h, UserAgent: "firekeep-cli/" + a.Version}
	t, err := client.ExchangeToken(a.ctx, c.Provider, strings.TrimSpace(string(raw)))
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(t)
	}
	_, err = fmt.Fprintln(a.Stdout, t.AccessToken)
	return err
}

package authz

import (
	"context"
	"crypto/sha256"
	"encoding/hex"

	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/firekeep/firekeep/internal/rft"
)

// Trust says who the subjects of an issuer are in an account.
type Trust struct {
	// Subject is the subject of the tokens, exact or a prefix that ends in '*';
	// required for workloads, any for sign-ins when empty.
	Subject string `json:"subject,omitempty"`
	// Claims must have these values, each exactly.
	Claims map[string]string `json:"claims,omitempty"`
	// User is the service account that workloads act as.
	User string `json:"user,omitempty"`
	// GroupsClaim names the claim whose values Roles maps to roles; the widest
	// wins. DefaultRole is for subjects whose groups say nothing, "" = refused.
	GroupsClaim string          `json:"groupsClaim,omitempty"`
	Roles       map[string]Role `json:"roles,omitempty"`
	DefaultRole Role            `json:"defaultRole,omitempty"`
	// Scope narrows the tokens that are given.
	Scope *Scope `json:"scope,omitempty"`
	// LifeSeconds is how long they live.
	LifeSeconds int64 `json:"lifeSeconds,omitempty"`
}

// Claims are what a verified token says.
type Claims struct {
	Issuer  string
	Subject string
	Email   string // only where the issuer verified it
	Name    string
	TokenID string // jti, or the digest of a token that has none
	Expires time.Time
	All     map[string]any
}

// Federation verifies the tokens of other issuers.
type Federation struct {
	// AllowAddresses lists networks of issuers that would otherwise be refused:
	// this host and its surroundings. With them, plain http is accepted too.
	AllowAddresses []netip.Prefix
	// Transport replaces the guarded one; for tests.
	Transport http.RoundTripper

	mu        sync.Mutex
	providers map[string]discovered
	client    *http.Client
}

// discovered is a discovered issuer.
type discovered struct {
	provider *oidc.Provider
	until    time.Time
}

// How long an issuer's discovery document is believed; its keys are read anew
// whenever a token names one that is not known.
const (
	discoveryLife = 10 * time.Minute
	maxProviders  = 256
	maxToken      = 16 << 10
)

// CheckIssuer validates an issuer's URL.
func (f *Federation) CheckIssuer(field, issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || len(issuer) > 512 {
		return rft.FieldErrorf(field, "%s: must be the URL of an issuer, such as https://login.example.com", field)
	}
	if u.Scheme != "https" && !(u.Scheme == "http" && len(f.AllowAddresses) > 0) {
		return rft.FieldErrorf(field, "%s: must begin with https://", field)
	}
	return nil
}

// Verify checks a token of issuer for audience: signature, issuer, audience and
// expiry, against keys that it fetches from the issuer. It does not say what was
// wrong to the caller; the cause does to the operator.
func (f *Federation) Verify(ctx context.Context, issuer, audience, token string) (Claims, error) {
	refused := func(err error) (Claims, error) { return Claims{}, errToken(err) }
	if token == "" || len(token) > maxToken {
		return refused(fmt.Errorf("a token of %d bytes", len(token)))
	}
	p, err := f.provider(ctx, issuer)
	if err != nil {
		return Claims{}, err
	}
	v := p.Verifier(&oidc.Config{ClientID: audience,
		SupportedSigningAlgs: []string{oidc.RS256, oidc.ES256, oidc.PS256, oidc.EdDSA, oidc.ES384, oidc.RS384, oidc.RS512}})
	t, err := v.Verify(ctx, token)
	if err != nil {
		return refused(err)
	}
	c := Claims{Issuer: t.Issuer, Subject: t.Subject, Expires: t.Expiry, All: map[string]any{}}
	if err := t.Claims(&c.All); err != nil {
		return refused(err)
	}
	if c.Subject == "" || len(c.Subject) > 255 {
		return refused(fmt.Errorf("a subject of %d bytes", len(c.Subject)))
	}
	if now := time.Now(); t.IssuedAt.After(now.Add(5*time.Minute)) || t.Expiry.After(now.Add(24*time.Hour)) {
		return refused(fmt.Errorf("issued in the future, or valid for more than a day"))
	}
	c.TokenID = c.text("jti")
	if c.TokenID == "" || len(c.TokenID) > 255 {
		sum := sha256.Sum256([]byte(token))
		c.TokenID = "sha256:" + hex.EncodeToString(sum[:])
	}
	if c.text("email_verified") == "true" {
		c.Email = clip(c.text("email"), 254)
	}
	c.Name = clip(c.text("name"), 63)
	return c, nil
}

// errToken is the one answer to every token that is not accepted.
func errToken(cause error) error {
	return rft.Wrap(rft.KindUnauthenticated, cause, "the token is not accepted: its issuer, audience, subject, signature or time is not what the identity provider of this account allows")
}

// text is a claim as text: a string, boolean or number.
func (c Claims) text(name string) string {
	switch v := c.All[name].(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// list is a claim that is a string or a list of strings.
func (c Claims) list(name string) []string {
	switch v := c.All[name].(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, x := range v {
			if s, ok := x.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// Matches reports whether the token is one that the trust is for.
func (t Trust) Matches(c Claims) error {
	if t.Subject != "" {
		prefix, wild := strings.CutSuffix(t.Subject, "*")
		if c.Subject != t.Subject && !(wild && strings.HasPrefix(c.Subject, prefix)) {
			return errToken(fmt.Errorf("another subject"))
		}
	}
	for name, want := range t.Claims {
		if c.text(name) != want && !slices.Contains(c.list(name), want) {
			return errToken(fmt.Errorf("claim %q", name))
		}
	}
	return nil
}

// RoleOf is the role of a person who signs in.
func (t Trust) RoleOf(c Claims) (Role, error) {
	has := map[Role]bool{}
	if t.GroupsClaim != "" {
		for _, g := range c.list(t.GroupsClaim) {
			has[t.Roles[g]] = true
		}
	}
	for _, r := range Roles() {
		if has[r] {
			return r, nil
		}
	}
	if t.DefaultRole != "" {
		return t.DefaultRole, nil
	}
	return "", errToken(fmt.Errorf("no group of the subject has a role"))
}

// Check validates the trust of a request.
func (t *Trust) Check(field, kind string) error {
	bad := func(sub, why string) error { return rft.FieldErrorf(field+"."+sub, "%s.%s: %s", field, sub, why) }
	if len(t.Claims) > 32 || len(t.Roles) > 256 || len(t.Subject) > 255 {
		return bad("claims", "at most 32 claims, 256 roles and a subject of 255 bytes")
	}
	if strings.Contains(strings.TrimSuffix(t.Subject, "*"), "*") || t.Subject == "*" {
		return bad("subject", "one '*' at the end at most, behind a prefix")
	}
	for group, r := range t.Roles {
		if group == "" || !slices.Contains(Roles(), r) {
			return bad("roles", "maps names of groups to admin, user, contributor or inference-user")
		}
	}
	if t.DefaultRole != "" && !slices.Contains(Roles(), t.DefaultRole) {
		return bad("defaultRole", "must be admin, user, contributor or inference-user")
	}
	workload := kind == "workload"
	switch {
	case workload && t.Subject == "":
		return bad("subject", "is required: an issuer has more workloads than the one that is meant")
	case workload && t.User == "":
		return bad("user", "is required: the service account that the workload acts as")
	case workload && (len(t.Roles) > 0 || t.DefaultRole != ""):
		return bad("roles", "belong to sign-ins; a workload has the role of its service account")
	case !workload && t.User != "":
		return bad("user", "belongs to workloads; people sign in as themselves")
	case !workload && len(t.Roles) == 0 && t.DefaultRole == "":
		return bad("defaultRole", "is required without roles: nobody could sign in")
	case t.LifeSeconds < 0 || t.LifeSeconds > 12*3600 || (workload && t.LifeSeconds > 3600):
		return bad("lifeSeconds", "at most 3600 for workloads and 43200 for sign-ins")
	}
	return t.Scope.Check(field + ".scope")
}

// Life is how long a token given in exchange lives, never longer than asked for.
func (t Trust) Life(kind string) time.Duration {
	switch {
	case t.LifeSeconds > 0:
		return time.Duration(t.LifeSeconds) * time.Second
	case kind == "workload":
		return 15 * time.Minute
	}
	return time.Hour
}

// provider discovers an issuer, or remembers it.
func (f *Federation) provider(ctx context.Context, issuer string) (*oidc.Provider, error) {
	f.mu.Lock()
	got, ok := f.providers[issuer]
	f.mu.Unlock()
	if ok && time.Now().Before(got.until) {
		return got.provider, nil
	}
	// The provider keeps the context for fetching keys later on.
	p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), f.httpClient()), issuer)
	if err != nil {
		return nil, rft.Wrap(rft.KindUnavailable, err, "the issuer's discovery document cannot be read")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.providers == nil || len(f.providers) >= maxProviders {
		f.providers = map[string]discovered{}
	}
	f.providers[issuer] = discovered{p, time.Now().Add(discoveryLife)}
	return p, nil
}

// httpClient fetches from issuers that tenants name: never from this host or its
// surroundings unless the operator allows it, never more than a small document.
func (f *Federation) httpClient() *http.Client {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.client != nil {
		return f.client
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		a, err := netip.ParseAddrPort(address)
		if err != nil || !f.reachable(a.Addr().Unmap()) {
			return fmt.Errorf("dial %s: the address is blocked; the operator may allow it", address)
		}
		return nil
	}}
	var t http.RoundTripper = &http.Transport{DialContext: dialer.DialContext, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 5 * time.Second,
		ResponseHeaderTimeout: 5 * time.Second, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: time.Minute}
	if f.Transport != nil {
		t = f.Transport
	}
	f.client = &http.Client{Transport: bounded{t}, Timeout: 10 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return f.client
}

func (f *Federation) reachable(a netip.Addr) bool {
	for _, p := range f.AllowAddresses {
		if p.Contains(a) {
			return true
		}
	}
	return a.IsGlobalUnicast() && !a.IsPrivate() && a != netip.MustParseAddr("100.100.100.200")
}

// bounded cuts the bodies of answers.
type bounded struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, 1<<20)
	}
	return resp, err
}

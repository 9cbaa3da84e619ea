package identity_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/api/iamcredentials/v1"
	sts "google.golang.org/api/sts/v1"

	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/objstore/objstoretest"
	"github.com/firekeep/firekeep/internal/rft"
)

// No server that somebody else wrote stands in for Google's token service or for
// Entra. The two doubles here are our own, and strict: they accept a request only
// if every field of it is one that the cloud publishes, with the value that it
// documents, and check tokens by the published keys with the standard library
// alone. What they cannot prove stands in docs/connections.md.

// verifyToken checks a token as a cloud does: signature by the issuer's documents,
// issuer, audience, times.
func verifyToken(i *issuer.Issuer, token, audience string) (map[string]any, error) {
	docs, err := i.Documents(context.Background())
	if err != nil {
		return nil, err
	}
	var set struct{ Keys []struct{ Kid, N, E string } }
	if err := json.Unmarshal(docs.JWKS, &set); err != nil {
		return nil, err
	}
	part := strings.Split(token, ".")
	if len(part) != 3 {
		return nil, errors.New("not a token")
	}
	raw := func(s string) []byte { b, _ := base64.RawURLEncoding.DecodeString(s); return b }
	var header struct{ Alg, Kid, Typ string }
	var c map[string]any
	if json.Unmarshal(raw(part[0]), &header) != nil || json.Unmarshal(raw(part[1]), &c) != nil || header.Alg != "RS256" || header.Typ != "JWT" {
		return nil, errors.New("not a token")
	}
	sum := sha256.Sum256([]byte(part[0] + "." + part[1]))
	now := float64(time.Now().Unix())
	for _, k := range set.Keys {
		key := &rsa.PublicKey{N: new(big.Int).SetBytes(raw(k.N)), E: int(new(big.Int).SetBytes(raw(k.E)).Int64())}
		if k.Kid != header.Kid || rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], raw(part[2])) != nil {
			continue
		}
		exp, _ := c["exp"].(float64)
		if c["iss"] != i.URL || c["aud"] != audience || exp < now {
			return nil, fmt.Errorf("iss %v, aud %v, exp %v", c["iss"], c["aud"], exp)
		}
		return c, nil
	}
	return nil, errors.New("no key verifies the token")
}

// strict decodes JSON into a published type and refuses what it does not have.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

const (
	gcpProvider = "projects/123456789/locations/global/workloadIdentityPools/firekeep/providers/firekeep"
	gcpReader   = "firekeep-reader@proj.iam.gserviceaccount.com"
	gcpWriter   = "firekeep-writer@proj.iam.gserviceaccount.com"
)

// google is the double of sts.googleapis.com and iamcredentials.googleapis.com.
type google struct {
	t        *testing.T
	issuer   *issuer.Issuer
	grants   map[string]string // service account -> subject that may be it
	boundary []*sts.GoogleIdentityStsV1AccessBoundaryRule
	lifetime string
}

func (g *google) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	answer := func(code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	refuse := func(why string) {
		answer(http.StatusBadRequest, map[string]string{"error": "invalid_grant", "error_description": why})
	}
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/v1/token":
		form, err := url.ParseQuery(string(body))
		if err != nil || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" {
			g.t.Errorf("the form: %v", err)
		}
		g.exchange(form, answer, refuse)
	case r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, ":generateAccessToken"):
		account := strings.TrimSuffix(strings.TrimPrefix(r.URL.Path, "/v1/projects/-/serviceAccounts/"), ":generateAccessToken")
		var req iamcredentials.GenerateAccessTokenRequest
		if err := strict(body, &req); err != nil {
			g.t.Errorf("generateAccessToken: %v in %s", err, body)
		}
		if !slices.Equal(req.Scope, []string{"https://www.googleapis.com/auth/devstorage.read_write"}) || len(req.Delegates) != 0 {
			g.t.Errorf("generateAccessToken: %s", body)
		}
		g.lifetime = req.Lifetime
		subject, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer federated:")
		if !ok || g.grants[account] != subject {
			answer(http.StatusForbidden, map[string]any{"error": map[string]any{"code": 403, "status": "PERMISSION_DENIED"}})
			return
		}
		answer(http.StatusOK, iamcredentials.GenerateAccessTokenResponse{AccessToken: "account:" + account, ExpireTime: time.Now().Add(15 * time.Minute).UTC().Format(time.RFC3339)})
	default:
		g.t.Errorf("%s %s", r.Method, r.URL)
		refuse("no such method")
	}
}

// exchange is projects.token: once for a token of ours, once to bound a token.
func (g *google) exchange(form url.Values, answer func(int, any), refuse func(string)) {
	want := map[string]string{"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "requested_token_type": "urn:ietf:params:oauth:token-type:access_token"}
	for k, v := range form {
		known := slices.Contains([]string{"grant_type", "requested_token_type", "subject_token", "subject_token_type", "audience", "scope", "options"}, k)
		if !known || len(v) != 1 || want[k] != "" && v[0] != want[k] {
			g.t.Errorf("token: field %s is %q", k, v)
		}
	}
	token := form.Get("subject_token")
	switch form.Get("subject_token_type") {
	case "urn:ietf:params:oauth:token-type:jwt":
		if form.Get("audience") != "//iam.googleapis.com/"+gcpProvider || form.Get("scope") == "" {
			g.t.Errorf("token: audience %q, scope %q", form.Get("audience"), form.Get("scope"))
		}
		c, err := verifyToken(g.issuer, token, form.Get("audience"))
		if err != nil {
			refuse(err.Error())
			return
		}
		answer(http.StatusOK, map[string]any{"access_token": "federated:" + c["sub"].(string), "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600})
	case "urn:ietf:params:oauth:token-type:access_token":
		var o sts.GoogleIdentityStsV1Options
		if err := strict([]byte(form.Get("options")), &o); err != nil || o.AccessBoundary == nil || len(o.AccessBoundary.AccessBoundaryRules) != 1 {
			g.t.Errorf("token: options %s: %v", form.Get("options"), err)
		}
		g.boundary = o.AccessBoundary.AccessBoundaryRules
		if !strings.HasPrefix(token, "account:") {
			refuse("not a token of a service account")
			return
		}
		answer(http.StatusOK, map[string]any{"access_token": "bounded:" + token, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 900})
	default:
		g.t.Errorf("token: subject_token_type %q", form.Get("subject_token_type"))
	}
}

// TestGoogleExchange runs the whole chain against our own strict double.
func TestGoogleExchange(t *testing.T) {
	i, _ := newIssuer(t, issuerOfClouds)
	g := &google{t: t, issuer: i}
	s := httptest.NewServer(g)
	defer s.Close()
	conn := identity.Connection{Account: "main", AccountUID: "aaaaaaaaaaaaaaaaaaaaaaaaaa", ID: "conn", UID: "cccccccccccccccccccccccccc", URL: parse(t, "gs://bkt/data/"), Auth: identity.GCPWIF, Usable: true,
		Options: identity.Options{GCP: &identity.GCP{Provider: gcpProvider, ReadServiceAccount: gcpReader, WriteServiceAccount: gcpWriter}}}
	g.grants = map[string]string{gcpReader: conn.Subject(identity.Read), gcpWriter: conn.Subject(identity.Write)}
	conf := objstore.Config{GS: objstore.GSConfig{STSURL: s.URL, IAMURL: s.URL}}
	ask := func(c identity.Connection, url string, a identity.Access) (identity.Credential, error) {
		b := &identity.Broker{Connections: rows{c}, Federation: &identity.Federation{Issuer: i, Objects: conf, HTTP: s.Client()}}
		return b.Credential(t.Context(), job, parse(t, url), a)
	}
	for access, want := range map[identity.Access]struct {
		account     string
		permissions []string
	}{
		identity.Read:  {gcpReader, []string{"inRole:roles/storage.objectViewer"}},
		identity.Write: {gcpWriter, []string{"inRole:roles/storage.objectCreator", "inRole:roles/storage.legacyBucketReader"}},
	} {
		c, err := ask(conn, "gs://bkt/data/ds1/", access)
		if err != nil {
			t.Fatalf("%s: %v (%v)", access, err, errors.Unwrap(err))
		}
		if got := c.Secret.Reveal(); got != `{"accessToken":"bounded:account:`+want.account+`"}` {
			t.Errorf("%s: %s", access, got)
		}
		if life := time.Until(c.Expiry); life > identity.MaxLife || life < 14*time.Minute || g.lifetime != "900s" {
			t.Errorf("%s: lives %v, asked for %s", access, life, g.lifetime)
		}
		rule := g.boundary[0]
		if rule.AvailableResource != "//storage.googleapis.com/projects/_/buckets/bkt" || !slices.Equal(rule.AvailablePermissions, want.permissions) ||
			!strings.Contains(rule.AvailabilityCondition.Expression, "resource.name.startsWith('projects/_/buckets/bkt/objects/data/ds1/')") {
			t.Errorf("%s: %+v %+v", access, rule, rule.AvailabilityCondition)
		}
	}
	edit := func(f func(*identity.Connection)) identity.Connection {
		c := conn
		o := *conn.Options.GCP
		c.Options.GCP = &o
		f(&c)
		return c
	}
	for name, c := range map[string]identity.Connection{
		"another tenant": edit(func(c *identity.Connection) { c.AccountUID = "bbbbbbbbbbbbbbbbbbbbbbbbbb" }),
		"the other access": edit(func(c *identity.Connection) {
			c.Options.GCP.ReadServiceAccount, c.Options.GCP.WriteServiceAccount = gcpWriter, gcpReader
		}),
	} {
		if _, err := ask(c, "gs://bkt/data/ds1/", identity.Read); rft.KindOf(err) != rft.KindPermissionDenied {
			t.Errorf("%s: %v (%v)", name, err, errors.Unwrap(err))
		}
	}
	s.Close()
	if _, err := ask(conn, "gs://bkt/data/ds1/", identity.Read); rft.KindOf(err) != rft.KindUnavailable {
		t.Errorf("without a server: %v", err)
	}
}

const issuerOfClouds = "https://issuer.firekeep.example/tokens"

const (
	azureTenant = "11111111-2222-3333-4444-555555555555"
	azureReader = "aaaaaaaa-0000-0000-0000-000000000001"
	azureWriter = "aaaaaaaa-0000-0000-0000-000000000002"
)

// entra is the double of login.microsoftonline.com.
type entra struct {
	t      *testing.T
	issuer *issuer.Issuer
	url    string
	grants map[string]string // client -> subject of its federated credential
}

func (e *entra) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch base := "/" + azureTenant; {
	case r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, base+"/v2.0/.well-known/openid-configuration"):
		fmt.Fprintf(w, `{"authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/oauth2/v2.0/token","issuer":"%[1]s/v2.0"}`, e.url+base)
	case r.Method == http.MethodPost && r.URL.Path == base+"/oauth2/v2.0/token":
		_ = r.ParseForm()
		for k, want := range map[string]string{"grant_type": "client_credentials", "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"} {
			if got := r.PostForm.Get(k); got != want {
				e.t.Errorf("token: %s is %q", k, got)
			}
		}
		if !slices.Contains(strings.Fields(r.PostForm.Get("scope")), "https://storage.azure.com/.default") {
			e.t.Errorf("token: scope %q", r.PostForm.Get("scope"))
		}
		for k := range r.PostForm {
			if !slices.Contains([]string{"grant_type", "client_assertion_type", "client_assertion", "client_id", "scope", "client_info", "claims"}, k) {
				e.t.Errorf("token: field %s", k)
			}
		}
		c, err := verifyToken(e.issuer, r.PostForm.Get("client_assertion"), "api://AzureADTokenExchange")
		if err != nil || c["sub"] != e.grants[r.PostForm.Get("client_id")] {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client","error_description":"AADSTS700213: No matching federated identity record found","error_codes":[700213]}`)
			return
		}
		// The emulator reads this token and does not verify it.
		now := time.Now().Unix()
		claims, _ := json.Marshal(map[string]any{"aud": "https://storage.azure.com", "iss": "https://sts.windows.net/" + azureTenant + "/", "iat": now, "nbf": now - 60, "exp": now + 3600,
			"tid": azureTenant, "oid": r.PostForm.Get("client_id"), "sub": r.PostForm.Get("client_id"), "ver": "1.0"})
		b64 := base64.RawURLEncoding.EncodeToString
		fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":3599,"access_token":"%s.%s.%s"}`, b64([]byte(`{"alg":"RS256","typ":"JWT"}`)), b64(claims), b64([]byte("none")))
	default:
		e.t.Errorf("%s %s", r.Method, r.URL)
		w.WriteHeader(http.StatusNotFound)
	}
}

// TestAzureExchange gets signatures through our own strict double of Entra, and
// uses them on Azurite, which enforces what they say.
func TestAzureExchange(t *testing.T) {
	store := objstoretest.StartAzurite(t)
	i, _ := newIssuer(t, issuerOfClouds)
	e := &entra{t: t, issuer: i}
	s := httptest.NewTLSServer(e)
	defer s.Close()
	e.url = s.URL
	u := store.Container("cont")
	other := store.Container("other")
	root := store.Open(u)
	for _, key := range []string{"ds1/rows.jsonl", "ds2/rows.jsonl"} {
		if _, err := root.Create(t.Context(), key, strings.NewReader("x"), objstore.PutOptions{Size: 1}); err != nil {
			t.Fatal(err)
		}
	}
	conn := identity.Connection{Account: "main", AccountUID: "aaaaaaaaaaaaaaaaaaaaaaaaaa", ID: "conn", UID: "cccccccccccccccccccccccccc", URL: u, Auth: identity.AzureFederated, Usable: true,
		Options: identity.Options{Azure: &identity.Azure{Tenant: azureTenant, ReadClient: azureReader, WriteClient: azureWriter}}}
	e.grants = map[string]string{azureReader: conn.Subject(identity.Read), azureWriter: conn.Subject(identity.Write)}
	conf := store.Config()
	conf.Azure.Authority = s.URL
	conf.CAFile = bothAuthorities(t, store.CAFile, s)
	ask := func(c identity.Connection, at objstore.URL, a identity.Access) (identity.Credential, error) {
		b := &identity.Broker{Connections: rows{c}, Federation: &identity.Federation{Issuer: i, Objects: conf}}
		return b.Credential(t.Context(), job, at, a)
	}
	open := func(at objstore.URL, a identity.Access, in objstore.URL) objstore.Bucket {
		c, err := ask(conn, at, a)
		if err != nil {
			t.Fatalf("%s: %v (%v)", at, err, errors.Unwrap(err))
		}
		if life := time.Until(c.Expiry); life > identity.MaxLife {
			t.Errorf("lives %v", life)
		}
		b, err := objstore.Open(t.Context(), in, c.Secret, conf) // nothing of ours in between
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		return b
	}
	get := func(b objstore.Bucket, key string) error {
		_, err := objstoretest.ReadAll(t, b, key, objstore.Pin{})
		return err
	}
	put := func(b objstore.Bucket, key string) error {
		_, err := b.Create(t.Context(), key, strings.NewReader("x"), objstore.PutOptions{Size: 1})
		return err
	}
	one, all, out := open(u.Join("ds1/rows.jsonl"), identity.Read, u), open(u, identity.Read, u), open(u.Join("out/"), identity.Write, u)
	foreign := open(u, identity.Read, other)
	none := func(objstore.Info) error { return nil }
	for name, tt := range map[string]struct {
		err error
		ok  bool
	}{
		"read one": {get(one, "ds1/rows.jsonl"), true}, "read all": {get(all, "ds2/rows.jsonl"), true}, "list": {all.List(t.Context(), "", "", none), true}, "write": {put(out, "out/m"), true},
		"another of the one": {get(one, "ds2/rows.jsonl"), false}, "list by the one": {one.List(t.Context(), "", "", none), false}, "write by reader": {put(all, "ds1/x"), false},
		"delete by reader": {all.Delete(t.Context(), "ds1/rows.jsonl"), false}, "read by writer": {get(out, "ds1/rows.jsonl"), false}, "another container": {foreign.List(t.Context(), "", "", none), false},
	} {
		if tt.ok && tt.err != nil || !tt.ok && rft.KindOf(tt.err) != rft.KindPermissionDenied {
			t.Errorf("%s: %v (%v)", name, tt.err, errors.Unwrap(tt.err))
		}
	}
	wrong := conn
	wrong.AccountUID = "bbbbbbbbbbbbbbbbbbbbbbbbbb"
	if _, err := ask(wrong, u, identity.Read); rft.KindOf(err) != rft.KindPermissionDenied {
		t.Errorf("another tenant: %v (%v)", err, errors.Unwrap(err))
	}
	swapped := conn
	swapped.Options.Azure = &identity.Azure{Tenant: azureTenant, ReadClient: azureWriter, WriteClient: azureReader}
	if _, err := ask(swapped, u, identity.Read); rft.KindOf(err) != rft.KindPermissionDenied {
		t.Errorf("the other access: %v (%v)", err, errors.Unwrap(err))
	}
}

// bothAuthorities is a file with the certificates of two servers.
func bothAuthorities(t *testing.T, file string, s *httptest.Server) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "ca.pem")
	b = append(b, []byte("-----BEGIN CERTIFICATE-----\n"+base64.StdEncoding.EncodeToString(s.Certificate().Raw)+"\n-----END CERTIFICATE-----\n")...)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

package custody_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/firekeep/firekeep/internal/kms"
	"github.com/firekeep/firekeep/internal/seal"
)

// The services of this file are doubles of our own: they follow the published
// interfaces of Google Cloud KMS and Azure Key Vault as strictly as we know how,
// and prove nothing about the real ones.

// double is a service that can be switched off, with keys that can be disabled.
type double struct {
	t    *testing.T
	off  atomic.Bool
	mu   sync.Mutex
	keys map[string]*doubleKey
}

type doubleKey struct {
	disabled   bool
	symmetric  []byte
	asymmetric *rsa.PrivateKey
}

func newDouble(t *testing.T, names ...string) *double {
	d := &double{t: t, keys: map[string]*doubleKey{}}
	for _, n := range names {
		d.keys[n] = &doubleKey{symmetric: seal.RandomBytes(32)}
	}
	return d
}

func (d *double) key(name string) *doubleKey {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keys[name]
}

func (d *double) set(name string, disabled bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys[name].disabled = disabled
}

// serve wraps a handler in the switch, and in a bound of the body.
func (d *double) serve(h func(w http.ResponseWriter, r *http.Request, body []byte)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.off.Load() {
			http.Error(w, "{}", http.StatusServiceUnavailable)
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, "{}", http.StatusBadRequest)
			return
		}
		h(w, r, body)
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// strictly decodes a body; unknown fields are the client's mistake.
func strictly(body []byte, v any) error {
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// --- Google Cloud KMS ---------------------------------------------------------

const gcpKeyName = "projects/p/locations/global/keyRings/r/cryptoKeys/acme"

// cloudKMS is Google's service with its token endpoint.
func cloudKMS(t *testing.T) service {
	d := newDouble(t, gcpKeyName, gcpKeyName+"-2")
	login, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(d.serve(func(w http.ResponseWriter, r *http.Request, body []byte) {
		if r.URL.Path == "/token" {
			d.googleToken(w, r, body, &login.PublicKey)
			return
		}
		d.google(w, r, body)
	}))
	t.Cleanup(server.Close)
	der, err := x509.MarshalPKCS8PrivateKey(login)
	if err != nil {
		t.Fatal(err)
	}
	credential, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "firekeep@p.iam.gserviceaccount.com", "private_key_id": "1",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"token_uri":   "http://192.0.2.1/never-asked"}) // a place of the account's choosing
	if err != nil {
		t.Fatal(err)
	}
	return service{kind: kms.GCP, config: kms.Config{GCPEndpoint: server.URL, GCPTokenURL: server.URL + "/token"},
		settings: `{"key":"` + gcpKeyName + `"}`, another: `{"key":"` + gcpKeyName + `-2"}`, credential: string(credential),
		disable: func() { d.set(gcpKeyName, true) }, enable: func() { d.set(gcpKeyName, false) },
		down: func() { d.off.Store(true) }, up: func() { d.off.Store(false) }}
}

// googleToken verifies a signed assertion (RFC 7523) and answers a token.
func (d *double) googleToken(w http.ResponseWriter, r *http.Request, body []byte, key *rsa.PublicKey) {
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	assertion := r.FormValue("assertion")
	part := strings.Split(assertion, ".")
	if r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || len(part) != 3 {
		answer(w, 400, map[string]string{"error": "invalid_grant"})
		return
	}
	signature, err := base64.RawURLEncoding.DecodeString(part[2])
	sum := sha256.Sum256([]byte(part[0] + "." + part[1]))
	if err == nil {
		err = rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature)
	}
	if err != nil {
		answer(w, 400, map[string]string{"error": "invalid_grant"})
		return
	}
	answer(w, 200, map[string]any{"access_token": "ya29.double", "token_type": "Bearer", "expires_in": 3600})
}

func (d *double) google(w http.ResponseWriter, r *http.Request, body []byte) {
	fail := func(code int, status string) {
		answer(w, code, map[string]any{"error": map[string]any{"code": code, "status": status, "message": "text that says more"}})
	}
	name, verb, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/"), ":")
	k := d.key(name)
	switch {
	case r.Header.Get("Authorization") != "Bearer ya29.double":
		fail(401, "UNAUTHENTICATED")
		return
	case k == nil:
		fail(404, "NOT_FOUND")
		return
	case k.disabled:
		fail(400, "FAILED_PRECONDITION")
		return
	}
	var in map[string]string
	if strictly(body, &in) != nil {
		fail(400, "INVALID_ARGUMENT")
		return
	}
	sum := func(b []byte) string {
		return strconv.FormatUint(uint64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))), 10)
	}
	field := func(name string) []byte {
		b, err := base64.StdEncoding.DecodeString(in[name])
		if err != nil || len(b) == 0 || in[name+"Crc32c"] != sum(b) {
			return nil
		}
		return b
	}
	aad := field("additionalAuthenticatedData")
	switch verb {
	case "encrypt":
		plain := field("plaintext")
		sealed, err := seal.SealInner(k.symmetric, plain, aad)
		if err != nil || plain == nil || aad == nil {
			fail(400, "INVALID_ARGUMENT")
			return
		}
		answer(w, 200, map[string]any{"name": name + "/cryptoKeyVersions/1", "ciphertext": base64.StdEncoding.EncodeToString(sealed), "ciphertextCrc32c": sum(sealed),
			"verifiedPlaintextCrc32c": true, "verifiedAdditionalAuthenticatedDataCrc32c": true})
	case "decrypt":
		plain, err := seal.OpenInner(k.symmetric, field("ciphertext"), aad)
		if err != nil || aad == nil {
			fail(400, "INVALID_ARGUMENT")
			return
		}
		answer(w, 200, map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plain), "plaintextCrc32c": sum(plain)})
	default:
		fail(404, "NOT_FOUND")
	}
}

// --- Azure Key Vault ----------------------------------------------------------

const (
	azureTenant  = "00000000-0000-0000-0000-00000000000a"
	azureClient  = "00000000-0000-0000-0000-00000000000b"
	azureVersion = "/0123456789abcdef0123456789abcdef"
)

// keyVault is a key vault with the authority that it asks for tokens of.
func keyVault(t *testing.T) service {
	d := newDouble(t, "acme", "acme-2")
	for _, k := range d.keys {
		var err error
		if k.asymmetric, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewTLSServer(d.serve(d.azure))
	t.Cleanup(server.Close)
	config := kms.Config{AzureAuthority: server.URL, AzureVaults: []string{strings.TrimPrefix(server.URL, "https://")}}
	return service{kind: kms.Azure, config: config, services: &kms.Services{Config: config, Client: server.Client()},
		settings: `{"key":"` + server.URL + "/keys/acme" + azureVersion + `"}`, another: `{"key":"` + server.URL + "/keys/acme-2" + azureVersion + `"}`,
		credential: fmt.Sprintf(`{"tenant_id":%q,"client_id":%q,"client_secret":"secret"}`, azureTenant, azureClient),
		disable:    func() { d.set("acme", true) }, enable: func() { d.set("acme", false) },
		down: func() { d.off.Store(true) }, up: func() { d.off.Store(false) }}
}

func (d *double) azure(w http.ResponseWriter, r *http.Request, body []byte) {
	fail := func(status int, code string) {
		answer(w, status, map[string]any{"error": map[string]any{"code": code, "message": "text that says more"}})
	}
	base := "https://" + r.Host
	switch r.URL.Path {
	case "/" + azureTenant + "/v2.0/.well-known/openid-configuration":
		answer(w, 200, map[string]any{"issuer": base + "/" + azureTenant + "/v2.0", "token_endpoint": base + "/" + azureTenant + "/oauth2/v2.0/token",
			"authorization_endpoint": base + "/" + azureTenant + "/oauth2/v2.0/authorize", "jwks_uri": base + "/keys"})
		return
	case "/" + azureTenant + "/oauth2/v2.0/token":
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		if r.FormValue("client_id") != azureClient || r.FormValue("client_secret") != "secret" || !strings.Contains(r.FormValue("scope"), "https://vault.azure.net/.default") {
			answer(w, 401, map[string]string{"error": "invalid_client"})
			return
		}
		answer(w, 200, map[string]any{"access_token": "eyJ.double", "token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600})
		return
	}
	if r.Header.Get("Authorization") != "Bearer eyJ.double" {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization="%s/%s", resource="https://vault.azure.net"`, base, azureTenant))
		fail(401, "Unauthorized")
		return
	}
	part := strings.Split(r.URL.Path, "/") // "", keys, NAME, VERSION, verb
	if len(part) != 5 || part[1] != "keys" || "/"+part[3] != azureVersion || r.URL.Query().Get("api-version") == "" || d.key(part[2]) == nil {
		fail(404, "KeyNotFound")
		return
	}
	k := d.key(part[2])
	var in struct{ Alg, Value string }
	if k.disabled {
		fail(403, "Forbidden")
		return
	}
	value, err := []byte(nil), strictly(body, &in)
	if err == nil {
		value, err = base64.RawURLEncoding.DecodeString(in.Value)
	}
	if err == nil && in.Alg != "RSA-OAEP-256" {
		err = fmt.Errorf("alg %q", in.Alg)
	}
	if err == nil && part[4] == "wrapkey" {
		value, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, &k.asymmetric.PublicKey, value, nil)
	} else if err == nil {
		value, err = rsa.DecryptOAEP(sha256.New(), nil, k.asymmetric, value, nil)
	}
	if err != nil {
		fail(400, "BadParameter")
		return
	}
	answer(w, 200, map[string]string{"kid": base + strings.Join(part[:4], "/"), "value": base64.RawURLEncoding.EncodeToString(value)})
}

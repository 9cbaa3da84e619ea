package issuer_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

const url = "https://issuer.example.org/tokens"

// clock is a clock that tests turn.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func open(t *testing.T) (*issuer.Issuer, *clock) {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), filepath.Join(dir, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	kek, err := seal.CreateKeyring(filepath.Join(dir, "kek"))
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	return &issuer.Issuer{URL: url, DB: db, KEK: kek, Now: c.now}, c
}

func keep(t *testing.T, i *issuer.Issuer) {
	t.Helper()
	if err := i.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

var claims = issuer.Claims{Subject: issuer.Subject("acc", "conn", "read"), Audience: "sts.amazonaws.com", Account: "acc", Connection: "conn", Job: "job", Purpose: "step",
	AWSRoles: []string{"arn:aws:iam::123456789012:role/r"}, AWSSourceIdentity: "firekeep-step-job"}

func sign(t *testing.T, i *issuer.Issuer) string {
	t.Helper()
	token, id, err := i.Token(t.Context(), claims)
	if err != nil || len(id) != 32 {
		t.Fatalf("%q, %v", id, err)
	}
	return token.Reveal()
}

// keys reads the published set with nothing but the standard library.
func keys(t *testing.T, i *issuer.Issuer) map[string]*rsa.PublicKey {
	t.Helper()
	docs, err := i.Documents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var set struct {
		Keys []map[string]string
	}
	if err := json.Unmarshal(docs.JWKS, &set); err != nil {
		t.Fatal(err)
	}
	out := map[string]*rsa.PublicKey{}
	for _, k := range set.Keys {
		for name := range k {
			if !slices.Contains([]string{"kty", "kid", "use", "alg", "n", "e"}, name) {
				t.Errorf("the set publishes %q", name)
			}
		}
		if k["kty"] != "RSA" || k["use"] != "sig" || k["alg"] != "RS256" {
			t.Errorf("%v", k)
		}
		n, _ := base64.RawURLEncoding.DecodeString(k["n"])
		e, _ := base64.RawURLEncoding.DecodeString(k["e"])
		p := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		if p.N.BitLen() != 3072 {
			t.Errorf("%d bits", p.N.BitLen())
		}
		out[k["kid"]] = p
	}
	return out
}

// verify checks a token by the published keys, and returns kid and claims.
func verify(t *testing.T, published map[string]*rsa.PublicKey, token string) (kid string, c map[string]any, ok bool) {
	t.Helper()
	part := strings.Split(token, ".")
	if len(part) != 3 {
		t.Fatal("not a token")
	}
	var header map[string]string
	decode := func(s string, v any) {
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err == nil {
			err = json.Unmarshal(b, v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	decode(part[0], &header)
	decode(part[1], &c)
	if header["alg"] != "RS256" || header["typ"] != "JWT" || len(header) != 3 {
		t.Errorf("header %v", header)
	}
	key := published[header["kid"]]
	if key == nil {
		return header["kid"], c, false
	}
	sum := sha256.Sum256([]byte(part[0] + "." + part[1]))
	signature, _ := base64.RawURLEncoding.DecodeString(part[2])
	return header["kid"], c, rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) == nil
}

func TestToken(t *testing.T) {
	i, clock := open(t)
	if _, _, err := i.Token(t.Context(), claims); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("without keys: %v", err)
	}
	keep(t, i)
	published := keys(t, i)
	one, two := sign(t, i), sign(t, i)
	_, c, ok := verify(t, published, one)
	if !ok {
		t.Fatal("the published keys do not verify the token")
	}
	_, d, _ := verify(t, published, two)
	if c["jti"] == d["jti"] {
		t.Error("two tokens share an id")
	}
	delete(c, "jti")
	now := float64(clock.at.Unix())
	want := map[string]any{"iss": url, "sub": "account:acc:connection:conn:access:read", "aud": "sts.amazonaws.com", "iat": now, "nbf": now - 5, "exp": now + 300,
		"firekeep_account": "acc", "firekeep_connection": "conn", "firekeep_job": "job", "firekeep_purpose": "step",
		"https://aws.amazon.com/roles": []any{"arn:aws:iam::123456789012:role/r"}, "https://aws.amazon.com/source_identity": "firekeep-step-job"}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("claims %v\nwant   %v", c, want)
	}
	for _, bad := range []issuer.Claims{{}, {Subject: "s"}, {Audience: "a"}, {Subject: strings.Repeat("s", 128), Audience: "a"}} {
		if _, _, err := i.Token(t.Context(), bad); err == nil {
			t.Errorf("%+v was signed", bad)
		}
	}
}

func TestDocuments(t *testing.T) {
	i, _ := open(t)
	keep(t, i)
	docs, err := i.Documents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var d map[string]any
	if err := json.Unmarshal(docs.Discovery, &d); err != nil || d["issuer"] != url || d["jwks_uri"] != url+"/.well-known/jwks.json" {
		t.Errorf("%s %v", docs.Discovery, err)
	}
}

// TestRotation lives through half a year, with upkeep each day. At every moment
// the set holds the key that signs and the next; a token verifies with the set of
// a day before (a cache) and of a day later.
func TestRotation(t *testing.T) {
	i, clock := open(t)
	keep(t, i)
	cached := keys(t, i)
	if len(cached) != 2 {
		t.Fatalf("%d keys at first", len(cached))
	}
	used := map[string]bool{}
	var before string
	for day := range 180 {
		clock.at = clock.at.Add(24 * time.Hour)
		keep(t, i)
		token := sign(t, i)
		kid, _, ok := verify(t, cached, token)
		if !ok {
			t.Fatalf("day %d: a cache of yesterday does not know the key", day)
		}
		used[kid] = true
		fresh := keys(t, i)
		if len(fresh) < 2 || len(fresh) > 3 {
			t.Fatalf("day %d: %d keys", day, len(fresh))
		}
		if _, _, ok := verify(t, fresh, token); !ok {
			t.Fatalf("day %d: the set does not know the key that signs", day)
		}
		if before != "" {
			if _, _, ok := verify(t, fresh, before); !ok {
				t.Fatalf("day %d: yesterday's key is gone", day)
			}
		}
		before, cached = token, fresh
	}
	if len(used) != 7 { // one a month, and the first
		t.Errorf("%d keys signed in 180 days", len(used))
	}
}

// TestLongAbsence: nobody made keys for months. The last one signs on, and its
// successor is published for a day before it signs.
func TestLongAbsence(t *testing.T) {
	i, clock := open(t)
	keep(t, i)
	clock.at = clock.at.Add(200 * 24 * time.Hour)
	cached := keys(t, i)
	kid, _, ok := verify(t, cached, sign(t, i))
	if !ok {
		t.Fatal("the last key does not sign any more")
	}
	keep(t, i)
	clock.at = clock.at.Add(23 * time.Hour)
	if again, _, _ := verify(t, cached, sign(t, i)); again != kid {
		t.Error("a key signed that no cache knows")
	}
}

// TestRotateNow withdraws a key that leaked: the next signs at once, and every
// cache has it already.
func TestRotateNow(t *testing.T) {
	i, _ := open(t)
	keep(t, i)
	cached, old := keys(t, i), sign(t, i)
	if err := i.Rotate(t.Context(), store.Act{Account: "main", Actor: "op", Method: "RotateIssuer"}); err != nil {
		t.Fatal(err)
	}
	fresh := keys(t, i)
	if _, _, ok := verify(t, fresh, old); ok {
		t.Error("the withdrawn key is still published")
	}
	token := sign(t, i)
	if _, _, ok := verify(t, cached, token); !ok {
		t.Error("caches do not know the new key")
	}
	if _, _, ok := verify(t, fresh, token); !ok || len(fresh) != 2 {
		t.Errorf("%d keys, verified %v", len(fresh), ok)
	}
}

// TestSealedKeys: keys open with their KEK and in their own record only, and no
// private part stands anywhere in the clear.
func TestSealedKeys(t *testing.T) {
	i, _ := open(t)
	keep(t, i)
	rows, err := i.DB.IssuerKeys(t.Context())
	if err != nil || len(rows) != 2 {
		t.Fatal(err)
	}
	for _, r := range rows {
		if strings.Contains(string(r.Public), `"d"`) || strings.Contains(string(r.Public), `"p"`) {
			t.Error("a private part is published")
		}
		if _, err := seal.OpenBytes(i.KEK, r.Sealed, []byte("firekeep/issuer/1\x00other")); err == nil {
			t.Error("a key opens in another record")
		}
	}
	other, err := seal.CreateKeyring(filepath.Join(t.TempDir(), "kek"))
	if err != nil {
		t.Fatal(err)
	}
	foreign := &issuer.Issuer{URL: url, DB: i.DB, KEK: other, Now: i.Now}
	if _, _, err := foreign.Token(t.Context(), claims); rft.KindOf(err) != rft.KindFailedPrecondition {
		t.Errorf("with another KEK: %v", err)
	}
}

func TestCheckURL(t *testing.T) {
	for _, good := range []string{"https://issuer.example.org", "https://issuer.example.org/a/b-c", "https://bucket.s3.eu-central-1.amazonaws.com/firekeep"} {
		if err := issuer.CheckURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "http://issuer.example.org", "https://issuer.example.org/", "https://issuer.example.org:8443", "https://issuer.example.org:", "https://10.0.0.1", "https://[::1]",
		"https://u:p@issuer.example.org", "https://issuer.example.org?x=1", "https://issuer.example.org#x", "https://issuer.example.org/a b", "https://issuer.example.org//a", "issuer.example.org",
		"https://issuer.example.org/" + strings.Repeat("a", 200)} {
		if err := issuer.CheckURL(bad); rft.KindOf(err) != rft.KindInvalidArgument {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

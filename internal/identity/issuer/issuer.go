// Package issuer is Firekeep as an OpenID Connect issuer for machines: it signs
// the short tokens that clouds exchange for storage credentials, and publishes
// the two documents by which they check them. There is no sign-in here and
// nothing to configure at run time: an issuer is a URL and its keys.
package issuer

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// Lives of tokens. The time before "now" forgives clouds whose clock is late.
const (
	tokenLife = 5 * time.Minute
	skew      = 5 * time.Second
)

// Issuer signs tokens. It is safe for concurrent use.
type Issuer struct {
	URL string // exactly what tokens say in iss
	DB  *store.DB
	KEK seal.KEK // seals the signing keys
	// Now is the clock; nil = time.Now.
	Now func() time.Time

	mu     sync.Mutex
	signer jose.Signer // of the key that signs
	kid    string
	read   time.Time // when the keys were last read
}

// reread bounds how long an opened key stays in memory unasked: a revoked KEK
// ends the signing after that, and so does a rotation by another replica.
const reread = time.Minute

func (i *Issuer) now() time.Time {
	if i.Now != nil {
		return i.Now().UTC()
	}
	return time.Now().UTC()
}

// CheckURL reports whether s can be an issuer of all three clouds: https, no
// port, no query, no slash at the end.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "":
		return rft.FieldErrorf("issuer.url", "issuer.url: want https://HOST or https://HOST/PATH")
	case u.Port() != "" || strings.HasSuffix(u.Host, ":"):
		return rft.FieldErrorf("issuer.url", "issuer.url: clouds fetch keys from port 443 only; leave the port out")
	case strings.HasSuffix(s, "/"):
		return rft.FieldErrorf("issuer.url", "issuer.url: must not end in '/'")
	case net.ParseIP(u.Hostname()) != nil:
		return rft.FieldErrorf("issuer.url", "issuer.url: clouds want the name of a host, not an address")
	case !pathPattern.MatchString(u.EscapedPath()) || len(s) > 200:
		return rft.FieldErrorf("issuer.url", "issuer.url: the path may hold letters, digits and - _ . ~ / only, 200 characters in all")
	}
	return nil
}

var pathPattern = rft.Pattern(`^(/[A-Za-z0-9_.~-]+)*$`)

// Claims is the content of a token. Everything in it is an immutable id: no
// name that a user chose, and nothing of the data.
type Claims struct {
	Issuer    string `json:"iss"`
	Subject   string `json:"sub"`
	Audience  string `json:"aud"` // one string: two audiences would need azp
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	Expires   int64  `json:"exp"`
	ID        string `json:"jti"`

	Account    string `json:"firekeep_account"`
	Connection string `json:"firekeep_connection"`
	Job        string `json:"firekeep_job"`
	Purpose    string `json:"firekeep_purpose"`

	// AWSRoles are the only roles that STS may give for this token.
	AWSRoles []string `json:"https://aws.amazon.com/roles,omitempty"`
	// AWSSourceIdentity is what CloudTrail shows of every call of the session.
	AWSSourceIdentity string   `json:"https://aws.amazon.com/source_identity,omitempty"`
	AWSTags           *AWSTags `json:"https://aws.amazon.com/tags,omitempty"`
}

// AWSTags are session tags.
type AWSTags struct {
	Principal  map[string][]string `json:"principal_tags"`
	Transitive []string            `json:"transitive_tag_keys,omitempty"`
}

// Subject is the sub of a token: who asks (a connection of an account) and for
// which access. It is the same for every job, so that a trust policy can compare
// it as it is. The parts are ids of ours and hold neither ':' nor '*'.
func Subject(account, connection, access string) string {
	return "account:" + account + ":connection:" + connection + ":access:" + access
}

// Token signs claims; it sets issuer, times and id. It returns the id, which the
// audit log keeps.
func (i *Issuer) Token(ctx context.Context, c Claims) (token seal.Secret, id string, err error) {
	if c.Subject == "" || c.Audience == "" || len(c.Subject) > 127 {
		return seal.Secret{}, "", rft.Errorf(rft.KindInternal, "a token needs a subject of at most 127 bytes and an audience")
	}
	signer, err := i.current(ctx)
	if err != nil {
		return seal.Secret{}, "", err
	}
	var b [16]byte
	rand.Read(b[:]) // never fails
	now := i.now()
	c.Issuer, c.ID = i.URL, hex.EncodeToString(b[:])
	c.IssuedAt, c.NotBefore, c.Expires = now.Unix(), now.Add(-skew).Unix(), now.Add(tokenLife).Unix()
	text, err := jwt.Signed(signer).Claims(c).Serialize()
	if err != nil {
		return seal.Secret{}, "", rft.Wrap(rft.KindInternal, err, "a token cannot be signed")
	}
	return seal.NewSecret(text), c.ID, nil
}

// Documents are what the issuer publishes.
type Documents struct {
	Discovery []byte // URL + DiscoveryPath
	JWKS      []byte // URL + KeysPath
}

// Paths of the documents below the issuer's URL. The first is OpenID's.
const (
	DiscoveryPath = "/.well-known/openid-configuration"
	KeysPath      = "/.well-known/jwks.json"
)

// CacheControl is how the documents are to be served: clouds that may not cache
// them ask for each token, and refuse some when many jobs start at once.
const CacheControl = "public, max-age=3600"

// Documents returns the discovery document and the keys that verify tokens now,
// soon, or did a moment ago.
func (i *Issuer) Documents(ctx context.Context) (Documents, error) {
	keys, err := i.DB.IssuerKeys(ctx)
	if err != nil {
		return Documents{}, err
	}
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{Keys: []json.RawMessage{}}
	for _, k := range published(keys, i.now()) {
		set.Keys = append(set.Keys, k.Public)
	}
	return Documents{Discovery: document(map[string]any{
		"issuer": i.URL, "jwks_uri": i.URL + KeysPath,
		"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"}, "scopes_supported": []string{"openid"},
		"claims_supported": []string{"iss", "sub", "aud", "iat", "nbf", "exp", "jti"},
	}), JWKS: document(set)}, nil
}

// document is v as indented JSON.
func document(v any) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // strings and lists: it cannot fail
	return out.Bytes()
}

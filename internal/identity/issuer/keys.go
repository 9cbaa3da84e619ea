package issuer

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// keyBits is the size of RSA keys. RS256 is the one algorithm of all three clouds.
const keyBits = 3072

// Life of a key. A key is published from the moment when its predecessor began
// to sign, so every cache has it long before its first token; it stays published
// for overlap after its last.
const (
	signFor = 30 * 24 * time.Hour
	overlap = 24*time.Hour + tokenLife
)

// published are the keys that verifiers must know at a time: the one that signs,
// the next, and those before as long as their tokens may be checked. A key that
// was retired by hand is not trusted any more and goes at once.
func published(keys []store.IssuerKey, now time.Time) []store.IssuerKey {
	var out []store.IssuerKey
	for n, k := range keys {
		succeeded := n+1 < len(keys) && !now.Before(keys[n+1].UseFrom.Add(overlap))
		if k.Retired.IsZero() && !succeeded {
			out = append(out, k)
		}
	}
	return out
}

// signing is the key that signs at a time: the last whose time has come.
func signing(keys []store.IssuerKey, now time.Time) (k store.IssuerKey, ok bool) {
	for n := len(keys) - 1; n >= 0; n-- {
		if k := keys[n]; k.Retired.IsZero() && !now.Before(k.UseFrom) {
			return k, true
		}
	}
	return store.IssuerKey{}, false
}

var keyAct = store.Act{Account: rft.OperatorAccount, Actor: "issuer", Resource: "issuer"}

func actFor(method, kid string) store.Act {
	a := keyAct
	a.Method, a.Detail = method, map[string]string{"kid": kid}
	return a
}

// Maintain makes the keys that are missing and forgets those that nobody needs:
// one that signs and the next are always there. Calling it again changes nothing.
func (i *Issuer) Maintain(ctx context.Context) error {
	for range 8 { // two at first, one a month, and room for other replicas
		keys, err := i.DB.IssuerKeys(ctx)
		if err != nil {
			return err
		}
		now := i.now()
		next := now // of the first key
		if n := len(keys); n > 0 {
			if now.Before(keys[n-1].UseFrom) {
				return i.forget(ctx, keys, now)
			}
			next = keys[n-1].UseFrom.Add(signFor)
			if next.Before(now.Add(overlap)) { // nobody was there to make it in time
				next = now.Add(overlap)
			}
		}
		if err := i.add(ctx, keys, next); err != nil {
			return err
		}
	}
	return nil
}

// add makes a key that signs from a time on. A replica that came first is fine.
func (i *Issuer) add(ctx context.Context, keys []store.IssuerKey, from time.Time) error {
	k, err := newKey(i.KEK)
	if err != nil {
		return err
	}
	k.Created, k.UseFrom, k.Ordinal = i.now(), from, 1
	if n := len(keys); n > 0 {
		k.Ordinal = keys[n-1].Ordinal + 1
	}
	_, err = i.DB.AddIssuerKey(ctx, k, actFor("CreateIssuerKey", k.ID))
	return err
}

// forget removes keys whose last token has long expired.
func (i *Issuer) forget(ctx context.Context, keys []store.IssuerKey, now time.Time) error {
	needed := map[string]bool{}
	for _, k := range published(keys, now) {
		needed[k.ID] = true
	}
	for _, k := range keys {
		if !needed[k.ID] {
			if err := i.DB.DeleteIssuerKey(ctx, k.ID, actFor("DeleteIssuerKey", k.ID)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Rotate makes the next key sign at once and withdraws those before it: for a
// key that leaked. The next has been published for long, so nothing that caches
// keys refuses the new tokens; tokens of the old key end with the caches of the
// clouds, an hour at most after Documents were fetched anew.
func (i *Issuer) Rotate(ctx context.Context, act store.Act) error {
	keys, err := i.DB.IssuerKeys(ctx)
	if err != nil {
		return err
	}
	now := i.now()
	for _, k := range keys {
		if k.Retired.IsZero() && now.Before(k.UseFrom) {
			if err := i.DB.PromoteIssuerKey(ctx, k.ID, now, act); err != nil {
				return err
			}
			i.mu.Lock()
			i.signer = nil
			i.mu.Unlock()
			return i.Maintain(ctx)
		}
	}
	return rft.Errorf(rft.KindFailedPrecondition, "the issuer has no next key yet; start the server once with issuer.url set")
}

// sealedFor binds a sealed key to its id.
func sealedFor(kid string) []byte { return []byte("firekeep/issuer/1\x00" + kid) }

// newKey draws a key and seals it. Its id is the thumbprint of RFC 7638.
func newKey(kek seal.KEK) (store.IssuerKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return store.IssuerKey{}, rft.Wrap(rft.KindInternal, err, "a signing key cannot be made")
	}
	public := jose.JSONWebKey{Key: &private.PublicKey, Algorithm: string(jose.RS256), Use: "sig"}
	sum, err := public.Thumbprint(crypto.SHA256)
	if err != nil {
		return store.IssuerKey{}, rft.Wrap(rft.KindInternal, err, "a signing key cannot be named")
	}
	public.KeyID = base64.RawURLEncoding.EncodeToString(sum)
	k := store.IssuerKey{ID: public.KeyID}
	if k.Public, err = json.Marshal(public); err != nil {
		return k, rft.Wrap(rft.KindInternal, err, "a signing key cannot be written")
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return k, rft.Wrap(rft.KindInternal, err, "a signing key cannot be written")
	}
	k.Sealed, err = seal.SealBytes(kek, der, sealedFor(k.ID))
	clear(der)
	if err != nil {
		return k, rft.Wrap(rft.KindUnavailable, err, "a signing key cannot be sealed")
	}
	return k, nil
}

// current is the signer of now.
func (i *Issuer) current(ctx context.Context) (jose.Signer, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	if i.signer != nil && now.Sub(i.read) < reread && !now.Before(i.read) {
		return i.signer, nil
	}
	keys, err := i.DB.IssuerKeys(ctx)
	if err != nil {
		return nil, err
	}
	k, ok := signing(keys, now)
	if !ok {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "the issuer has no signing key; start the server once with issuer.url set")
	}
	if i.signer == nil || i.kid != k.ID || now.Sub(i.read) >= reread {
		if i.signer, err = i.open(k); err != nil {
			return nil, err
		}
	}
	i.kid, i.read = k.ID, now
	return i.signer, nil
}

// open unseals a key.
func (i *Issuer) open(k store.IssuerKey) (jose.Signer, error) {
	der, err := seal.OpenBytes(i.KEK, k.Sealed, sealedFor(k.ID))
	if err != nil {
		return nil, rft.Wrap(rft.KindFailedPrecondition, err, "the issuer's signing key does not open: its key was revoked or its record was changed")
	}
	defer clear(der)
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, rft.Errorf(rft.KindDataLoss, "the issuer's signing key is damaged")
	}
	key := jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: parsed, KeyID: k.ID}}
	s, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "the issuer's signing key cannot be used")
	}
	return s, nil
}

package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// Token types of RFC 8693.
const (
	GrantTokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenTypeID        = "urn:ietf:params:oauth:token-type:id_token"
	tokenTypeJWT       = "urn:ietf:params:oauth:token-type:jwt"
	tokenTypeAccess    = "urn:ietf:params:oauth:token-type:access_token"
)

// Exchange is a request for a token in exchange for another issuer's.
type Exchange struct {
	GrantType        string
	Audience         string // accounts/{a}/identityProviders/{p}
	SubjectToken     string
	SubjectTokenType string
	ClientIP         string
	UserAgent        string
}

// errExchange is the one answer to every exchange that is refused: a stranger
// does not learn which accounts and providers there are.
func errExchange(cause error) error {
	return rft.Wrap(rft.KindUnauthenticated, cause, "the exchange is refused: the provider is not there, or does not allow this token, or it was used before")
}

// ExchangeToken gives a short-lived token to whom an identity provider of the
// account vouches for: a person who signed in there, or a job outside. Each
// foreign token is taken once. The operation has no caller yet: the token decides.
func (c *Control) ExchangeToken(ctx context.Context, x Exchange) (*api.Token, error) {
	switch {
	case x.GrantType != GrantTokenExchange:
		return nil, rft.FieldErrorf("grant_type", "grant_type: must be %s", GrantTokenExchange)
	case x.SubjectTokenType != tokenTypeID && x.SubjectTokenType != tokenTypeJWT:
		return nil, rft.FieldErrorf("subject_token_type", "subject_token_type: must be %s or %s", tokenTypeJWT, tokenTypeID)
	}
	n, err := rft.ParseName("audience", x.Audience, "", providers)
	if err != nil {
		return nil, rft.FieldErrorf("audience", "audience: must be accounts/{account}/identityProviders/{id}")
	}
	row, err := c.DB.IdentityProvider(ctx, n.Account, n.ID)
	if err != nil {
		if rft.KindOf(err) == rft.KindNotFound {
			return nil, errExchange(err)
		}
		return nil, err
	}
	k, u, life, err := c.exchange(ctx, row, x)
	if err != nil {
		return nil, c.refusedExchange(ctx, row, x, err)
	}
	return &api.Token{AccessToken: k.Text.Reveal(), IssuedTokenType: tokenTypeAccess, TokenType: "Bearer", ExpiresIn: int64(life / time.Second),
		Account: row.Account, User: u.ID}, nil
}

// exchange verifies the token and gives the new one.
func (c *Control) exchange(ctx context.Context, row store.IdentityProvider, x Exchange) (k seal.APIKey, u store.User, life time.Duration, err error) {
	a, err := c.DB.Account(ctx, row.Account)
	if err != nil {
		return k, u, 0, err
	}
	if a.State != store.AccountActive {
		return k, u, 0, rft.Errorf(rft.KindUnauthenticated, "the account is not active")
	}
	var trust authz.Trust
	if err := json.Unmarshal(row.Config, &trust); err != nil {
		return k, u, 0, rft.Wrap(rft.KindInternal, err, "the stored trust of %s cannot be read", row.Name())
	}
	claims, err := c.Tokens.Verify(ctx, row.Issuer, row.Audience, x.SubjectToken)
	if err != nil {
		return k, u, 0, err
	}
	if err := trust.Matches(claims); err != nil {
		return k, u, 0, err
	}
	s := store.SignIn{Issuer: claims.Issuer, Subject: claims.Subject, Token: claims.TokenID, Expires: claims.Expires}
	if s.User, s.Create, err = subjectUser(row, trust, claims); err != nil {
		return k, u, 0, err
	}
	k, life = seal.NewAPIKey(), trust.Life(row.Kind)
	s.Key = authz.KeyRow(k, row.Account, s.User.ID, row.Kind+" by "+row.ID, c.now().Add(life))
	// Replaces names the provider: when it goes, its tokens go.
	s.Key.Kind, s.Key.Scope, s.Key.Replaces, s.Key.CreatedBy = row.Kind, trust.Scope.String(), row.Name(), row.Name()
	_, u, err = c.DB.ExchangeToken(ctx, s, exchangeAct(row, x, claims.Subject))
	return k, u, life, err
}

func exchangeAct(row store.IdentityProvider, x Exchange, subject string) store.Act {
	method := "SignIn"
	if row.Kind == store.KeyWorkload {
		method = "ExchangeToken"
	}
	return store.Act{Account: row.Account, Actor: "stranger", Method: method, Resource: row.Name(), ClientIP: x.ClientIP, UserAgent: x.UserAgent,
		Detail: map[string]string{"issuer": row.Issuer, "subject": subject}}
}

// refusedExchange audits a refusal and hides its reason.
func (c *Control) refusedExchange(ctx context.Context, row store.IdentityProvider, x Exchange, err error) error {
	switch rft.KindOf(err) {
	case rft.KindInternal, rft.KindUnavailable, rft.KindCancelled:
		return err
	}
	if e := c.DB.Record(ctx, exchangeAct(row, x, ""), err); e != nil {
		return e
	}
	return errExchange(err)
}

// subjectUser is who a subject is in the account: the service account that the
// trust names, or a person known by issuer and subject.
func subjectUser(row store.IdentityProvider, t authz.Trust, claims authz.Claims) (u store.User, create bool, err error) {
	if row.Kind == store.KeyWorkload {
		return store.User{Account: row.Account, ID: t.User}, false, nil
	}
	role, err := t.RoleOf(claims)
	if err != nil {
		return u, false, err
	}
	sum := sha256.Sum256([]byte(claims.Issuer + "\x00" + claims.Subject))
	return store.User{Account: row.Account, ID: "sso-" + hex.EncodeToString(sum[:8]), DisplayName: claims.Name, Email: claims.Email, Role: string(role)}, true, nil
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

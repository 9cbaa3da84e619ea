package identity

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// Federation exchanges tokens of our issuer for credentials of the clouds. It
// keeps none: every call signs a token, exchanges it and returns what came.
// Where requests go is the operator's to say, in Objects, and nobody else's.
type Federation struct {
	Issuer  *issuer.Issuer
	Objects objstore.Config
	// HTTP makes the requests; nil = Objects.HTTPClient().
	HTTP *http.Client
}

// asked is one exchange.
type asked struct {
	from   Connection
	job    Job
	url    objstore.URL
	access Access
	life   time.Duration

	// Probes ask for what must be refused: as another subject, for another
	// audience, or without the narrowing of the session.
	subject, audience string
	unscoped          bool
}

// session is what a cloud gave.
type session struct {
	secret  objstore.Secret
	expiry  time.Time
	tokenID string
}

// exchangeTime bounds an exchange; three requests at most.
const exchangeTime = 30 * time.Second

func (f *Federation) exchange(ctx context.Context, a asked) (session, error) {
	if err := a.from.URL.CheckScope("url"); err != nil {
		return session{}, err
	}
	if !a.url.Under(a.from.URL) {
		return session{}, rft.Errorf(rft.KindInternal, "an exchange for a place outside of its connection")
	}
	// The place itself goes into a policy too. A key that has a meaning there is
	// refused, not escaped: clouds differ in how they read escapes.
	if !a.url.ScopeSafe() {
		return session{}, rft.Errorf(rft.KindFailedPrecondition, "%s: a scoped credential cannot name a key with other characters than letters, digits and ! _ . ( ) / = + @ , -; rename the object or use a connection with a secret", a.url)
	}
	who, err := a.from.identity(a.access)
	if err != nil {
		return session{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	switch a.from.Auth {
	case AWSRole:
		return f.aws(ctx, a, who)
	case GCPWIF:
		return f.gcp(ctx, a, who)
	case AzureFederated:
		return f.azure(ctx, a, who)
	}
	return session{}, rft.Errorf(rft.KindInternal, "the connection %q has nothing to exchange", a.from.ID)
}

// token signs the token of an exchange.
func (f *Federation) token(ctx context.Context, a asked, edit func(*issuer.Claims)) (seal.Secret, string, error) {
	c := issuer.Claims{Subject: a.from.Subject(a.access), Audience: a.from.audience(),
		Account: a.from.AccountUID, Connection: a.from.UID, Job: a.job.ID, Purpose: a.job.Kind}
	if a.subject != "" {
		c.Subject = a.subject
	}
	if a.audience != "" {
		c.Audience = a.audience
	}
	if edit != nil {
		edit(&c)
	}
	return f.Issuer.Token(ctx, c)
}

func (f *Federation) client() *http.Client {
	if f.HTTP != nil {
		return f.HTTP
	}
	return f.Objects.HTTPClient()
}

// refused is the error of a cloud that did not take the token. The cause goes to
// the log: clouds name there which condition failed, and repeat no token.
func refused(from Connection, what string, cause error) error {
	return rft.Wrap(rft.KindPermissionDenied, cause, "connection %q: %s refused the token; does its trust policy name exactly what `firekeep connection get %s` shows?", from.ID, what, from.ID)
}

// unreachable is the error of a cloud that did not answer.
func unreachable(from Connection, what string, cause error) error {
	// The URL of a request may hold a token; its error says enough.
	if e, ok := errors.AsType[*url.Error](cause); ok {
		cause = e.Err
	}
	return rft.Wrap(rft.KindUnavailable, cause, "connection %q: %s does not answer", from.ID, what)
}

// status turns the HTTP status of a token service into an error.
func status(from Connection, what string, code int, cause error) error {
	if code >= 400 && code < 500 && code != http.StatusTooManyRequests && code != http.StatusRequestTimeout {
		return refused(from, what, cause)
	}
	return unreachable(from, what, cause)
}

// lasts is the end of a credential that a cloud gave: its own, or MaxLife from
// now where that is earlier.
func (a asked) lasts(now, cloud time.Time) time.Time {
	if end := now.Add(a.life); end.Before(cloud) {
		return end
	}
	return cloud
}

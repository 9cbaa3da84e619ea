package identity

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials/downscope"
	"cloud.google.com/go/auth/credentials/externalaccount"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
)

// gcpLife is the life that is asked for of a service account's token.
const gcpLife = 900

const (
	gcpSTS   = "https://sts.googleapis.com"
	gcpIAM   = "https://iamcredentials.googleapis.com"
	gcpScope = "https://www.googleapis.com/auth/devstorage.read_write"
	gcpName  = "Google"
)

// gcp exchanges a token of ours for one of the workload identity pool, that one
// for a service account's, and that one for one that is bounded to a place and
// an access. The first two live in this call only.
func (f *Federation) gcp(ctx context.Context, a asked, account string) (session, error) {
	token, id, err := f.token(ctx, a, nil)
	if err != nil {
		return session{}, err
	}
	hc := f.google()
	started := time.Now()
	source, err := externalaccount.NewCredentials(&externalaccount.Options{
		Audience: a.from.audience(), SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt", TokenURL: gcpSTS + "/v1/token",
		ServiceAccountImpersonationURL:             gcpIAM + "/v1/projects/-/serviceAccounts/" + account + ":generateAccessToken",
		ServiceAccountImpersonationLifetimeSeconds: gcpLife,
		SubjectTokenProvider:                       once{token}, Scopes: []string{gcpScope}, Client: hc, UniverseDomain: "googleapis.com"})
	if err != nil {
		return session{}, rft.Wrap(rft.KindInternal, err, "connection %q cannot be exchanged", a.from.ID)
	}
	creds := source
	if !a.unscoped {
		rule, err := boundaryRule(a.url, a.access)
		if err != nil {
			return session{}, err
		}
		creds, err = downscope.NewCredentials(&downscope.Options{Credentials: source, Rules: []downscope.AccessBoundaryRule{rule}, Client: hc, UniverseDomain: "googleapis.com"})
		if err != nil {
			return session{}, rft.Wrap(rft.KindInternal, err, "connection %q cannot be bounded", a.from.ID)
		}
	}
	got, err := creds.Token(ctx)
	if err != nil {
		return session{}, f.gcpFault(a.from, err)
	}
	secret, err := json.Marshal(objstore.GSCredential{AccessToken: got.Value})
	if err != nil || got.Value == "" {
		return session{}, rft.Errorf(rft.KindUnavailable, "connection %q: %s gave no token", a.from.ID, gcpName)
	}
	end := got.Expiry
	if end.IsZero() {
		end = started.Add(gcpLife * time.Second)
	}
	return session{secret: seal.NewSecret(string(secret)), expiry: a.lasts(started, end), tokenID: id}, nil
}

// boundaryRule is the one rule of a credential access boundary.
func boundaryRule(u objstore.URL, access Access) (downscope.AccessBoundaryRule, error) {
	expression, err := boundary(u)
	if err != nil {
		return downscope.AccessBoundaryRule{}, err
	}
	role := "inRole:roles/storage.objectViewer"
	permissions := []string{role}
	if access == Write {
		// The creator cannot replace or delete what is there; a listing shows an
		// export what it would meet.
		permissions = []string{"inRole:roles/storage.objectCreator", "inRole:roles/storage.legacyBucketReader"}
	}
	return downscope.AccessBoundaryRule{AvailableResource: "//storage.googleapis.com/projects/_/buckets/" + u.Bucket,
		AvailablePermissions: permissions, Condition: &downscope.AvailabilityCondition{Expression: expression}}, nil
}

// once gives the library the token that was signed for this exchange.
type once struct{ token seal.Secret }

func (o once) SubjectToken(context.Context, *externalaccount.RequestOptions) (string, error) {
	return o.token.Reveal(), nil
}

// gcpFault tells a refusal from an outage. Bodies of answers are left out: they
// may repeat what was sent.
func (f *Federation) gcpFault(from Connection, err error) error {
	if e, ok := errors.AsType[*answered](err); ok {
		return status(from, gcpName, e.code, e)
	}
	if e, ok := errors.AsType[*auth.Error](err); ok && e.Response != nil {
		return status(from, gcpName, e.Response.StatusCode, errors.New(e.Response.Status))
	}
	return unreachable(from, gcpName, errors.New("no token came"))
}

// answered is a refusal of a token service of Google. Its transport makes an
// error of it, because the libraries keep the status in texts only.
type answered struct {
	code  int
	place string
}

func (a *answered) Error() string { return a.place + " answered " + http.StatusText(a.code) }

// google is the client of the exchanges: it goes to the operator's endpoints
// where there are some, to no third place, and makes errors of refusals.
func (f *Federation) google() *http.Client {
	c := *f.client()
	c.Transport = &googleTransport{base: c.Transport, to: map[string]string{gcpSTS: f.Objects.GS.STSURL, gcpIAM: f.Objects.GS.IAMURL}}
	return &c
}

type googleTransport struct {
	base http.RoundTripper
	to   map[string]string // origin -> where its requests go, "" = there
}

func (t *googleTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	origin := r.URL.Scheme + "://" + r.URL.Host
	other, known := t.to[origin]
	if !known {
		return nil, errors.New("not an endpoint of the exchange")
	}
	if other != "" {
		u, err := url.Parse(strings.TrimSuffix(other, "/"))
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.URL.Scheme, r.URL.Host, r.Host = u.Scheme, u.Host, u.Host
	}
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	res, err := base.RoundTrip(r)
	if err == nil && res.StatusCode >= 300 && res.StatusCode < 500 && res.StatusCode != http.StatusTooManyRequests {
		_ = res.Body.Close()
		return nil, &answered{code: res.StatusCode, place: strings.TrimPrefix(origin, "https://")}
	}
	return res, err
}

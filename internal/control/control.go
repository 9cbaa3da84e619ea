// Package control is the set of use cases: one method per operation, which
// authorises the caller, validates the request naming the field that is wrong,
// and does one transaction with its audit row. The protocols (package server and
// those to come) are thin skins over it.
package control

import (
	"context"
	"log/slog"
	"time"

	"github.com/firekeep/firekeep/internal/audit"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/identity/issuer"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/serving"
	"github.com/firekeep/firekeep/internal/store"
)

// Uploads says what becomes of rows that come through the API.
type Uploads string

const (
	UploadsSealed  Uploads = "sealed" // kept in the home bucket under the account's key
	UploadsRefused Uploads = "refuse"
)

// Control holds what the operations work with. Its fields are set before the
// first use.
type Control struct {
	DB      *store.DB
	Keys    *authz.Keys
	Catalog *catalog.Catalog
	Jobs    *job.Service
	Router  *serving.Router
	KEK     seal.KEK          // seals connection secrets
	Tokens  *authz.Federation // verifies tokens of other issuers
	Audit   *audit.Log        // nil = the database alone keeps what was done
	Log     *slog.Logger

	Uploads Uploads
	// StrictAccelerators refuses steps that ask for an accelerator which this
	// host does not have; otherwise the job says what it ran on.
	StrictAccelerators bool
	// ManualDeployments makes chat need a deployment; otherwise a model is
	// deployed on first use.
	ManualDeployments bool
	// Shred makes everything sealed under an account's key unreadable for good; nil =
	// the server has no keys of accounts.
	Shred func(ctx context.Context, account string, act store.Act) error
	// Files says which file:// URLs the API may name.
	Files FilePolicy
	// Broker mints credentials, for probes and for what the server itself writes;
	// nil = it reaches no buckets. Objects says how they are reached.
	Broker  *identity.Broker
	Objects objstore.Config
	// Issuer signs tokens for clouds; nil = connections have secrets only.
	Issuer *issuer.Issuer
	// Clock is the time; nil = the system's.
	Clock func() time.Time

	uses deploymentUses
}

// Caller is who makes a request, and from where.
type Caller struct {
	authz.Principal
	ClientIP  string
	UserAgent string
	// decided is what Authorize found, for the audit row of the operation.
	decided *authz.Decision
	// mustLog is set when the answer waits until the operation is logged.
	mustLog *bool
}

// NewCaller is the caller of one request.
func NewCaller(p authz.Principal, clientIP, userAgent string) Caller {
	return Caller{Principal: p, ClientIP: clientIP, UserAgent: userAgent, decided: &authz.Decision{}, mustLog: new(bool)}
}

// act is the audit row of an operation.
func (c Caller) act(method, resource string, detail ...string) store.Act {
	a := store.Act{Account: c.Account, Actor: c.Name, ActorKind: c.kind(), Method: method, Resource: resource, APIKeyID: c.KeyID, ClientIP: c.ClientIP, UserAgent: c.UserAgent}
	if c.Account != "" {
		a.ActorID = userName(c.Account, c.User)
	}
	if c.decided != nil && c.decided.Policy != "" {
		a.Decision, a.Policy = c.decided.String(), c.decided.Policy
	}
	for i := 0; i+1 < len(detail); i += 2 {
		if a.Detail == nil {
			a.Detail = map[string]string{}
		}
		a.Detail[detail[i]] = detail[i+1]
	}
	return a
}

// kind is what the audit log calls the caller.
func (c Caller) kind() string {
	switch {
	case c.Role == authz.Operator:
		return store.ActorOperator
	case c.KeyKind == store.KeyWorkload:
		return store.ActorWorkload
	case c.Service:
		return store.ActorServiceAccount
	}
	return store.ActorUser
}

// allow authorises an operation on a resource that need not be read first.
func (c *Control) allow(ctx context.Context, who Caller, action authz.Action, account, name string) error {
	return c.allowOwned(ctx, who, action, account, name, "")
}

// allowOwned is allow for actions that some roles may do to their own only.
func (c *Control) allowOwned(ctx context.Context, who Caller, action authz.Action, account, name, owner string) error {
	return c.authorize(ctx, who, action, authz.Resource{Account: account, Name: name, Owner: owner})
}

// authorize asks for the decision and keeps it for the audit row. A refusal
// within the account is audited; a foreign name is not, it would name another
// tenant's resource. A foreign name costs the same query as one that is not
// there, so that not even the time tells them apart.
func (c *Control) authorize(ctx context.Context, who Caller, action authz.Action, r authz.Resource) error {
	decision, err := authz.Authorize(ctx, who.Principal, action, r)
	if who.decided != nil {
		*who.decided = decision
	}
	switch rft.KindOf(err) {
	case rft.KindPermissionDenied:
		if e := c.DB.Record(ctx, who.act(string(action), r.Name), err); e != nil {
			return e
		}
	case rft.KindNotFound:
		if e := c.lookNowhere(ctx, action, r.Name); e != nil {
			return e
		}
	case "":
		return c.mayLog(who, action)
	}
	return err
}

// now is the clock of expiries and of the upkeep.
func (c *Control) now() time.Time {
	if c.Clock != nil {
		return c.Clock().UTC()
	}
	return time.Now().UTC()
}

// Package control is the set of use cases: one method per operation, which
// authorises the caller, validates the request naming the field that is wrong,
// and does one transaction with its audit row. The protocols (package server and
// those to come) are thin skins over it.
package control

import (
	"context"
	"log/slog"
	"time"

	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/job"
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
	KEK     seal.KEK // seals connection secrets
	Log     *slog.Logger

	Uploads Uploads
	// StrictAccelerators refuses steps that ask for an accelerator which this
	// host does not have; otherwise the job says what it ran on.
	StrictAccelerators bool
	// ManualDeployments makes chat need a deployment; otherwise a model is
	// deployed on first use.
	ManualDeployments bool
	// Files says which file:// URLs the API may name.
	Files FilePolicy
}

// Caller is who makes a request, and from where.
type Caller struct {
	authz.Principal
	ClientIP  string
	UserAgent string
}

// act is the audit row of an operation.
func (c Caller) act(method, resource string, detail ...string) store.Act {
	a := store.Act{Account: c.Account, Actor: c.Name, Method: method, Resource: resource, APIKeyID: c.KeyID, ClientIP: c.ClientIP, UserAgent: c.UserAgent}
	for i := 0; i+1 < len(detail); i += 2 {
		if a.Detail == nil {
			a.Detail = map[string]string{}
		}
		a.Detail[detail[i]] = detail[i+1]
	}
	return a
}

// allow authorises an operation on a resource that need not be read first.
func (c *Control) allow(ctx context.Context, who Caller, action authz.Action, account, name string) error {
	return c.allowOwned(ctx, who, action, account, name, "")
}

// allowOwned is allow for actions that some roles may do to their own only. A
// refusal within the account is audited; a foreign name is not, it would name
// another tenant's resource.
func (c *Control) allowOwned(ctx context.Context, who Caller, action authz.Action, account, name, owner string) error {
	err := authz.Authorize(ctx, who.Principal, action, authz.Resource{Account: account, Name: name, Owner: owner})
	if rft.KindOf(err) == rft.KindPermissionDenied {
		if e := c.DB.Record(ctx, who.act(string(action), name), err); e != nil {
			return e
		}
	}
	return err
}

// now is the clock of expiries.
func (c *Control) now() time.Time { return time.Now().UTC() }

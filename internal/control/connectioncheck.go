package control

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// secretAge is when a secret is called old.
const secretAge = 90 * 24 * time.Hour

// CheckConnection probes what a connection can do and what it must not, and
// keeps the verdict.
func (c *Control) CheckConnection(ctx context.Context, who Caller, account, id string) (*api.ConnectionCheck, error) {
	name := connectionName(account, id)
	if err := c.allow(ctx, who, authz.CheckConnection, account, name); err != nil {
		return nil, err
	}
	row, err := c.DB.Connection(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if c.Broker == nil {
		return nil, rft.Errorf(rft.KindUnimplemented, "this server reaches no buckets")
	}
	row, report, err := c.probe(ctx, row, who.act("CheckConnection", name))
	if err != nil {
		return nil, err
	}
	w, err := c.wireTrust(ctx, row)
	if err != nil {
		return nil, err
	}
	out := &api.ConnectionCheck{Connection: *w, Findings: []api.ConnectionFinding{}}
	for _, f := range report.Findings {
		out.Findings = append(out.Findings, api.ConnectionFinding{Check: f.Check, Passed: f.Passed, Got: f.Got, TooWide: f.TooWide})
	}
	return out, nil
}

// probeTime bounds the probing of one connection, firstTime the first.
const (
	probeTime = 2 * time.Minute
	firstTime = 15 * time.Second
)

// probe probes a connection and stores the verdict.
func (c *Control) probe(ctx context.Context, row store.Connection, act store.Act) (store.Connection, identity.Report, error) {
	conn, err := catalog.BrokerConnection(ctx, c.DB, row)
	if err != nil {
		return row, identity.Report{}, err
	}
	limit := probeTime
	if row.Checked.IsZero() && row.Auth == string(identity.Secret) {
		limit = firstTime // somebody waits for the answer to a create
	}
	probing, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	conf := c.Objects
	conf.Retries = 1
	report := c.Broker.Probe(probing, conn, conf)
	if err := ctx.Err(); err != nil { // the caller left: that is no verdict
		return row, report, rft.Wrap(rft.KindCancelled, err, "the check was cancelled")
	}
	if act.Detail == nil {
		act.Detail = map[string]string{}
	}
	act.Detail["state"] = report.State
	made, err := c.DB.UpdateConnection(ctx, row.Account, row.ID, act, func(now *store.Connection) error {
		if now.UID != row.UID {
			return rft.Errorf(rft.KindAborted, "the connection was deleted and made anew meanwhile")
		}
		now.Status = store.Status{Code: report.Code, Message: report.Message}
		if report.State == store.ConnectionFailed && now.State == store.ConnectionReady && passing(report.Code) {
			return nil // an outage says nothing about the connection; the next round asks again
		}
		now.State, now.Checked = report.State, c.now()
		return nil
	})
	return made, report, err
}

// passing reports whether a failure ends by itself.
func passing(code string) bool {
	switch rft.Kind(code) {
	case rft.KindUnavailable, rft.KindDeadlineExceeded, rft.KindCancelled, rft.KindResourceExhausted:
		return true
	}
	return false
}

// RotateConnection replaces the secret of a connection; the old one is
// forgotten, and is to be revoked where it was made.
func (c *Control) RotateConnection(ctx context.Context, who Caller, account, id string, secret map[string]any) (*api.Connection, error) {
	name := connectionName(account, id)
	if err := c.allow(ctx, who, authz.RotateConnection, account, name); err != nil {
		return nil, err
	}
	row, err := c.DB.Connection(ctx, account, id)
	if err != nil {
		return nil, err
	}
	if row.Auth != string(identity.Secret) {
		return nil, rft.Errorf(rft.KindFailedPrecondition, "%s has no secret: its tokens last minutes; `firekeep issuer rotate` changes the key that signs them", name)
	}
	u, err := connectionURL(row.URLPrefix)
	if err != nil {
		return nil, err
	}
	fresh, err := connectionSecret(u.Scheme, secret)
	if err != nil {
		return nil, err
	}
	sealed, err := identity.SealSecret(c.Catalog.Keys().Sealer(account), account, id, u, fresh)
	if err != nil {
		return nil, err
	}
	row, err = c.DB.UpdateConnection(ctx, account, id, who.act("RotateConnection", name), func(now *store.Connection) error {
		if now.UID != row.UID {
			return rft.Errorf(rft.KindAborted, "the connection was deleted and made anew meanwhile")
		}
		now.Sealed, now.Rotated = sealed, c.now()
		return nil
	})
	if err == nil && c.Broker != nil {
		row, _, err = c.probe(ctx, row, who.act("CheckConnection", name))
	}
	if err != nil {
		return nil, err
	}
	return c.wireTrust(ctx, row)
}

// StepCredentials lists the storage credentials that were minted for a step.
func (c *Control) StepCredentials(ctx context.Context, who Caller, account, id string) (*api.MintedCredentialList, error) {
	if err := c.allow(ctx, who, authz.StepCredentials, account, stepName(account, id)); err != nil {
		return nil, err
	}
	j, err := c.DB.Job(ctx, account, store.JobStep, id)
	if err != nil {
		return nil, err
	}
	all, err := c.DB.JobCredentials(ctx, account, j.UID)
	if err != nil {
		return nil, err
	}
	steps, err := c.Jobs.Steps(ctx, j, stepsShown) // what a trainer reads, its steps read
	if err != nil {
		return nil, err
	}
	for _, s := range steps {
		of, err := c.DB.JobCredentials(ctx, account, s.UID)
		if err != nil {
			return nil, err
		}
		all = append(all, of...)
	}
	now := c.now()
	return &api.MintedCredentialList{Credentials: items(all, func(m store.Mint) api.MintedCredential {
		return api.MintedCredential{ID: m.ID, Connection: m.Connection, Auth: m.Auth, Scope: m.URLPrefix, Access: m.Access,
			MintTime: api.At(m.Minted), ExpireTime: api.At(m.Expires), DropTime: api.At(m.Dropped), State: m.State(now)}
	})}, nil
}

// wireConnection shows a row.
func (c *Control) wireConnection(r store.Connection) api.Connection {
	w := api.Connection{Name: connectionName(r.Account, r.ID), DisplayName: r.DisplayName, URL: r.URLPrefix, Auth: r.Auth, CreateTime: api.At(r.Created),
		CreatedBy: r.CreatedBy, State: r.State, Status: wireStatus(r.Status), CheckTime: api.At(r.Checked)}
	if r.Auth == string(identity.Secret) {
		set := r.Created
		if !r.Rotated.IsZero() {
			set = r.Rotated
		}
		w.SecretSetTime = api.At(set)
		if age := c.now().Sub(set); age > secretAge {
			w.Warnings = append(w.Warnings, fmt.Sprintf("the secret is %d days old; make a new one and run `firekeep connection rotate %s`", int(age.Hours()/24), r.ID))
		}
	}
	o, err := identity.ParseOptions(r.Options)
	if err != nil {
		w.Warnings = append(w.Warnings, rft.PublicMessage(err))
		return w
	}
	w.AWS, w.GCP, w.Azure = (*api.AWSRoles)(o.AWS), (*api.GCPPool)(o.GCP), (*api.AzureApps)(o.Azure)
	if !o.Encryption.IsZero() {
		e := api.Encryption(o.Encryption)
		w.Encryption = &e
	}
	return w
}

// wireTrust shows a row and what its other side must say.
func (c *Control) wireTrust(ctx context.Context, r store.Connection) (*api.Connection, error) {
	w := c.wireConnection(r)
	if !identity.Auth(r.Auth).Federated() || c.Issuer == nil {
		return &w, nil
	}
	conn, err := catalog.BrokerConnection(ctx, c.DB, r)
	if err != nil {
		return nil, err
	}
	t := conn.Trust(c.Issuer.URL)
	w.Trust = &api.BucketTrust{Issuer: t.Issuer, Audience: t.Audience, ReadSubject: t.Subjects[identity.Read], WriteSubject: t.Subjects[identity.Write],
		Proof: t.Proof, Outside: t.Outside, Steps: items(t.Steps, func(s identity.Step) api.TrustStep { return api.TrustStep{Title: s.Title, Text: s.Text} })}
	return &w, nil
}

// Times of the upkeep of connections.
const (
	probeEvery  = 24 * time.Hour
	upkeepEvery = 10 * time.Minute
	keepRecords = 90 * 24 * time.Hour
	probesAtOne = 100 // connections per round
)

// KeepConnections re-probes connections each day, keeps the issuer's keys and
// forgets old records, until ctx ends. The clock is the store's and the
// issuer's; tick wakes it, nil = every ten minutes.
func (c *Control) KeepConnections(ctx context.Context, tick <-chan time.Time) {
	if tick == nil {
		t := time.NewTicker(upkeepEvery)
		defer t.Stop()
		tick = t.C
	}
	for {
		if err := c.upkeep(ctx); err != nil && ctx.Err() == nil {
			c.Log.WarnContext(ctx, "the upkeep of connections failed", slog.String("message", rft.PublicMessage(err)), slog.Any("cause", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
	}
}

// upkeep is one round.
func (c *Control) upkeep(ctx context.Context) error {
	if c.Issuer != nil {
		if err := c.Issuer.Maintain(ctx); err != nil {
			return err
		}
	}
	now := c.now()
	if err := c.DB.ForgetCredentials(ctx, now.Add(-keepRecords)); err != nil {
		return err
	}
	if c.Broker == nil {
		return nil
	}
	due, err := c.DB.UncheckedConnections(ctx, now.Add(-probeEvery), probesAtOne)
	if err != nil {
		return err
	}
	for _, row := range due {
		name := connectionName(row.Account, row.ID)
		after, report, err := c.probe(ctx, row, store.Act{Account: row.Account, Actor: "firekeep", Method: "CheckConnection", Resource: name})
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil && rft.KindOf(err) != rft.KindNotFound && rft.KindOf(err) != rft.KindAborted {
			return err
		}
		if err == nil && after.State != row.State {
			c.Log.WarnContext(ctx, "a connection changed its state", slog.String("connection", name), slog.String("state", report.State), slog.String("message", report.Message))
		}
	}
	return nil
}

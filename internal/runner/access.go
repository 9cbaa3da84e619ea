package runner

import (
	"context"
	"errors"

	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
)

// to returns a bucket under a credential for this job, one prefix and one kind
// of access. The credential is minted (and audited) at first use, and again
// before it expires while the job holds its lease.
func (a *attempt) to(prefix objstore.URL, access identity.Access) objstore.Bucket {
	j := identity.Job{Account: a.job.Account, Kind: purpose(a.job.Kind), ID: a.job.UID}
	b := identity.Renewing(a.Identity, a.Objects, j, prefix, access, a.stillLeased)
	a.mu.Lock()
	a.buckets = append(a.buckets, b)
	a.mu.Unlock()
	return b
}

// stillLeased is asked before each minting.
func (a *attempt) stillLeased() error {
	if a.lease.Lost() {
		return context.Cause(a.ctx)
	}
	return nil
}

// closeAccess closes the buckets of the attempt.
func (a *attempt) closeAccess() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, b := range a.buckets {
		b.Close() // nothing is lost with a connection
	}
}

// find returns what a URL names: one object, or what lies under a prefix in the
// order of names. Empty objects are left out; more than limit are refused.
func (a *attempt) find(b objstore.Bucket, u objstore.URL, limit int) ([]objstore.Info, error) {
	if !u.IsPrefix() {
		i, err := b.Stat(a.ctx, u.Key)
		if rft.KindOf(err) == rft.KindNotFound && a.holds(u) {
			err = rft.Wrap(rft.KindInvalidArgument, err, "%s is no object but a prefix of objects; a prefix ends in \"/\": %s/", u, u)
		}
		return []objstore.Info{i}, err
	}
	var out []objstore.Info
	err := b.List(a.ctx, u.Key, "", func(i objstore.Info) error {
		if i.Pin.Size == 0 {
			return nil
		}
		if len(out) >= limit {
			return rft.Errorf(rft.KindInvalidArgument, "%s holds more than %d objects", u, limit)
		}
		out = append(out, i)
		return nil
	})
	return out, err
}

// holds reports whether objects lie below what was taken for an object.
func (a *attempt) holds(u objstore.URL) bool {
	u.Key += "/" // its own credential: that of an object reads nothing else
	found := false
	_ = a.to(u, identity.Read).List(a.ctx, u.Key, "", func(objstore.Info) error { // who may not list is told what Stat said
		found = true
		return context.Canceled // one is enough
	})
	return found
}

// changed says of a failed read of a pinned object which object it was.
func changed(err error, key string) error {
	if errors.Is(err, objstore.ErrChanged) {
		return rft.Wrap(rft.KindFailedPrecondition, err, "object %q is not the one that was registered any more: it was changed or replaced; register the dataset again", key)
	}
	return err
}

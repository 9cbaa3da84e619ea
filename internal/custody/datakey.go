package custody

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// Seal draws the data key of a new artefact and wraps it under the account's
// current key.
func (k *Keys) Seal(ctx context.Context, account, artefact string) (*seal.DataKey, []byte, error) {
	row, err := k.current(ctx, account)
	if err != nil {
		return nil, nil, err
	}
	key, err := seal.NewDataKey()
	if err != nil {
		return nil, nil, rft.Wrap(rft.KindInternal, err, "no data key can be made")
	}
	envelope, err := k.wrap(ctx, row, key, artefact)
	if err != nil {
		return nil, nil, err
	}
	return key, envelope, nil
}

// wrap puts a data key into an envelope under row's key.
func (k *Keys) wrap(ctx context.Context, row store.AccountKey, key *seal.DataKey, artefact string) ([]byte, error) {
	if err := k.usable(row); err != nil {
		return nil, err
	}
	w, err := k.wrapper(row)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, k.Patience)
	defer cancel()
	e, err := key.Wrap(ctx, w, row.UID, seal.Binding{Account: row.AccountUID, Artefact: artefact})
	if err != nil {
		return nil, k.failure(row, err)
	}
	return e.Bytes(), nil
}

// Open unwraps the data key of an artefact. It is kept for Life at most.
func (k *Keys) Open(ctx context.Context, account, artefact string, envelope []byte) (*seal.DataKey, error) {
	if err := k.Check(ctx, account); err != nil {
		return nil, err
	}
	c, id := k.of(account), artefact+"\x00"+string(envelope)
	c.mu.Lock()
	have, ok := c.opened[id]
	c.mu.Unlock()
	if now := k.Now(); ok && now.Before(have.until) {
		return have.key, nil
	}
	key, err := k.unwrap(ctx, account, artefact, envelope, true)
	if err != nil {
		return nil, err
	}
	k.keep(c, id, key)
	return key, nil
}

// keep remembers an unwrapped data key, and forgets those that are too old.
func (k *Keys) keep(c *custodian, id string, key *seal.DataKey) {
	now := k.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, o := range c.opened {
		if !now.Before(o.until) {
			delete(c.opened, other)
		}
	}
	c.opened[id] = opened{key: key, until: now.Add(k.Life)}
}

// unwrap opens an envelope with the key that it names, which must be one of the
// account's.
func (k *Keys) unwrap(ctx context.Context, account, artefact string, envelope []byte, audited bool) (*seal.DataKey, error) {
	e, rest, err := seal.ParseEnvelope(envelope)
	if err != nil || len(rest) > 0 {
		return nil, rft.Errorf(rft.KindDataLoss, "the envelope of %s is damaged", artefact)
	}
	row, err := k.DB.AccountKey(ctx, account, e.KeyID)
	if rft.KindOf(err) == rft.KindNotFound {
		return nil, rft.Wrap(rft.KindDataLoss, err, "the envelope of %s names a key that its account does not have", artefact)
	}
	if err != nil {
		return nil, err
	}
	key, err := k.unwrapWith(ctx, row, artefact, e)
	if audited {
		if e := k.record(ctx, row, artefact, err); e != nil && err == nil {
			return nil, e
		}
	}
	return key, err
}

func (k *Keys) unwrapWith(ctx context.Context, row store.AccountKey, artefact string, e seal.Envelope) (*seal.DataKey, error) {
	if err := k.usable(row); err != nil {
		return nil, err
	}
	w, err := k.wrapper(row)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, k.Patience)
	defer cancel()
	key, err := e.Unwrap(ctx, w, seal.Binding{Account: row.AccountUID, Artefact: artefact})
	if err != nil {
		return nil, k.failure(row, err)
	}
	return key, nil
}

// Rewrap returns the envelope anew, under the account's current key and its
// newest version. The data key in it stays.
func (k *Keys) Rewrap(ctx context.Context, account, artefact string, envelope []byte) ([]byte, error) {
	row, err := k.current(ctx, account)
	if err != nil {
		return nil, err
	}
	key, err := k.unwrap(ctx, account, artefact, envelope, false)
	if err != nil {
		return nil, err
	}
	return k.wrap(ctx, row, key, artefact)
}

// proofOf is what the proof of a key is bound to; no artefact has this name.
func proofOf(row store.AccountKey) string { return "proof of key " + row.UID }

// Check reports whether the account's key may be used. It asks the key itself
// when its last proof is older than a fifth of Life; while its service does not
// answer, a proof counts for Life. A key that is lost is told to its holders
// behind the caller's back, who may be one of them.
func (k *Keys) Check(ctx context.Context, account string) error {
	lost, err := k.check(ctx, account)
	if lost {
		k.losing.Go(func() { k.lose(account, err) })
	}
	return err
}

// check also says whether what was opened with the key must go.
func (k *Keys) check(ctx context.Context, account string) (lost bool, err error) {
	c := k.of(account)
	if k.fresh(c, k.Life/5) {
		return false, nil
	}
	c.proving.Lock()
	defer c.proving.Unlock()
	if k.fresh(c, k.Life/5) {
		return false, nil
	}
	err = k.prove(ctx, account)
	switch {
	case err == nil:
		c.mu.Lock()
		c.proven = k.Now()
		c.mu.Unlock()
		return false, nil
	case rft.KindOf(err) == rft.KindCancelled:
		return false, err
	case IsRefusal(err), rft.KindOf(err) == rft.KindDataLoss, !k.fresh(c, k.Life):
		return true, err
	case IsOutage(err):
		return false, nil
	}
	return false, err
}

// fresh reports whether the last proof is younger than d.
func (k *Keys) fresh(c *custodian, d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	age := k.Now().Sub(c.proven)
	return !c.proven.IsZero() && age >= 0 && age < d
}

// prove lets the account's current key open its proof.
func (k *Keys) prove(ctx context.Context, account string) error {
	row, err := k.current(ctx, account)
	if err != nil {
		return err
	}
	if err := k.usable(row); err != nil {
		return err
	}
	e, _, err := seal.ParseEnvelope(row.Proof)
	if err != nil {
		return rft.Wrap(rft.KindDataLoss, err, "the proof of %s is damaged", k.name(row))
	}
	_, err = k.unwrapWith(ctx, row, proofOf(row), e)
	return err
}

// CheckAccount is Check by the account's name.
func (k *Keys) CheckAccount(ctx context.Context, id string) error {
	a, err := k.DB.Account(ctx, id)
	if err != nil {
		return err
	}
	return k.Check(ctx, a.UID)
}

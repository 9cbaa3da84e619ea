// Package custody keeps the key-encryption keys of accounts: which key an
// account has, in a local file or in a key management service, what state it is
// in, and who holds something in memory that one of them opened.
//
// Everything of an account that Firekeep keeps is sealed under a data key of its
// own, and that is wrapped by the account's key. Whoever disables the key, here
// or at its service, makes all of it useless: an unwrapped data key is kept for
// Life at most, and whoever holds plaintext in memory holds a Hold, which is lost
// when the key cannot be shown to serve for so long.
package custody

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// MaxLife bounds how long an unwrapped data key is kept, and how long a key's
// last proof counts.
const MaxLife = 5 * time.Minute

// Recorder is the audit log: it returns when the act is logged.
type Recorder interface {
	Record(ctx context.Context, act store.Act, result string) (index int64, err error)
}

// Services opens keys of key management services; *kms.Config is the one.
type Services interface {
	// Check validates what a user asked for; errors name the field.
	Check(kind string, settings []byte, credential seal.Secret) error
	// Open returns the key; it does not reach out.
	Open(kind string, settings []byte, credential seal.Secret) (seal.Wrapper, error)
	// Describe names the key for people: "aws-kms arn:aws:kms:...".
	Describe(kind string, settings []byte) string
}

// Config is what Keys works with.
type Config struct {
	DB *store.DB
	// Dir holds the keyring files of local keys, one per account.
	Dir string
	// Host is the key of this installation: it seals the credentials of
	// services, and opens what homes of the first format hold.
	Host     seal.KEK
	Services Services // nil = local keys only
	Audit    Recorder // nil = none
	Log      *slog.Logger
	Now      func() time.Time // nil = time.Now
	// Life of an unwrapped key and of a proof; 0 or more than MaxLife = MaxLife.
	Life time.Duration
	// Patience is how long one call of a service may take; 0 = 10 s.
	Patience time.Duration
}

// Keys is the keys of all accounts. It is safe for concurrent use.
type Keys struct {
	Config

	mu       sync.Mutex
	accounts map[string]*custodian // by the account's UID

	losing sync.WaitGroup // of holders that are being told
}

// New returns Keys.
func New(c Config) *Keys {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Life <= 0 || c.Life > MaxLife {
		c.Life = MaxLife
	}
	if c.Patience <= 0 {
		c.Patience = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Keys{Config: c, accounts: map[string]*custodian{}}
}

// custodian is what is in memory of one account's keys.
type custodian struct {
	proving sync.Mutex // one proof at a time

	mu     sync.Mutex
	proven time.Time         // when the current key last proved itself
	opened map[string]opened // unwrapped data keys, by artefact and envelope
	holds  []*hold
	// wrappers are the clients of services, by key: they keep tokens and connections.
	wrappers map[string]seal.Wrapper
}

// opened is an unwrapped data key.
type opened struct {
	key   *seal.DataKey
	until time.Time
}

func (k *Keys) of(account string) *custodian {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.accounts[account]
	if c == nil {
		c = &custodian{opened: map[string]opened{}, wrappers: map[string]seal.Wrapper{}}
		k.accounts[account] = c
	}
	return c
}

// Outage is the cause of every UNAVAILABLE error that means: the key's service
// does not answer. What failed by it has lost nothing and may be tried again.
type Outage struct{ Cause error }

func (o *Outage) Error() string { return "the key's service does not answer" }
func (o *Outage) Unwrap() error { return o.Cause }

// Is makes an Outage the one that package seal knows.
func (o *Outage) Is(other error) bool { return other == seal.ErrUnreachable }

// Refusal is the cause of every error that means: the key's owner does not let
// it be used.
type Refusal struct{ Cause error }

func (r *Refusal) Error() string { return "the key is disabled or gone" }
func (r *Refusal) Unwrap() error { return r.Cause }

// Is makes a Refusal the one that package seal knows.
func (r *Refusal) Is(other error) bool { return other == seal.ErrRefused }

// IsRefusal and IsOutage look for the two causes.
func IsRefusal(err error) bool { _, ok := errors.AsType[*Refusal](err); return ok }

// IsOutage is IsRefusal's other.
func IsOutage(err error) bool { _, ok := errors.AsType[*Outage](err); return ok }

// failure gives an error of using key row its kind; the message names the key.
func (k *Keys) failure(row store.AccountKey, err error) error {
	var known *rft.Error
	switch seal.ErrorKey(err) {
	case seal.ErrRefused:
		return rft.Wrap(rft.KindFailedPrecondition, &Refusal{err}, "%s refuses to be used: it is disabled or gone, or access to it was withdrawn", k.name(row))
	case seal.ErrDamaged:
		return rft.Wrap(rft.KindDataLoss, err, "a data key does not open with %s: it was changed, or belongs to another account or artefact", k.name(row))
	case seal.ErrUnreachable:
		return rft.Wrap(rft.KindUnavailable, &Outage{err}, "%s cannot be reached; nothing is lost, try again", k.name(row))
	}
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled):
		return rft.Wrap(rft.KindCancelled, err, "cancelled while waiting for %s", k.name(row))
	}
	return rft.Wrap(rft.KindUnavailable, &Outage{err}, "%s cannot be reached; nothing is lost, try again", k.name(row))
}

// name is how errors call a key.
func (k *Keys) name(row store.AccountKey) string {
	what := row.Kind + " key " + row.UID
	if row.Kind != KindLocal && k.Services != nil {
		what = k.Services.Describe(row.Kind, row.Settings)
	}
	return fmt.Sprintf("the key of %s (%s)", rft.AccountName(row.Account), what)
}

// usable refuses a key that was disabled or destroyed here.
func (k *Keys) usable(row store.AccountKey) error {
	switch row.State {
	case store.KeyEnabled:
		return nil
	case store.KeyShredded:
		return rft.Wrap(rft.KindFailedPrecondition, &Refusal{}, "%s was destroyed; what it sealed is gone for good", k.name(row))
	}
	return rft.Wrap(rft.KindFailedPrecondition, &Refusal{}, "%s is disabled; an admin brings it back with `firekeep kek enable`", k.name(row))
}

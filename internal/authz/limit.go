package authz

import (
	"math"
	"time"

	"github.com/firekeep/firekeep/internal/store"
)

// Limits bound what one account takes of the server; 0 = no limit.
type Limits struct {
	RequestsPerSecond int64
	QueuedJobs        int64 // jobs that wait or run
	ConcurrentSteps   int64
	StorageBytes      int64 // checkpoints, prepared bases and uploaded rows
}

// Ids of the quotas, as the API shows them.
const (
	QuotaRequests = "requests-per-second"
	QuotaJobs     = "queued-jobs"
	QuotaSteps    = store.QuotaSteps
	QuotaStorage  = "storage-bytes"
)

// Quotas lists the ids.
func Quotas() []string { return []string{QuotaRequests, QuotaJobs, QuotaSteps, QuotaStorage} }

// Of is the limit of a quota.
func (l Limits) Of(id string) int64 {
	switch id {
	case QuotaRequests:
		return l.RequestsPerSecond
	case QuotaJobs:
		return l.QueuedJobs
	case QuotaSteps:
		return l.ConcurrentSteps
	case QuotaStorage:
		return l.StorageBytes
	}
	return 0
}

// with replaces the defaults by what was set for an account.
func (l Limits) with(set map[string]store.Quota) Limits {
	pick := func(id string) int64 {
		if n := set[id].Effective(); n > 0 {
			return n
		}
		return l.Of(id)
	}
	return Limits{RequestsPerSecond: pick(QuotaRequests), QueuedJobs: pick(QuotaJobs), ConcurrentSteps: pick(QuotaSteps), StorageBytes: pick(QuotaStorage)}
}

// LimitsOf are the limits in force for an account.
func (k *Keys) LimitsOf(a store.Account) Limits { return k.Defaults.with(a.Quotas) }

// bucket holds the requests that an account may still make: it fills at the
// account's rate and holds two seconds' worth, so that a burst passes and a flood
// does not.
type bucket struct {
	tokens float64
	last   time.Time
}

// Burst is how many seconds' worth of requests may come at once.
const burst = 2

// maxBuckets bounds the accounts that are remembered; full buckets are forgotten
// first, which changes nothing for them.
const maxBuckets = 10_000

// Admit takes one request from the account's bucket. Otherwise it says after
// which time the next one will pass. Accounts do not share a bucket: a flood of
// one costs the others nothing.
func (k *Keys) Admit(p Principal, now time.Time) (after time.Duration, ok bool) {
	rate := float64(p.Limits.RequestsPerSecond)
	if rate <= 0 {
		return 0, true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.buckets == nil {
		k.buckets = map[string]*bucket{}
	}
	b := k.buckets[p.Account]
	if b == nil {
		if len(k.buckets) >= maxBuckets {
			k.forgetIdle(now)
		}
		b = &bucket{tokens: rate * burst, last: now}
		k.buckets[p.Account] = b
	}
	b.tokens = math.Min(rate*burst, b.tokens+rate*max(0, now.Sub(b.last).Seconds()))
	b.last = now
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) / rate * float64(time.Second)), false
	}
	b.tokens--
	return 0, true
}

// Room is how many requests the account of p may make at once, how many of them it
// still may after those that Admit saw, and after which time all of them again; ok
// is false for an account without a limit.
func (k *Keys) Room(p Principal) (limit, left int64, full time.Duration, ok bool) {
	rate := float64(p.Limits.RequestsPerSecond)
	if rate <= 0 {
		return 0, 0, 0, false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	tokens := rate * burst
	if b := k.buckets[p.Account]; b != nil {
		tokens = b.tokens
	}
	return p.Limits.RequestsPerSecond * burst, int64(tokens), time.Duration((rate*burst - tokens) / rate * float64(time.Second)), true
}

func (k *Keys) forgetIdle(now time.Time) {
	for account, b := range k.buckets {
		if now.Sub(b.last) > burst*time.Second {
			delete(k.buckets, account)
		}
	}
}

package custody

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// hold is somebody's plaintext in memory.
type hold struct {
	stage Stage
	lost  func(error)
}

// Stage orders what happens when a key is lost.
type Stage int

const (
	Children Stage = iota // processes that work with plaintext end first
	Memory                // then what they mapped is given back
)

// Hold says that the caller has something in memory that a key of the account
// opened: a child that maps weights, an adapter, rows. When the key cannot be
// shown to serve any more, lost is called with the reason, those of Children
// first, and must not return before the plaintext is gone. Release ends the hold.
func (k *Keys) Hold(account string, s Stage, lost func(reason error)) (release func()) {
	c, h := k.of(account), &hold{s, lost}
	c.mu.Lock()
	c.holds = append(c.holds, h)
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.holds = slices.DeleteFunc(c.holds, func(o *hold) bool { return o == h })
	}
}

// lose forgets every data key of an account and ends what is held of it.
func (k *Keys) lose(account string, reason error) {
	c := k.of(account)
	c.mu.Lock()
	clear(c.opened)
	clear(c.wrappers)
	c.proven = time.Time{}
	holds := c.holds
	c.holds = nil
	c.mu.Unlock()
	if len(holds) > 0 {
		k.Log.Warn("an account's key is lost: what it opened is being closed", slog.Int("holds", len(holds)), slog.Any("reason", reason))
	}
	for _, s := range []Stage{Children, Memory} {
		var stage sync.WaitGroup
		for _, h := range holds {
			if h.stage == s {
				stage.Go(func() { h.lost(reason) })
			}
		}
		stage.Wait()
	}
}

// Run checks the keys of all holders until ctx ends. One of them that is
// disabled at its service is noticed within Life.
func (k *Keys) Run(ctx context.Context) {
	t := time.NewTicker(max(k.Life/10, time.Second))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			k.losing.Wait()
			return
		case <-t.C:
			k.CheckHolds(ctx)
		}
	}
}

// CheckHolds checks the key of every account that somebody holds something of;
// those accounts whose key does not serve lose their holds.
func (k *Keys) CheckHolds(ctx context.Context) {
	k.mu.Lock()
	var held []string
	for account, c := range k.accounts {
		c.mu.Lock()
		if len(c.holds) > 0 {
			held = append(held, account)
		}
		c.mu.Unlock()
	}
	k.mu.Unlock()
	var all sync.WaitGroup
	for _, account := range held {
		all.Go(func() {
			if lost, err := k.check(ctx, account); lost {
				k.lose(account, err)
			}
		})
	}
	all.Wait()
}

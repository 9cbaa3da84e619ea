package cli

import (
	"fmt"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

// pollEvery is how often the CLI asks for the state of something.
const pollEvery = 200 * time.Millisecond

// live is the progress of what a command waits for. A terminal has one line that
// is redrawn; elsewhere a line is printed when there is something new to say.
// With --json there is none.
type live struct {
	a    *app
	last string
}

// show says how things are. news is what a new line is for; the line may also
// hold what changes all the time.
func (l *live) show(news, line string) {
	a := l.a
	switch {
	case a.json:
	case a.Terminal:
		fmt.Fprintf(a.rawErr, "\r\x1b[K%s", cut(oneLine(line), a.columns()-1))
	case news != l.last:
		fmt.Fprintln(a.Stderr, oneLine(line))
	}
	l.last = news
}

// end takes the line of a terminal away.
func (l *live) end() {
	if l.a.Terminal && !l.a.json {
		fmt.Fprint(l.a.rawErr, "\r\x1b[K")
	}
}

// pause waits, or fails when the command was interrupted.
func (a *app) pause(d time.Duration) error {
	select {
	case <-a.ctx.Done():
		return rft.Errorf(rft.KindCancelled, "interrupted; the server goes on")
	case <-time.After(d):
		return nil
	}
}

// patience is how long a command that waits outlasts a server that does not
// answer: it may be starting again.
const patience = 10 * time.Minute

// follower asks a server again and again, also across its restart.
type follower struct {
	*live
	silent time.Time // since when the server has not answered; zero = it does
}

func (a *app) follow() *follower { return &follower{live: &live{a: a}} }

// again reports whether a question that failed should be asked once more, after a
// pause; otherwise the error is the command's.
func (f *follower) again(err error) (bool, error) {
	switch kindOf(err) {
	case rft.KindUnavailable, rft.KindDeadlineExceeded, rft.KindResourceExhausted:
	default:
		return false, err
	}
	if f.a.ctx.Err() != nil {
		return false, err
	}
	if f.silent.IsZero() {
		f.silent = time.Now()
	}
	if time.Since(f.silent) > patience {
		return false, err
	}
	f.show("silent", "the server does not answer; asking again")
	if e := f.a.pause(time.Second); e != nil {
		return false, e
	}
	return true, nil
}

// answered notes that the server is there.
func (f *follower) answered() { f.silent = time.Time{} }

package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

// A log is what happened to a job: states, warnings, resume points and one line for
// each optimiser batch.
type (
	stepLogsCmd struct {
		ID string `arg:"" help:"The step." complete:"steps"`
		logsFlags
	}
	sftLogsCmd struct {
		ID string `arg:"" help:"The job." complete:"sft"`
		logsFlags
	}
	dpoLogsCmd struct {
		ID string `arg:"" help:"The job." complete:"dpo"`
		logsFlags
	}
	logsFlags struct {
		Follow bool `short:"f" help:"Go on until the job ends, also while the server is started again."`
	}
)

// Run implements a command.
func (c *stepLogsCmd) Run(a *app) error { return a.logs(steps, c.ID, c.Follow) }

// Run implements a command.
func (c *sftLogsCmd) Run(a *app) error { return a.logs(supervised, c.ID, c.Follow) }

// Run implements a command.
func (c *dpoLogsCmd) Run(a *app) error { return a.logs(preferences, c.ID, c.Follow) }

// logsEvery is how often a log that is followed is read.
const logsEvery = 500 * time.Millisecond

// logs prints the log of a job.
func (a *app) logs(of jobNoun, ref string, follow bool) error {
	client, account, id, err := a.named("ID", ref, of.collection)
	if err != nil {
		return err
	}
	l := &jobLog{a: a, of: of, client: client, account: account, id: id}
	if !follow {
		entries, _, err := l.read()
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(entries)
		}
		return l.print(entries)
	}
	f := a.follow()
	defer f.end()
	for {
		entries, ended, err := l.read()
		// What was read before an answer failed to come will not be read again.
		f.end()
		if e := l.print(entries); e != nil {
			return e
		}
		if err != nil {
			if again, e := f.again(err); !again {
				return l.left(e)
			}
			continue
		}
		f.answered()
		if ended {
			return nil
		}
		if err := a.pause(logsEvery); err != nil {
			return l.left(err)
		}
	}
}

// left is the end of a log that nobody follows any more.
func (l *jobLog) left(err error) error {
	if l.a.ctx.Err() != nil {
		return rft.Errorf(rft.KindCancelled, "no longer following; the job goes on: `firekeep %s logs -f %s`", l.of.word, l.id)
	}
	return err
}

// logEntry is one line of a log, and its JSON.
type logEntry struct {
	Time    api.Time         `json:"time"`
	Type    string           `json:"type"`
	State   string           `json:"state,omitempty"`
	Update  int64            `json:"update,omitempty"`
	Message string           `json:"message,omitempty"`
	Metrics *api.StepMetrics `json:"metrics,omitempty"`
}

// jobLog is how far the log of a job was read.
type jobLog struct {
	a           *app
	of          jobNoun
	client      *api.Client
	account, id string
	seq, update int64 // of the last event and the last metrics that were read
}

// read returns what is new, by time, and whether it was the last. The state is
// asked for first: what happened before a job ended is there when it has.
func (l *jobLog) read() (entries []logEntry, ended bool, err error) {
	entries = []logEntry{}
	state, err := l.of.state(l.a.ctx, l.client, l.account, l.id)
	if err != nil {
		return entries, false, err
	}
	for {
		page, err := l.client.JobEvents(l.a.ctx, l.account, string(l.of.collection), l.id, l.seq)
		if err != nil {
			return entries, false, err
		}
		for _, e := range page.Events {
			l.seq = max(l.seq, e.Seq)
			entries = append(entries, logEntry{Time: e.Time, Type: e.Type, State: e.State, Update: e.Update, Message: e.Message})
		}
		if page.NextPageToken == "" || len(page.Events) == 0 {
			break
		}
	}
	metrics, err := l.of.metrics(l.a.ctx, l.client, l.account, l.id, l.update)
	for i, m := range metrics {
		l.update = max(l.update, m.Update)
		entries = append(entries, logEntry{Time: m.Time, Type: "metrics", Update: m.Update, Metrics: &metrics[i]})
	}
	if err != nil {
		return entries, false, err
	}
	slices.SortStableFunc(entries, func(x, y logEntry) int { return cmp.Compare(x.Time.UnixNano(), y.Time.UnixNano()) })
	return entries, state.Terminal(), nil
}

// print writes entries: a line each, with --json a line of JSON each.
func (l *jobLog) print(entries []logEntry) error {
	for _, e := range entries {
		line := e.String()
		if l.a.json {
			b, err := json.Marshal(e)
			if err != nil {
				return err
			}
			line = string(b)
		}
		if _, err := fmt.Fprintln(l.a.Stdout, line); err != nil {
			return err
		}
	}
	return nil
}

// String is the entry as a line.
func (e logEntry) String() string {
	line := e.Time.Local().Format("2006-01-02 15:04:05") + " " + e.Type
	if m := e.Metrics; m != nil {
		line += fmt.Sprintf(" update %d: loss %.5f, reward %.4f, kl %.5f, gradient norm %.4f", m.Update, m.Loss, m.RewardMean, m.KL, m.GradNorm)
	} else {
		if e.State != "" {
			line += " " + jobState(e.State)
		}
		if e.Update > 0 {
			line += fmt.Sprintf(" update %d", e.Update)
		}
		if e.Message != "" {
			line += " " + e.Message
		}
	}
	return oneLine(strings.TrimRight(line, " "))
}

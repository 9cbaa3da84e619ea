package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

// watch asks for something until look says that it is done. look also says what is
// new, and how to tell a person; how it ended is told too, so that what was over
// before the first look has a line like any other.
func watch[T any](a *app, get func() (T, error), look func(T) (news, line string, done bool)) (T, error) {
	f := a.follow()
	defer f.end()
	for {
		v, err := get()
		if err != nil {
			again, e := f.again(err)
			if again {
				continue
			}
			return v, e
		}
		f.answered()
		news, line, done := look(v)
		f.show(news, line)
		if done {
			return v, nil
		}
		if err := a.pause(pollEvery); err != nil {
			return v, err
		}
	}
}

// failed is why a dataset or model will never be READY, or nil.
func failed(s api.Status, id string) error {
	if s.Code == "" || s.Code == "OK" {
		return nil
	}
	return &notReady{rft.Errorf(rft.Kind(s.Code), "%s", oneLine(s.Message)), id}
}

// training is what jobs have in common on the wire, those that train most of it.
type training struct {
	Name     string
	State    rft.JobState
	Status   api.Status
	Progress *api.JobProgress
	More     *api.StepExtension
	Said     string // what else a line says of it
}

func ofStep(j *api.RlorTrainerJob) training {
	return training{j.Name, rft.JobState(j.State), j.Status, j.JobProgress, j.Firekeep, ""}
}

// line is how a job is, for a person; m is its newest metrics, if there are any.
func (t training) line(m *api.StepMetrics) string {
	line := fmt.Sprintf("%-10s", strings.ToLower(jobState(string(t.State))))
	if t.Said != "" {
		line += " " + t.Said
	}
	if t.Progress != nil {
		line += fmt.Sprintf(" %3d%%", t.Progress.Percent)
	}
	if t.More != nil && t.More.Stage != "" && m == nil {
		line += "  " + t.More.Stage
	}
	if m != nil {
		line += fmt.Sprintf("  update %d  reward %.3f  loss %+.4f  kl %.4f  clip %.3f  grad %.3f  %.0f tok/s", m.Update, m.RewardMean, m.Loss, m.KL, m.ClipFraction, m.GradNorm, m.TokensPerSecond)
		if m.DeadGroups > 0 {
			line += fmt.Sprintf("  dead %d/%d", m.DeadGroups, m.Groups)
		}
	} else if t.More != nil && t.More.Update > 0 {
		line += fmt.Sprintf("  update %d", t.More.Update)
	}
	if t.More != nil && t.More.ETASeconds > 0 {
		line += "  ETA " + (time.Duration(t.More.ETASeconds) * time.Second).String()
	}
	return line
}

// news is what of a job is worth a line where lines are not redrawn.
func (t training) news() string {
	percent, update := 0, api.Int64(0)
	if t.Progress != nil {
		percent = t.Progress.Percent
	}
	if t.More != nil {
		update = t.More.Update
	}
	return fmt.Sprint(t.State, percent, update, t.Said)
}

// ended turns the end of a job into the command's result.
func (a *app) ended(t training) error {
	if t.State != rft.StateCompleted {
		kind := rft.Kind(t.Status.Code)
		if kind == "" || kind == "OK" {
			kind = rft.KindUnknown
		}
		return rft.Errorf(kind, "%s is %s: %s", t.Name, jobState(string(t.State)), oneLine(t.Status.Message))
	}
	if t.Status.Message != "" {
		fmt.Fprintln(a.Stderr, "WARNING:", oneLine(t.Status.Message))
	}
	return nil
}

// waitJob follows a job without metrics to its end and shows it. stop is the verb that
// ends it.
func waitJob[T any](a *app, noun, stop, id string, get func() (*T, error), as func(*T) training) error {
	j, err := watch(a, get, func(j *T) (string, string, bool) {
		t := as(j)
		return t.news(), t.line(nil), t.State.Terminal()
	})
	if err != nil {
		return a.leave(err, noun, stop, id)
	}
	if err := a.ended(as(j)); err != nil {
		return err
	}
	return a.show(j)
}

// leave says of a job that nobody waits for any more how to look after it.
func (a *app) leave(err error, noun, stop, id string) error {
	if a.ctx.Err() != nil {
		return rft.Errorf(rft.KindCancelled, "no longer waiting; the job goes on: `firekeep %s get %s`, `firekeep %s %s %s`", noun, id, noun, stop, id)
	}
	return err
}

func jobState(s string) string { return strings.TrimPrefix(s, "JOB_STATE_") }

// percent is how far a job is, for a table.
func percent(p *api.JobProgress) string {
	if p == nil {
		return "-"
	}
	return fmt.Sprintf("%d%%", p.Percent)
}

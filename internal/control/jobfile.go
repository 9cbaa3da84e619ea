package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// JobFilePath is where signed URLs of jobs' files lead to: metrics and logs.
const JobFilePath = "/v1/jobFiles/"

// jobFileTicket is what such a URL stands for: a file of one job, in the name of
// the key that asked.
type jobFileTicket struct {
	Account string        `json:"a"`
	Kind    store.JobKind `json:"k"`
	ID      string        `json:"i"`
	UID     string        `json:"u"` // one that was deleted and made anew is another
	Key     string        `json:"y"`
	Log     bool          `json:"l,omitempty"` // its log, not its metrics
	Expires int64         `json:"e"`           // Unix seconds
}

var jobFilePurpose = []byte("firekeep/job-file/1")

// JobMetricsEndpoint returns the path of a job's metrics file.
func (c *Control) JobMetricsEndpoint(ctx context.Context, who Caller, of rft.Collection, account, id string) (string, error) {
	t, err := trainingType(of)
	if err != nil {
		return "", err
	}
	if err := c.allow(ctx, who, t.metrics, account, t.name(account, id)); err != nil {
		return "", err
	}
	return c.jobFile(ctx, who, t, account, id, false)
}

// JobLogEndpoint returns the path of a job's log: its states, warnings, resume
// points and one line for each optimiser batch.
func (c *Control) JobLogEndpoint(ctx context.Context, who Caller, of rft.Collection, account, id string) (string, error) {
	t, err := trainingType(of)
	if err != nil {
		return "", err
	}
	if err := c.allow(ctx, who, t.events, account, t.name(account, id)); err != nil {
		return "", err
	}
	return c.jobFile(ctx, who, t, account, id, true)
}

func (c *Control) jobFile(ctx context.Context, who Caller, t jobType, account, id string, log bool) (string, error) {
	j, err := c.DB.Job(ctx, account, t.kind, id)
	if err != nil {
		return "", err
	}
	return sealTicket(c.KEK, JobFilePath, jobFilePurpose, jobFileTicket{Account: account, Kind: t.kind, ID: id, UID: j.UID, Key: who.KeyID, Log: log, Expires: c.now().Add(downloadLife).Unix()})
}

// openJobFileTicket reads a ticket back, if it is not too old.
func openJobFileTicket(kek seal.KEK, text string, now time.Time) (t jobFileTicket, err error) {
	if err := openTicket(kek, jobFilePurpose, text, &t); err != nil {
		return jobFileTicket{}, err
	}
	if now.Unix() >= t.Expires {
		return jobFileTicket{}, errTicket()
	}
	return t, nil
}

// JobFile is a file of a job: its metrics, one line of JSON per optimiser batch, or
// its log.
type JobFile struct {
	Caller  Caller // whose key asked for the URL, with the rights that it has now
	control *Control
	job     store.Job
	log     bool
}

// OpenJobFile opens a signed URL of a job's file and authorises its use.
func (c *Control) OpenJobFile(ctx context.Context, text, clientIP, userAgent string) (*JobFile, error) {
	t, err := openJobFileTicket(c.KEK, text, c.now())
	if err != nil {
		return nil, err
	}
	p, err := c.Keys.Recall(ctx, t.Key)
	if err != nil {
		return nil, err
	}
	f := &JobFile{Caller: NewCaller(p, clientIP, userAgent), control: c}
	if err := c.Admit(f.Caller); err != nil {
		return nil, err
	}
	kind, err := typeOf(t.Kind)
	if err != nil {
		return nil, err
	}
	action := kind.metrics
	if f.log = t.Log; f.log {
		action = kind.events
	}
	if err := c.allow(ctx, f.Caller, action, t.Account, kind.name(t.Account, t.ID)); err != nil {
		return nil, err
	}
	if f.job, err = c.DB.JobByUID(ctx, t.UID); err != nil {
		return nil, err
	}
	return f, nil
}

// ContentType is what the file is.
func (f *JobFile) ContentType() string {
	if f.log {
		return "text/plain; charset=utf-8"
	}
	return "application/x-ndjson"
}

// Write writes the file.
func (f *JobFile) Write(ctx context.Context, w io.Writer) error {
	if f.log {
		return f.writeLog(ctx, w)
	}
	return WriteMetrics(ctx, f.control.DB, f.job, w)
}

// WriteMetrics writes the metrics of a job: one line of JSON per optimiser batch,
// each an api.StepMetrics.
func WriteMetrics(ctx context.Context, db *store.DB, j store.Job, w io.Writer) error {
	for after := int64(0); ; {
		batch, err := db.MetricsAfter(ctx, j.UID, after, eventBatch)
		if err != nil {
			return err
		}
		for _, e := range batch {
			var m api.StepMetrics
			if err := json.Unmarshal(e.Data, &m); err != nil {
				return rft.Wrap(rft.KindDataLoss, err, "the metrics of %s cannot be read", j.Name())
			}
			m.Time, m.Update = api.At(e.Time), e.Update
			line, err := json.Marshal(m)
			if err != nil {
				return err
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return err
			}
			after = e.Update
		}
		if len(batch) < eventBatch {
			return nil
		}
	}
}

// writeLog writes one line for each event of the job.
func (f *JobFile) writeLog(ctx context.Context, w io.Writer) error {
	for after := int64(0); ; {
		batch, err := f.control.DB.Events(ctx, f.job.UID, after, eventBatch)
		if err != nil {
			return err
		}
		for _, e := range batch {
			if _, err := fmt.Fprintf(w, "%s %s%s\n", e.Time.UTC().Format(time.RFC3339), e.Kind, logged(e)); err != nil {
				return err
			}
			after = e.Seq
		}
		if len(batch) < eventBatch {
			return nil
		}
	}
}

// logged is what a log line says of an event beside its time and kind.
func logged(e store.Event) string {
	var d struct {
		State, Message                 string
		Loss, RewardMean, GradNorm, KL float64
	}
	if json.Unmarshal(e.Data, &d) != nil {
		return ""
	}
	switch e.Kind {
	case store.EventMetrics:
		return fmt.Sprintf(" update %d: loss %.5f, reward %.4f, kl %.5f, gradient norm %.4f", e.Update, d.Loss, d.RewardMean, d.KL, d.GradNorm)
	case store.EventEvaluation:
		return fmt.Sprintf(": loss %.5f, reward %.4f", d.Loss, d.RewardMean)
	case store.EventState:
		return strings.TrimRight(" "+d.State+" "+d.Message, " ")
	case store.EventWarning:
		return " " + d.Message
	}
	return fmt.Sprintf(" update %d", e.Update)
}

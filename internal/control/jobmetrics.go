package control

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/seal"
	"github.com/firekeep/firekeep/internal/store"
)

// MetricsPath is where signed URLs of metrics files lead to.
const MetricsPath = "/v1/jobMetrics/"

// metricsTicket is what such a URL stands for: the metrics of one job, in the name
// of the key that asked.
type metricsTicket struct {
	Account string        `json:"a"`
	Kind    store.JobKind `json:"k"`
	ID      string        `json:"i"`
	UID     string        `json:"u"` // one that was deleted and made anew is another
	Key     string        `json:"y"`
	Expires int64         `json:"e"` // Unix seconds
}

var metricsPurpose = []byte("firekeep/job-metrics/1")

// DPOMetricsEndpoint returns the path of a preference job's metrics file.
func (c *Control) DPOMetricsEndpoint(ctx context.Context, who Caller, account, id string) (string, error) {
	t := preference
	if err := c.allow(ctx, who, t.metrics, account, t.name(account, id)); err != nil {
		return "", err
	}
	j, err := c.DB.Job(ctx, account, t.kind, id)
	if err != nil {
		return "", err
	}
	return c.sealMetricsTicket(metricsTicket{Account: account, Kind: t.kind, ID: id, UID: j.UID, Key: who.KeyID, Expires: c.now().Add(downloadLife).Unix()})
}

func (c *Control) sealMetricsTicket(t metricsTicket) (string, error) {
	raw, err := json.Marshal(t)
	if err != nil {
		return "", err
	}
	sealed, err := c.KEK.Encrypt(raw, metricsPurpose)
	if err != nil {
		return "", rft.Wrap(rft.KindInternal, err, "the URL cannot be signed")
	}
	return MetricsPath + base64.RawURLEncoding.EncodeToString(sealed), nil
}

// openMetricsTicket reads a ticket back. What is not ours, and what is too old, get
// the same answer.
func openMetricsTicket(kek seal.KEK, text string, now time.Time) (t metricsTicket, err error) {
	refused := rft.Errorf(rft.KindPermissionDenied, "this URL is not valid, or no longer; ask for a new one")
	if len(text) > maxTicket {
		return t, refused
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return t, refused
	}
	raw, err := kek.Decrypt(sealed, metricsPurpose)
	if err != nil || json.Unmarshal(raw, &t) != nil || now.Unix() >= t.Expires {
		return metricsTicket{}, refused
	}
	return t, nil
}

// MetricsFile is a file of metrics: one line of JSON per optimiser batch.
type MetricsFile struct {
	Caller  Caller // whose key asked for the URL, with the rights that it has now
	control *Control
	job     store.Job
}

// OpenMetrics opens a signed URL of metrics and authorises its use.
func (c *Control) OpenMetrics(ctx context.Context, text, clientIP, userAgent string) (*MetricsFile, error) {
	t, err := openMetricsTicket(c.KEK, text, c.now())
	if err != nil {
		return nil, err
	}
	p, err := c.Keys.Recall(ctx, t.Key)
	if err != nil {
		return nil, err
	}
	f := &MetricsFile{Caller: NewCaller(p, clientIP, userAgent), control: c}
	if err := c.Admit(f.Caller); err != nil {
		return nil, err
	}
	kind, err := typeOf(t.Kind)
	if err != nil {
		return nil, err
	}
	if err := c.allow(ctx, f.Caller, kind.metrics, t.Account, kind.name(t.Account, t.ID)); err != nil {
		return nil, err
	}
	if f.job, err = c.DB.JobByUID(ctx, t.UID); err != nil {
		return nil, err
	}
	return f, nil
}

// Write writes the file.
func (f *MetricsFile) Write(ctx context.Context, w io.Writer) error {
	for after := int64(0); ; {
		batch, err := f.control.DB.MetricsAfter(ctx, f.job.UID, after, eventBatch)
		if err != nil {
			return err
		}
		for _, e := range batch {
			var m api.StepMetrics
			if err := json.Unmarshal(e.Data, &m); err != nil {
				return rft.Wrap(rft.KindDataLoss, err, "the metrics of %s cannot be read", f.job.Name())
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

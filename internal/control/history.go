package control

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// eventBatch is how many events are read at a time.
const eventBatch = 500

// JobMetrics lists the metrics of a job's optimiser batches with update > after.
func (c *Control) JobMetrics(ctx context.Context, who Caller, of rft.Collection, account, id string, after int64, q ListQuery) (*api.StepMetricsList, error) {
	t, err := trainingType(of)
	if err != nil {
		return nil, err
	}
	if err := c.allow(ctx, who, t.metrics, account, t.name(account, id)); err != nil {
		return nil, err
	}
	out := &api.StepMetricsList{Metrics: []api.StepMetrics{}}
	j, err := c.DB.Job(ctx, account, t.kind, id)
	if err != nil {
		return nil, err
	}
	// Page tokens are updates. Whoever polls reads what is new, not the history.
	at, err := q.position()
	if err != nil {
		return nil, err
	}
	limit := q.eventLimit()
	batch, err := c.DB.MetricsAfter(ctx, j.UID, max(after, at), limit+1)
	if err != nil {
		return nil, err
	}
	if len(batch) > limit {
		batch = batch[:limit]
		out.NextPageToken = strconv.FormatInt(batch[limit-1].Update, 10)
	}
	for _, e := range batch {
		var m api.StepMetrics
		if err := json.Unmarshal(e.Data, &m); err != nil {
			return nil, rft.Wrap(rft.KindDataLoss, err, "the metrics of %s cannot be read", j.Name())
		}
		m.Time, m.Update = api.At(e.Time), e.Update // those of a trainer count on from step to step
		out.Metrics = append(out.Metrics, m)
	}
	out.TotalSize = len(out.Metrics)
	return out, nil
}

// position is the number that a token of these lists is; 0 without one.
func (q ListQuery) position() (int64, error) {
	if q.PageToken == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(q.PageToken, 10, 64)
	if err != nil || n < 0 {
		return 0, rft.FieldErrorf("pageToken", "pageToken: is not a token of this list")
	}
	return n, nil
}

// eventLimit is how many entries a page of these lists has.
func (q ListQuery) eventLimit() int {
	if q.PageSize <= 0 || q.PageSize > 1000 {
		return 1000
	}
	return q.PageSize
}

// JobEvents lists a job's history but its metrics: states, checkpoints, resumes and
// warnings with a sequence number > after.
func (c *Control) JobEvents(ctx context.Context, who Caller, of rft.Collection, account, id string, after int64, q ListQuery) (*api.StepEventList, error) {
	t, err := trainingType(of)
	if err != nil {
		return nil, err
	}
	if err := c.allow(ctx, who, t.events, account, t.name(account, id)); err != nil {
		return nil, err
	}
	j, err := c.DB.Job(ctx, account, t.kind, id)
	if err != nil {
		return nil, err
	}
	// Page tokens are sequence numbers; none is given at the end.
	at, err := q.position()
	if err != nil {
		return nil, err
	}
	limit := q.eventLimit()
	batch, err := c.DB.HistoryAfter(ctx, j.UID, max(after, at), limit+1)
	if err != nil {
		return nil, err
	}
	out := &api.StepEventList{Events: []api.StepEvent{}}
	if len(batch) > limit {
		batch = batch[:limit]
		out.NextPageToken = strconv.FormatInt(batch[limit-1].Seq, 10)
	}
	for _, e := range batch {
		w := api.StepEvent{Seq: e.Seq, Time: api.At(e.Time), Type: e.Kind, Update: e.Update}
		var data struct{ State, Code, Message string }
		if len(e.Data) > 0 && json.Unmarshal(e.Data, &data) == nil {
			w.State, w.Message = data.State, data.Message
		}
		out.Events = append(out.Events, w)
	}
	out.TotalSize = len(out.Events)
	return out, nil
}

// GetOperation returns an export, import or validation that goes on.
func (c *Control) GetOperation(ctx context.Context, who Caller, account, id string) (*api.Operation, error) {
	name := rft.AccountName(account) + "/operations/" + id
	if err := c.allow(ctx, who, authz.GetOperation, account, name); err != nil {
		return nil, err
	}
	for _, kind := range []store.JobKind{store.JobExport, store.JobImport, store.JobValidation} {
		j, err := c.DB.Job(ctx, account, kind, id)
		if err == nil {
			return wireOperation(j), nil
		}
		if rft.KindOf(err) != rft.KindNotFound {
			return nil, err
		}
	}
	r, err := c.DB.ExportRequest(ctx, account, id)
	if rft.KindOf(err) == rft.KindNotFound {
		return nil, authz.NotFound(name)
	}
	if err != nil {
		return nil, err
	}
	return c.requestOperation(r), nil
}

func wireOperation(j store.Job) *api.Operation {
	target := j.OutputModel
	switch j.Kind {
	case store.JobExport:
		var spec catalog.ExportSpec
		if json.Unmarshal(j.Spec, &spec) == nil {
			target = spec.URL
		}
	case store.JobValidation:
		target = j.Dataset
	}
	o := &api.Operation{Name: rft.AccountName(j.Account) + "/operations/" + j.ID, Done: j.State.Terminal(),
		Metadata: &api.OperationState{Kind: string(j.Kind), Target: target, State: string(j.State), Percent: j.Progress.Percent}}
	if o.Done && j.State != rft.StateCompleted {
		s := wireStatus(j.Status)
		o.Error = &s
	}
	if o.Done && j.Kind == store.JobExport {
		o.Response = j.Result
	}
	return o
}

// JobCount is how many jobs of a kind are in a state.
type JobCount struct {
	Kind  store.JobKind
	State rft.JobState
	Count int
}

// CountJobs counts the jobs of all accounts; errors leave counts out.
func (c *Control) CountJobs(ctx context.Context) []JobCount {
	accounts, err := c.DB.ListAccounts(ctx, store.ListOptions{Limit: 200})
	if err != nil {
		return nil
	}
	var out []JobCount
	for _, kind := range append(slices.Clone(store.TrainingKinds), store.JobBatch, store.JobMerge, store.JobValidation, store.JobImport, store.JobExport) {
		for _, state := range rft.States() {
			n := JobCount{Kind: kind, State: state}
			for _, a := range accounts.Items {
				p, err := c.DB.ListJobs(ctx, a.ID, kind, store.ListOptions{Limit: 1, Filter: []store.Term{{Field: "state", Op: "=", Value: string(state)}}})
				if err != nil {
					return out
				}
				n.Count += p.Total
			}
			out = append(out, n)
		}
	}
	return out
}

// MayReadMetrics authorises the reader of the server's own metrics.
func (c *Control) MayReadMetrics(ctx context.Context, who Caller) error {
	return c.allow(ctx, who, authz.ReadMetrics, who.Account, rft.AccountName(who.Account))
}

func sortedKeys(m map[string]float64) []string { return slices.Sorted(maps.Keys(m)) }

// clip shortens s for an error message.
func clip(s string, n int) string {
	if len(s) <= n && utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s[:min(n, len(s))], "?") + "..."
}

package control

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// batches is the collection of batch inference jobs. They train nothing: there is
// no resuming, and no metrics of theirs.
var batches = jobType{kind: store.JobBatch, collection: rft.BatchJobs, noun: "BatchInferenceJob",
	list: authz.ListBatchJobs, get: authz.GetBatchJob, create: authz.CreateBatchJob, remove: authz.DeleteBatchJob}

// ListBatchJobs lists batch inference jobs.
func (c *Control) ListBatchJobs(ctx context.Context, who Caller, account string, q ListQuery) (*api.BatchInferenceJobList, error) {
	p, page, err := c.page(ctx, who, batches, account, q)
	if err != nil {
		return nil, err
	}
	return &api.BatchInferenceJobList{Jobs: items(p.Items, wireBatch), Page: page}, nil
}

// GetBatchJob returns a batch inference job.
func (c *Control) GetBatchJob(ctx context.Context, who Caller, account, id string) (*api.BatchInferenceJob, error) {
	return shown(wireBatch)(c.one(ctx, who, batches, account, id))
}

// DeleteBatchJob ends a batch inference job and removes its record. The answers
// of one that is COMPLETED stay; those of one that is not are gone.
func (c *Control) DeleteBatchJob(ctx context.Context, who Caller, account, id string) error {
	return c.remove(ctx, who, batches, account, id)
}

// CreateBatchJob queues a batch inference job. Whoever makes one must be allowed
// to chat with its model.
func (c *Control) CreateBatchJob(ctx context.Context, who Caller, account, id string, r *api.BatchInferenceJob) (*api.BatchInferenceJob, error) {
	if err := c.authorize(ctx, who, batches.create, batchResource(account, r)); err != nil {
		return nil, err
	}
	if err := refuseBatch(r); err != nil {
		return nil, err
	}
	if err := c.checkQuotas(ctx, who); err != nil {
		return nil, err
	}
	id, err := newID("batchInferenceJobId", id)
	if err != nil {
		return nil, err
	}
	q := job.BatchRequest{Account: account, ID: id, DisplayName: r.DisplayName, CreatedBy: who.Name}
	if q.Defaults, err = batchDefaults(r.InferenceParameters); err != nil {
		return nil, err
	}
	if q.Dataset, err = c.batchInput(ctx, account, r.InputDatasetID); err != nil {
		return nil, err
	}
	if q.Model, err = c.mayChat(ctx, who, r.Model); err != nil {
		return nil, err
	}
	if r.OutputDatasetID != "" {
		n, err := rft.ParseOwn("outputDatasetId", r.OutputDatasetID, account, rft.Datasets)
		if err != nil {
			return nil, err
		}
		q.Output = n.ID
	}
	if q.OutputURL, err = c.beside(ctx, account, q.Dataset); err != nil {
		return nil, err
	}
	if q.Echo, err = json.Marshal(batchEcho{r.InferenceParameters, r.Precision}); err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "the job cannot be described")
	}
	j, err := c.Jobs.CreateBatch(ctx, q, who.act("CreateBatchInferenceJob", batches.name(account, id), "dataset", q.Dataset.Name(), "model", q.Model.Name(), "outputDataset", q.OutputID()))
	return shown(wireBatch)(j, err)
}

// batchResource is what policies can look at: the account, and what the job reads
// and makes.
func batchResource(account string, r *api.BatchInferenceJob) authz.Resource {
	return touching(account, reference{r.InputDatasetID, rft.Datasets}, reference{r.Model, rft.Models}, reference{r.OutputDatasetID, rft.Datasets})
}

// mayChat finds a model that the caller may chat with. The audit row of the
// operation keeps the decision about the operation.
func (c *Control) mayChat(ctx context.Context, who Caller, ref string) (store.Model, error) {
	who.decided = &authz.Decision{}
	_, m, err := c.target(ctx, who, ref, true)
	return m, err
}

// refuseBatch refuses what no batch job of this server has.
func refuseBatch(r *api.BatchInferenceJob) error {
	switch {
	case r.ContinuedFromJobName != "":
		return rft.Errorf(rft.KindUnimplemented, "continuedFromJobName: a job goes on by itself after a crash, and nothing is kept of one that failed: create a job of the rows that are missing")
	case r.InputDatasetID == "":
		return rft.FieldErrorf("inputDatasetId", "inputDatasetId: is required")
	case r.Model == "":
		return rft.FieldErrorf("model", "model: is required")
	case r.Precision != "" && r.Precision != "PRECISION_UNSPECIFIED":
		return rft.FieldErrorf("precision", "precision: %q cannot be chosen by job; the server samples all models in the precision of its configuration", clip(r.Precision, 40))
	}
	return checkDisplayName(r.DisplayName)
}

// batchInput is the dataset of requests.
func (c *Control) batchInput(ctx context.Context, account, ref string) (store.Dataset, error) {
	d, err := c.Catalog.Dataset(ctx, account, "inputDatasetId", ref)
	switch {
	case err != nil:
		return d, err
	case d.State != store.StateReady:
		return d, rft.Errorf(rft.KindFailedPrecondition, "inputDatasetId: %s is not READY but %s", d.Name(), d.State)
	case d.Format != store.FormatBatch:
		return d, rft.FieldErrorf("inputDatasetId", `inputDatasetId: %s holds rows of format %s; a batch needs rows of {"custom_id":"…","body":{…}}`, d.Name(), d.Format)
	case d.ExternalURL == "" && c.Uploads == UploadsRefused:
		return d, rft.Errorf(rft.KindFailedPrecondition, "inputDatasetId: this server keeps no rows, so it has no place for the answers to an upload; put the requests in a bucket and register its URL")
	}
	return d, nil
}

// beside is the prefix under which the answers to rows in a bucket go: next to
// them, so that they are where the customer keeps such things. Rows below the very
// prefix of a connection have nothing beside them; their answers go below it too.
func (c *Control) beside(ctx context.Context, account string, d store.Dataset) (objstore.URL, error) {
	if d.ExternalURL == "" {
		return objstore.URL{}, nil
	}
	u, err := objstore.ParseURL(d.ExternalURL)
	if err != nil {
		return u, err
	}
	places := []objstore.URL{parent(u)}
	if u.IsPrefix() {
		places = append(places, u)
	}
	if u.Scheme == objstore.File {
		for _, p := range places {
			if err = c.Files.check("inputDatasetId", p.String()); err == nil {
				return p, nil
			}
		}
		return u, err
	}
	all, err := c.DB.AllConnections(ctx, account)
	if err != nil {
		return u, err
	}
	for _, p := range places {
		if covered(all, p) {
			return p, nil
		}
	}
	return u, rft.Errorf(rft.KindFailedPrecondition, "inputDatasetId: the answers go beside the rows, but no connection of this account covers %s; create one with `firekeep connection create`", places[0])
}

// parent is the prefix that an object or a prefix lies in.
func parent(u objstore.URL) objstore.URL {
	key := bytes.TrimSuffix([]byte(u.Key), []byte("/"))
	u.Key = string(key[:bytes.LastIndexByte(key, '/')+1])
	return u
}

// ofRows are fields of a chat request that a row has and a job has not: content,
// and what decides the form of the answer.
var ofRows = []string{"messages", "prompt", "tools", "functions", "model", "stream", "stream_options", "images", "user", "metadata", "prediction"}

// batchDefaults makes fields of a chat request of a job's parameters, and checks
// them as those of a request are.
func batchDefaults(p *api.InferenceParameters) (map[string]json.RawMessage, error) {
	if p == nil {
		return nil, nil
	}
	out := map[string]json.RawMessage{}
	const field = "inferenceParameters.extraBody"
	if p.ExtraBody != "" {
		if err := json.Unmarshal([]byte(p.ExtraBody), &out); err != nil || out == nil {
			return nil, rft.FieldErrorf(field, `%s: is not a JSON object such as {"stop":["\n"]}`, field)
		}
		for _, name := range ofRows {
			if _, ok := out[name]; ok {
				return nil, rft.FieldErrorf(field, "%s: %s belongs into the bodies of rows", field, name)
			}
		}
	}
	for _, v := range []struct {
		name  string
		value any
		given bool
	}{{"max_tokens", p.MaxTokens, p.MaxTokens != nil}, {"temperature", p.Temperature, p.Temperature != nil}, {"top_p", p.TopP, p.TopP != nil},
		{"top_k", p.TopK, p.TopK != nil}, {"n", p.N, p.N != nil}} {
		if !v.given {
			continue
		}
		raw, err := json.Marshal(v.value)
		if err != nil {
			return nil, rft.FieldErrorf("inferenceParameters."+v.name, "inferenceParameters: %s is no finite number", v.name)
		}
		out[v.name] = raw
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil, rft.Wrap(rft.KindInternal, err, "the parameters cannot be described")
	}
	var probe api.CompletionRequest
	if err := json.Unmarshal(raw, &probe); err != nil {
		return nil, within("inferenceParameters", BodyError(err))
	}
	_, err = sampleRequest(&probe, true)
	return out, within("inferenceParameters", err)
}

// within says of an error which field of the request its own field is in.
func within(field string, err error) error {
	if err == nil {
		return nil
	}
	return rft.FieldErrorf(field, "%s: %s", field, rft.PublicMessage(err))
}

// batchEcho is what answers repeat of a request.
type batchEcho struct {
	Parameters *api.InferenceParameters `json:"parameters,omitempty"`
	Precision  string                   `json:"precision,omitempty"`
}

func wireBatch(j store.Job) api.BatchInferenceJob {
	w := api.BatchInferenceJob{Name: j.Name(), DisplayName: j.DisplayName, CreateTime: api.At(j.Created), UpdateTime: api.At(j.Updated), CreatedBy: j.CreatedBy,
		State: string(j.State), Status: wireStatus(j.Status), Model: j.BaseModel, InputDatasetID: j.Dataset, OutputDatasetID: j.OutputDataset,
		JobProgress: &api.JobProgress{Percent: j.Progress.Percent}}
	var spec job.BatchSpec
	var echo batchEcho
	if json.Unmarshal(j.Spec, &spec) == nil && json.Unmarshal(spec.Echo, &echo) == nil {
		w.InferenceParameters, w.Precision = echo.Parameters, echo.Precision
	}
	if n := j.Progress.Requests; n != nil {
		p := w.JobProgress
		p.TotalInputRequests, p.TotalProcessedRequests, p.SucceededRequests, p.FailedRequests = int(n.Total), int(n.Answered+n.Failed), int(n.Answered), int(n.Failed)
		p.OutputRows, p.InputTokens, p.OutputTokens, p.CachedInputTokens = int(n.Answered), int(n.InputTokens), int(n.OutputTokens), int(n.CachedTokens)
	}
	return w
}

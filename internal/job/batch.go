package job

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// BatchSpec is the Spec of a batch inference job. It holds parameters and names,
// no prompt: those are in the rows.
type BatchSpec struct {
	UID        string `json:"uid"` // of the dataset of answers
	Dataset    string `json:"dataset"`
	DatasetUID string `json:"datasetUid"`
	// Model is what samples: a base, or a LoRA on its base. A model of that name
	// with another digest is another model.
	Model       string `json:"model"`
	ModelUID    string `json:"modelUid"`
	ModelDigest string `json:"modelDigest"`
	// OutputURL is the prefix in the customer's bucket that the answers go to, "" =
	// they are sealed in the home bucket.
	OutputURL string `json:"outputUrl,omitempty"`
	// Defaults stand under the body of every row: fields of a chat request.
	Defaults map[string]json.RawMessage `json:"defaults,omitempty"`
	// Echo is inferenceParameters and precision as the request had them.
	Echo json.RawMessage `json:"echo,omitempty"`
}

// BatchRequest asks for a batch inference job. Its model was found, and its
// parameters checked, by the caller.
type BatchRequest struct {
	Account, ID string
	DisplayName string
	Dataset     store.Dataset // READY rows of store.FormatBatch
	Output      string        // id of the dataset of answers; "" = the job's and "-output"
	Model       store.Model
	OutputURL   objstore.URL // parent of the answers, zero = sealed in the home bucket
	Defaults    map[string]json.RawMessage
	CreatedBy   string
	Echo        json.RawMessage
}

// OutputID is the id of the dataset of answers.
func (r BatchRequest) OutputID() string {
	if r.Output != "" {
		return r.Output
	}
	const suffix = "-output"
	return strings.TrimRight(r.ID[:min(len(r.ID), 63-len(suffix))], "-.") + suffix
}

// CreateBatch reserves the name of the answers and queues the job.
func (s *Service) CreateBatch(ctx context.Context, r BatchRequest, act store.Act) (store.Job, error) {
	j := store.Job{UID: store.NewUID(), Account: r.Account, ID: r.ID, Kind: store.JobBatch, DisplayName: r.DisplayName, CreatedBy: r.CreatedBy,
		Dataset: r.Dataset.Name(), BaseModel: r.Model.Name(), Progress: store.Progress{Requests: &store.Requests{Total: r.Dataset.Counts.Rows}}}
	if err := rft.CheckID("batchInferenceJobId", j.ID); err != nil {
		return j, err
	}
	out := store.Dataset{UID: store.NewUID(), Account: r.Account, ID: r.OutputID(), DisplayName: r.DisplayName, CreatedBy: r.CreatedBy}
	if err := rft.CheckID("outputDatasetId", out.ID); err != nil {
		return j, err
	}
	if !r.OutputURL.IsZero() {
		// The job's UID keeps what an earlier job of these names wrote apart.
		out.ExternalURL = r.OutputURL.Join(out.ID + "/" + j.UID + "/").String()
	}
	spec := BatchSpec{UID: out.UID, Dataset: r.Dataset.Name(), DatasetUID: r.Dataset.UID, Model: r.Model.Name(), ModelUID: r.Model.UID,
		ModelDigest: r.Model.Digest, OutputURL: out.ExternalURL, Defaults: r.Defaults, Echo: r.Echo}
	var err error
	if j.Spec, err = json.Marshal(spec); err != nil {
		return j, rft.Wrap(rft.KindInternal, err, "the job cannot be described")
	}
	models := []string{r.Model.UID}
	if r.Model.BaseUID != "" {
		models = append(models, r.Model.BaseUID)
	}
	return s.db.CreateBatch(ctx, j, out, r.Dataset.UID, models, act)
}

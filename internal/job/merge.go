package job

import (
	"context"
	"encoding/json"

	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// MergeSpec is the Spec of a merge: what is merged into what.
type MergeSpec struct {
	Adapter    string `json:"adapter"`
	AdapterUID string `json:"adapterUid"`
	Base       string `json:"base"`
	BaseUID    string `json:"baseUid"`
	Model      string `json:"model"`
	UID        string `json:"uid"` // of the model
}

// MergeRequest asks for the merge of a LoRA into its base. The caller found both.
type MergeRequest struct {
	Account       string
	DisplayName   string
	Adapter, Base store.Model
	Output        string // id of the model
	CreatedBy     string
	Room          store.Room
}

// CreateMerge reserves the name of the model and queues the job. The room that the
// model may take is taken with its name: see mergedSize.
func (s *Service) CreateMerge(ctx context.Context, r MergeRequest, act store.Act) (store.Job, error) {
	j := store.Job{UID: store.NewUID(), Account: r.Account, Kind: store.JobMerge, DisplayName: r.DisplayName, CreatedBy: r.CreatedBy,
		BaseModel: r.Base.Name(), WarmStart: r.Adapter.Name()}
	out := store.Model{UID: store.NewUID(), Account: r.Account, ID: r.Output, DisplayName: r.Output, Kind: store.KindBase, CreatedBy: r.CreatedBy, Size: mergedSize(r.Base)}
	j.OutputModel = out.Name()
	spec := MergeSpec{Adapter: r.Adapter.Name(), AdapterUID: r.Adapter.UID, Base: r.Base.Name(), BaseUID: r.Base.UID, Model: out.Name(), UID: out.UID}
	var err error
	if j.Spec, err = json.Marshal(spec); err != nil {
		return j, rft.Wrap(rft.KindInternal, err, "the job cannot be described")
	}
	return s.db.CreateMerge(ctx, j, out, []string{r.Adapter.UID, r.Base.UID}, r.Room, act)
}

// mergedSize is the room that a merge takes until it is done: what a LoRA changes is
// float32, however few bits the base has for it, and bfloat16 beside that.
func mergedSize(base store.Model) int64 {
	return max(base.Size+base.Size/2, 6*base.Parameters)
}

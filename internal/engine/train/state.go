package train

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/engine/model"
	"github.com/firekeep/firekeep/internal/engine/tensorfile"
)

// adapters sets the adapter to train and the one the job began with.
func (t *Trainer) adapters(cfg *engine.Config, o *Options) error {
	fresh := func() (*model.Adapter, error) {
		return model.NewAdapter(cfg, t.spec.LoraRank, t.spec.LoraAlpha, t.spec.LoraTargets, t.spec.Seed)
	}
	read := func(tensors []byte) (*model.Adapter, error) {
		a, err := model.ReadPEFT(cfg, o.AdapterConfig, tensors)
		if err != nil {
			return nil, err
		}
		return a, t.sameShape(a)
	}
	var err error
	if o.Adapter == nil {
		t.adapter, err = fresh()
	} else {
		t.adapter, err = read(o.Adapter)
	}
	if err != nil {
		return err
	}
	switch {
	case o.Resume == nil && !o.Evaluate:
		t.incoming = t.adapter.Clone()
	case o.Original != nil:
		t.incoming, err = read(o.Original)
	default:
		t.incoming, err = fresh()
	}
	return err
}

// sameShape checks a read adapter against the spec.
func (t *Trainer) sameShape(a *model.Adapter) error {
	mismatch := func(key string, has, wants any) error {
		return &engine.Problem{Rule: "adapter-mismatch", Key: key, Message: fmt.Sprintf("the incoming LoRA has %v, the step asks for %v", has, wants)}
	}
	wanted := slices.Clone(t.spec.LoraTargets)
	slices.SortFunc(wanted, func(x, y string) int { return slices.Index(engine.Targets, x) - slices.Index(engine.Targets, y) })
	switch {
	case a.Rank != t.spec.LoraRank:
		return mismatch("loraRank", a.Rank, t.spec.LoraRank)
	case a.Alpha != t.spec.LoraAlpha:
		return mismatch("loraAlpha", a.Alpha, t.spec.LoraAlpha)
	case !slices.Equal(a.Targets, wanted):
		return mismatch("loraTargetModules", a.Targets, wanted)
	}
	return nil
}

// WriteAdapter writes the adapter as PEFT's adapter_config.json and
// adapter_model.safetensors.
func (t *Trainer) WriteAdapter(config, tensors io.Writer) error {
	return t.adapter.WritePEFT(config, tensors, t.baseName)
}

// Names of the optimiser's tensors: moments per parameter, and the count of
// updates over all jobs of a continued adapter.
const (
	firstMoment  = "exp_avg."
	secondMoment = "exp_avg_sq."
	updateCount  = "update"
)

// WriteOptimizer writes moments and update count as safetensors.
func (t *Trainer) WriteOptimizer(w io.Writer) error {
	m, v, update := t.optimiser.State()
	count := make([]byte, 8)
	binary.LittleEndian.PutUint64(count, uint64(update))
	list := []tensorfile.Tensor{{Name: updateCount, DType: "I64", Shape: []int{1}, Data: count}}
	for i, name := range t.adapter.Names() {
		list = append(list, tensorfile.F32(firstMoment+name, []int{len(m[i])}, m[i]), tensorfile.F32(secondMoment+name, []int{len(v[i])}, v[i]))
	}
	return tensorfile.WriteSafetensors(w, list, map[string]string{"format": "pt"})
}

// readOptimizer restores what WriteOptimizer wrote.
func (t *Trainer) readOptimizer(b []byte) error {
	tensors, _, err := tensorfile.ReadSafetensors(b)
	if err != nil {
		return err
	}
	byName := make(map[string]*tensorfile.Tensor, len(tensors))
	for i := range tensors {
		byName[tensors[i].Name] = &tensors[i]
	}
	count, ok := byName[updateCount]
	if !ok || count.DType != "I64" || count.Len() != 1 {
		return optimizerProblem(updateCount)
	}
	updates, err := count.Uint64s()
	if err != nil || updates[0] > math.MaxInt64 {
		return optimizerProblem(updateCount)
	}
	var m, v [][]float32
	for _, name := range t.adapter.Names() {
		for prefix, list := range map[string]*[][]float32{firstMoment: &m, secondMoment: &v} {
			x, ok := byName[prefix+name]
			if !ok {
				return optimizerProblem(prefix + name)
			}
			values, err := x.Float32()
			if err != nil {
				return err
			}
			*list = append(*list, values)
		}
	}
	if len(tensors) != 1+2*len(m) {
		return &engine.Problem{Rule: "bad-optimizer", Object: "optimizer", Message: "it holds moments of other parameters than the adapter's"}
	}
	return t.optimiser.Restore(m, v, int64(updates[0]))
}

func optimizerProblem(key string) error {
	return &engine.Problem{Rule: "bad-optimizer", Object: "optimizer", Key: key, Message: "the optimiser state lacks this tensor, or it is not as written"}
}

// saved is Mark.Totals: what a resumed job needs besides the mark's own fields.
type saved struct {
	Sample int    `json:"sample"` // of the group at Position, where it was divided
	Totals totals `json:"totals"`
}

func (t *Trainer) mark() Mark {
	b, err := json.Marshal(saved{Sample: t.at.Sample, Totals: t.totals})
	if err != nil {
		panic(err) // numbers and strings; all finite
	}
	return Mark{Update: t.totals.Batches, Epoch: t.epoch, Position: t.at.Position, Signal: t.totals.Signal, Totals: b}
}

// resume continues behind a mark.
func (t *Trainer) resume(m *Mark) error {
	var s saved
	if err := json.Unmarshal(m.Totals, &s); err != nil || m.Update != s.Totals.Batches || m.Signal != s.Totals.Signal {
		return &engine.Problem{Rule: "bad-resume-point", Message: "the resume point's totals do not belong to it"}
	}
	t.totals, t.epoch, t.at = s.Totals, m.Epoch, cursor{Position: m.Position, Sample: s.Sample}
	return nil
}

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/api"
)

// TestMerge: a LoRA that was trained here is merged over HTTP into the published base
// that it stands on. The model answers what both say together, by name and deployed,
// is trained further, and lies sealed.
func TestMerge(t *testing.T) {
	// In bfloat16 the sum is rounded once more than base and LoRA apart.
	s := newInstance(t, func(s *instance) { s.config["precision"] = "float32" })
	s.importTiny()
	s.dataset("merge", rows(12, 4, "hello")...)
	ctx := context.Background()
	train := func(id, base string) {
		t.Helper()
		j := crashSpec(id)
		j.Dataset, j.TrainingConfig.Epochs, j.TrainingConfig.LearningRate, j.TrainingConfig.BaseModel = "merge", 1, 1e-2, base
		if _, err := s.api.CreateStep(ctx, "main", id, j); err != nil {
			t.Fatal(err)
		}
		s.finish(id)
	}
	train("lora", tinyBase)
	var done api.PeftMergeJob
	if err := json.Unmarshal([]byte(s.cli("merge", "create", "--model", "lora", "--output", "whole", "--wait", "--json")), &done); err != nil {
		t.Fatal(err)
	}
	if done.State != "JOB_STATE_COMPLETED" || done.MergedModel != "accounts/main/models/whole" || done.PeftModel != "accounts/main/models/lora" {
		t.Errorf("%+v", done)
	}
	m, err := s.api.GetModel(ctx, "main", "whole")
	if err != nil || m.Kind != "HF_BASE_MODEL" || m.State != "READY" || !m.Firekeep.Signed || m.FineTuningJob != done.Name || m.Public {
		t.Fatalf("%+v, %v", m, err)
	}
	if _, err := s.api.CreateDeployment(ctx, "main", "own", &api.Deployment{BaseModel: m.Name}); err != nil {
		t.Fatal(err)
	}
	lora, base := s.says(t, "accounts/main/models/lora"), s.says(t, tinyBase)
	for _, model := range []string{m.Name, "accounts/main/deployments/own"} {
		if got := s.says(t, model); got != lora || got == base {
			t.Errorf("%s says %s\nbase and LoRA say %s\nthe base says %s", model, got, lora, base)
		}
	}
	train("further", m.Name)
	next, err := s.api.GetModel(ctx, "main", "further")
	if err != nil || next.PeftDetails == nil || next.PeftDetails.BaseModel != m.Name {
		t.Errorf("%+v, %v", next, err)
	}
	if out := s.cli("merge", "list"); !strings.Contains(out, "whole") {
		t.Errorf("%s", out)
	}
	s.cli("merge", "delete", id(done.Name))
	if _, err := s.try("merge", "create", "--model", "whole", "--output", "again"); err == nil || !strings.Contains(err.Error(), "is not a LoRA") {
		t.Errorf("a base merged into its base: %v", err)
	}
	s.kill()
	s.fsck()
}

// says is the greedy answer of a model: its tokens, and their log-probs to what two
// orders of the same sums have in common.
func (s *instance) says(t *testing.T, model string) (text string) {
	t.Helper()
	a, err := s.completion(model, false)
	if err != nil || a.answer == "" {
		t.Fatalf("%s: %v", model, err)
	}
	for _, f := range strings.Split(strings.Trim(a.answer, "[]"), "][") {
		var id int
		var lp float64
		if _, err := fmt.Sscan(f, &id, &lp); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("[%d %.3f]", id, lp)
	}
	return text
}

func id(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

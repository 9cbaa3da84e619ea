package runner_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/engine"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// preferences is a dataset of n pairs.
func preferences(n int) string {
	var b strings.Builder
	answer := func(text string) []map[string]string {
		return []map[string]string{{"role": "assistant", "content": text}}
	}
	for i := range n {
		line, err := json.Marshal(map[string]any{
			"input":            map[string]any{"messages": []map[string]string{{"role": "user", "content": fmt.Sprintf("question %d", i)}}},
			"preferred_output": answer(fmt.Sprintf("yes %d", i%3)), "non_preferred_output": answer(fmt.Sprintf("never %d", i%5))})
		if err != nil {
			panic(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.String()
}

// supervised is a dataset of n conversations without rewards.
func supervised(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"messages":[{"role":"user","content":"question %d"},{"role":"assistant","content":"yes %d"}]}`+"\n", i, i%3)
	}
	return b.String()
}

// TestEveryLossTrains through the whole path, on the rows that it is for.
func TestEveryLossTrains(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	h.base(t)
	if d := h.dataset(t, "pairs", h.write(t, "pairs.jsonl", preferences(8))); d.Format != "DPO" || d.Counts.Groups != 8 || d.Counts.Samples != 16 {
		t.Fatalf("%s %+v", d.Format, d.Counts)
	}
	if d := h.dataset(t, "chats", h.write(t, "chats.jsonl", supervised(8))); d.Format != "CHAT" || len(d.Counts.EvalKeys) != 0 {
		t.Fatalf("%s %+v", d.Format, d.Counts)
	}
	h.dataset(t, "groups", h.write(t, "groups.jsonl", rows(8, 3, varied)))
	for _, c := range []struct{ method, dataset string }{
		{"DPO", "pairs"}, {"ORPO", "pairs"}, {"DPO", "groups"}, {"PPO", "groups"}, {"DR_GRPO", "groups"}, {"CISPO", "groups"}, {"SFT", "chats"},
	} {
		p := small()
		p.Method = ptr(c.method)
		if c.method == "PPO" {
			p.OverlongTokens, p.OverlongBuffer = ptr(20), ptr(10)
		}
		name := strings.ReplaceAll(strings.ToLower(c.method), "_", "-") + "-" + c.dataset
		j := h.wait(t, h.step(t, job.StepRequest{ID: name, Dataset: c.dataset, BaseModel: "tiny", OutputModel: name, Params: p}).UID)
		var done job.StepResult
		if err := json.Unmarshal(j.Result, &done); err != nil || done.NoSignal || done.Updates < 3 {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
		m, err := h.db.Model(t.Context(), "main", name)
		var trained engine.Spec
		if err != nil || json.Unmarshal(m.Spec, &trained) != nil || trained.Method != c.method {
			t.Errorf("%s: recorded %s, %v", name, m.Spec, err)
		}
		events, err := h.db.MetricsAfter(t.Context(), j.UID, 0, 100)
		if err != nil {
			t.Fatal(err)
		}
		var first, last struct {
			Pairs                    int
			PairAccuracy, PairMargin float64
			Loss                     float64
		}
		if json.Unmarshal(events[0].Data, &first) != nil || json.Unmarshal(events[len(events)-1].Data, &last) != nil {
			t.Fatalf("%s", events[0].Data)
		}
		if pairs := c.method == "DPO" || c.method == "ORPO"; pairs != (first.Pairs > 0) || pairs && last.PairMargin <= first.PairMargin {
			t.Errorf("%s: %+v, then %+v", name, first, last)
		}
	}
	stop()
	if found := h.fsck(t, false); len(found) > 0 {
		t.Errorf("fsck: %+v", found)
	}
}

// TestRowsOfAnotherKindAreRefused when the step is created, naming the field.
func TestRowsOfAnotherKindAreRefused(t *testing.T) {
	h := newHome(t)
	h.run(t)
	h.base(t)
	h.dataset(t, "pairs", h.write(t, "pairs.jsonl", preferences(2)))
	h.dataset(t, "chats", h.write(t, "chats.jsonl", supervised(2)))
	h.dataset(t, "ones", h.write(t, "ones.jsonl", rows(3, 1, varied)))
	for _, c := range []struct{ method, dataset, field string }{
		{"GRPO", "pairs", "dataset"}, {"SFT", "pairs", "dataset"}, {"GRPO", "chats", "dataset"}, {"DPO", "chats", "dataset"},
		{"DPO", "ones", "dataset"}, {"IMPORTANCE_SAMPLING", "ones", "dataset"},
	} {
		p := small()
		p.Method = ptr(c.method)
		_, err := h.jobs.CreateStep(t.Context(), job.StepRequest{Account: "main", Dataset: c.dataset, BaseModel: "tiny", OutputModel: "m", Params: p}, store.Act{Account: "main", Actor: "test"})
		e, ok := err.(*rft.Error)
		if !ok || e.Kind != rft.KindInvalidArgument || e.Field != c.field {
			t.Errorf("%s on %s: %v", c.method, c.dataset, err)
		}
	}
}

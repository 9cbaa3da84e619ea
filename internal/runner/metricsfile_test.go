package runner_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/job"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// TestMetricsFile: the file in the customer's bucket is what the API says of the
// job; each step of a trainer has its own; and a job whose metrics cannot be
// written is COMPLETED all the same, and says so.
func TestMetricsFile(t *testing.T) {
	h := newHome(t)
	stop := h.run(t)
	defer stop()
	h.base(t)
	h.dataset(t, "d", h.write(t, "d.jsonl", rows(8, 3, varied)))
	runs := filepath.Join(h.dir, "customer", "runs")
	check := func(j store.Job, output string) {
		t.Helper()
		got, err := os.ReadFile(filepath.Join(runs, output, "metrics.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		if err := control.WriteMetrics(t.Context(), h.db, j, &want); err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(got, []byte("\n")); n < 4 || !bytes.Equal(got, want.Bytes()) || !bytes.Contains(got, []byte(`"rewardMean":`)) {
			t.Errorf("%s: %d lines, %s", output, n, got)
		}
	}
	j := h.wait(t, h.step(t, job.StepRequest{ID: "s", Dataset: "d", BaseModel: "tiny", OutputModel: "m", Params: small(), MetricsURL: "file://" + runs + "/"}).UID)
	check(j, "m")
	if j.Status != store.OK() {
		t.Errorf("%+v", j.Status)
	}
	h.step(t, job.StepRequest{ID: "loop", KeepAlive: true, BaseModel: "tiny", Params: small(), MetricsURL: "file://" + runs + "/"})
	for _, output := range []string{"l1", "l2"} {
		check(h.wait(t, h.execute(t, "loop", "d", output).UID), output)
	}
	if err := os.WriteFile(filepath.Join(runs, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	j = h.wait(t, h.step(t, job.StepRequest{ID: "s2", Dataset: "d", BaseModel: "tiny", OutputModel: "m2", Params: small(), MetricsURL: "file://" + runs + "/file/"}).UID)
	if j.State != rft.StateCompleted || j.Status.Code != "OK" || !strings.Contains(j.Status.Message, "metrics were not written to file://") {
		t.Errorf("%s %+v", j.State, j.Status)
	}
}

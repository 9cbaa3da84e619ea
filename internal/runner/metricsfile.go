package runner

import (
	"bytes"
	"path"

	"github.com/firekeep/firekeep/internal/catalog"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/identity"
	"github.com/firekeep/firekeep/internal/objstore"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// metricsFile is the name of the metrics in the customer's bucket, under the
// checkpoint's id.
const metricsFile = "metrics.jsonl"

// metricsOut writes the job's metrics where its creator asked for them. The job
// does not fail for want of them, the numbers are in its record too: the problem is
// returned, for the job's status to say.
func (s *stepRun) metricsOut(out store.Model) (problem string) {
	if s.spec.MetricsURL == "" {
		return ""
	}
	to, err := objstore.ParseURL(s.spec.MetricsURL)
	if err == nil {
		var lines bytes.Buffer
		if err = control.WriteMetrics(s.ctx, s.DB, s.job, &lines); err == nil {
			err = s.put(s.to(to, identity.Write), to, catalog.File{Name: path.Join(out.ID, metricsFile), Data: lines.Bytes()})
		}
	}
	if err == nil {
		return ""
	}
	problem = "the metrics were not written to " + s.spec.MetricsURL + ": " + rft.PublicMessage(err)
	s.Log.Warn("metrics are not written", "job", s.job.Name(), "error", err)
	if err := s.warn(problem); err != nil {
		s.Log.Warn("a warning is not stored", "job", s.job.Name(), "error", err)
	}
	return problem
}

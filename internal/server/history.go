package server

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
)

const jobFilePattern = control.JobFilePath + "{ticket}"

// historyRoutes are how the jobs went that train, and what became of them: the
// same for each collection of them.
func historyRoutes(cp func(method, pattern string, h func(*request) error) route) []route {
	const a = "/v1/accounts/{account}/"
	list := []route{
		cp("POST", a+"checkpoints/{checkpoint}:promote", promoteCheckpoint),
		cp("GET", a+"dpoJobs/{dpo}:getMetricsFileEndpoint", ofJob("dpo", rft.DPOJobs, jobMetricsFile)),
		cp("GET", jobFilePattern, getJobFile),
	}
	for _, job := range []struct {
		param string
		of    rft.Collection
	}{{"step", rft.Steps}, {"sft", rft.SFTJobs}, {"dpo", rft.DPOJobs}} {
		param, of := job.param, job.of
		j := a + string(of) + "/{" + param + "}"
		list = append(list,
			cp("GET", j+"/metrics", ofJob(param, of, jobMetrics)),
			cp("GET", j+"/events", ofJob(param, of, jobEvents)),
			cp("GET", j+"/publicLogs", ofJob(param, of, jobLog)),
			cp("GET", j+"/checkpoints", ofJob(param, of, listCheckpoints)),
			cp("POST", j+"/checkpoints/{checkpoint}:promote", ofJob(param, of, promoteOfJob)))
	}
	return list
}

// ofJob runs an operation on one job of a collection.
func ofJob(param string, of rft.Collection, op func(rq *request, of rft.Collection, account, id string) error) func(*request) error {
	return func(rq *request) error {
		a, id, err := rq.ref(param, of)
		if err != nil {
			return err
		}
		return op(rq, of, a, id)
	}
}

func jobMetrics(rq *request, of rft.Collection, account, id string) error {
	after, err := rq.after()
	if err != nil {
		return err
	}
	return listing(rq, func(q control.ListQuery) (*api.StepMetricsList, error) {
		return rq.s.control.JobMetrics(rq.ctx(), rq.caller, of, account, id, after, q)
	})
}

func jobEvents(rq *request, of rft.Collection, account, id string) error {
	after, err := rq.after()
	if err != nil {
		return err
	}
	return listing(rq, func(q control.ListQuery) (*api.StepEventList, error) {
		return rq.s.control.JobEvents(rq.ctx(), rq.caller, of, account, id, after, q)
	})
}

func (rq *request) after() (int64, error) {
	s := rq.query("after")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, rft.FieldErrorf("after", "after: want a whole number that is not negative")
	}
	return n, nil
}

func jobMetricsFile(rq *request, of rft.Collection, account, id string) error {
	path, err := rq.s.control.JobMetricsEndpoint(rq.ctx(), rq.caller, of, account, id)
	return rq.signedFile(path, err)
}

func jobLog(rq *request, of rft.Collection, account, id string) error {
	path, err := rq.s.control.JobLogEndpoint(rq.ctx(), rq.caller, of, account, id)
	return rq.signedFile(path, err)
}

// signedFile answers with the URL of a path.
func (rq *request) signedFile(path string, err error) error {
	return rq.reply(&api.SignedURL{SignedURL: rq.s.BaseURL(rq.r.Host, rq.r.TLS != nil) + path}, err)
}

// getJobFile sends what a signed URL stands for.
func getJobFile(rq *request) error {
	f, err := rq.s.control.OpenJobFile(rq.ctx(), rq.params["ticket"], clientIP(rq.r), clip(rq.r.UserAgent(), 200))
	if err != nil {
		return err
	}
	rq.caller = f.Caller
	var out bytes.Buffer
	if err := f.Write(rq.ctx(), &out); err != nil {
		return err
	}
	rq.w.Header().Set("Content-Type", f.ContentType())
	rq.w.WriteHeader(http.StatusOK)
	_, err = rq.w.Write(out.Bytes())
	return err
}

func listCheckpoints(rq *request, of rft.Collection, account, id string) error {
	v, err := rq.s.control.ListCheckpoints(rq.ctx(), rq.caller, of, account, id)
	return rq.reply(v, err)
}

// promoteOfJob makes a model of a checkpoint whose name says which job made it.
func promoteOfJob(rq *request, of rft.Collection, account, id string) error {
	var b api.PromoteCheckpointRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.PromoteCheckpoint(rq.ctx(), rq.caller, of, account, id, rq.params["checkpoint"], &b)
	return rq.reply(v, err)
}

// promoteCheckpoint does the same where the body names the job.
func promoteCheckpoint(rq *request) error {
	var b api.PromoteCheckpointRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.PromoteNamedCheckpoint(rq.ctx(), rq.caller, rq.params["account"], rq.params["checkpoint"], &b)
	return rq.reply(v, err)
}

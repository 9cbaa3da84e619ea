package server

import (
	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
)

var (
	getBatchJob    = byID("batch", rft.BatchJobs, answering((*control.Control).GetBatchJob))
	deleteBatchJob = byID("batch", rft.BatchJobs, doing((*control.Control).DeleteBatchJob))
)

func listBatchJobs(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.BatchInferenceJobList, error) {
		return rq.s.control.ListBatchJobs(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func createBatchJob(rq *request) error {
	var b api.BatchInferenceJob
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.CreateBatchJob(rq.ctx(), rq.caller, rq.params["account"], rq.r.URL.Query().Get("batchInferenceJobId"), &b)
	return rq.reply(v, err)
}

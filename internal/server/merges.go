package server

import (
	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
)

var (
	getMergeJob    = byID("merge", rft.MergeJobs, answering((*control.Control).GetMergeJob))
	deleteMergeJob = byID("merge", rft.MergeJobs, doing((*control.Control).DeleteMergeJob))
)

func listMergeJobs(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.PeftMergeJobList, error) {
		return rq.s.control.ListMergeJobs(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func createMergeJob(rq *request) error {
	var b api.PeftMergeJob
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.CreateMergeJob(rq.ctx(), rq.caller, rq.params["account"], &b)
	return rq.reply(v, err)
}

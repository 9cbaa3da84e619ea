package server

import (
	"context"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
)

// trainingRoutes are the operations on jobs, beyond those of one-shot steps.
func trainingRoutes(cp func(method, pattern string, h func(*request) error) route) []route {
	const a = "/v1/accounts/{account}"
	return []route{
		cp("POST", a+"/rlorTrainerJobs/{step}:executeTrainStep", executeTrainStep),
		cp("POST", a+"/rlorTrainerJobs/{step}:resume", resumeStep),

		cp("GET", a+"/supervisedFineTuningJobs", listSFTJobs),
		cp("POST", a+"/supervisedFineTuningJobs", createSFTJob),
		cp("GET", a+"/supervisedFineTuningJobs/{sft}", getSFTJob),
		cp("DELETE", a+"/supervisedFineTuningJobs/{sft}", deleteSFTJob),
		cp("POST", a+"/supervisedFineTuningJobs/{sft}:cancel", cancelSFTJob),
		cp("POST", a+"/supervisedFineTuningJobs/{sft}:resume", resumeSFTJob),

		cp("GET", a+"/dpoJobs", listDPOJobs),
		cp("POST", a+"/dpoJobs", createDPOJob),
		cp("GET", a+"/dpoJobs/{dpo}", getDPOJob),
		cp("DELETE", a+"/dpoJobs/{dpo}", deleteDPOJob),
		cp("POST", a+"/dpoJobs/{dpo}:cancel", cancelDPOJob),
		cp("POST", a+"/dpoJobs/{dpo}:resume", resumeDPOJob),
		cp("GET", a+"/batchInferenceJobs", listBatchJobs),
		cp("POST", a+"/batchInferenceJobs", createBatchJob),
		cp("GET", a+"/batchInferenceJobs/{batch}", getBatchJob),
		cp("DELETE", a+"/batchInferenceJobs/{batch}", deleteBatchJob),
		cp("GET", a+"/PeftMergeJobs", listMergeJobs),
		cp("POST", a+"/PeftMergeJobs", createMergeJob),
		cp("GET", a+"/PeftMergeJobs/{merge}", getMergeJob),
		cp("DELETE", a+"/PeftMergeJobs/{merge}", deleteMergeJob),
	}
}

func executeTrainStep(rq *request) error {
	a, id, err := rq.ref("step", rft.Steps)
	if err != nil {
		return err
	}
	var b api.ExecuteTrainStepRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	return rq.done(rq.s.control.ExecuteTrainStep(rq.ctx(), rq.caller, a, id, &b))
}

func resumeStep(rq *request) error {
	a, id, err := rq.ref("step", rft.Steps)
	if err != nil {
		return err
	}
	var b api.ResumeJobRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.ResumeStep(rq.ctx(), rq.caller, a, id, &b)
	return rq.reply(v, err)
}

// byID runs an operation on one job. Its body is read and not looked at.
func byID(param string, c rft.Collection, op func(rq *request, account, id string) error) func(*request) error {
	return func(rq *request) error {
		a, id, err := rq.ref(param, c)
		if err != nil {
			return err
		}
		if rq.r.Method == "POST" {
			if _, err := rq.readBody(maxBody); err != nil {
				return err
			}
		}
		return op(rq, a, id)
	}
}

// answering runs an operation that returns a resource.
func answering[T any](op func(*control.Control, context.Context, control.Caller, string, string) (*T, error)) func(*request, string, string) error {
	return func(rq *request, account, id string) error {
		v, err := op(rq.s.control, rq.ctx(), rq.caller, account, id)
		return rq.reply(v, err)
	}
}

// doing runs an operation that returns nothing.
func doing(op func(*control.Control, context.Context, control.Caller, string, string) error) func(*request, string, string) error {
	return func(rq *request, account, id string) error {
		return rq.done(op(rq.s.control, rq.ctx(), rq.caller, account, id))
	}
}

var (
	getSFTJob    = byID("sft", rft.SFTJobs, answering((*control.Control).GetSFTJob))
	resumeSFTJob = byID("sft", rft.SFTJobs, answering((*control.Control).ResumeSFTJob))
	cancelSFTJob = byID("sft", rft.SFTJobs, doing((*control.Control).CancelSFTJob))
	deleteSFTJob = byID("sft", rft.SFTJobs, doing((*control.Control).DeleteSFTJob))

	getDPOJob    = byID("dpo", rft.DPOJobs, answering((*control.Control).GetDPOJob))
	resumeDPOJob = byID("dpo", rft.DPOJobs, answering((*control.Control).ResumeDPOJob))
	cancelDPOJob = byID("dpo", rft.DPOJobs, doing((*control.Control).CancelDPOJob))
	deleteDPOJob = byID("dpo", rft.DPOJobs, doing((*control.Control).DeleteDPOJob))
)

func listSFTJobs(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.SFTJobList, error) {
		return rq.s.control.ListSFTJobs(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func createSFTJob(rq *request) error {
	var b api.SupervisedFineTuningJob
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.CreateSFTJob(rq.ctx(), rq.caller, rq.params["account"], rq.r.URL.Query().Get("supervisedFineTuningJobId"), &b)
	return rq.reply(v, err)
}

func listDPOJobs(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.DPOJobList, error) {
		return rq.s.control.ListDPOJobs(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func createDPOJob(rq *request) error {
	var b api.DpoJob
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.CreateDPOJob(rq.ctx(), rq.caller, rq.params["account"], rq.r.URL.Query().Get("dpoJobId"), &b)
	return rq.reply(v, err)
}

package server

import (
	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
)

// provenanceRoutes are the operations on signatures, model policies and exports
// that wait for approval.
func provenanceRoutes(cp func(method, pattern string, h func(*request) error) route) []route {
	const a = "/v1/accounts/{account}"
	return []route{
		cp("POST", a+"/models/{model}:sign", signModel),
		cp("GET", a+"/models/{model}/attestation", getModelAttestation),

		cp("GET", a+"/modelPolicy", getModelPolicy),
		cp("PUT", a+"/modelPolicy", setModelPolicy),

		cp("GET", a+"/modelSigningKey", getSigningKey),
		cp("POST", a+"/modelSigningKey:rotate", rotateSigningKey),
		cp("POST", a+"/registryLogins", setRegistryLogin),

		cp("GET", a+"/exportRequests", listExportRequests),
		cp("GET", a+"/exportRequests/{request}", getExportRequest),
		cp("POST", a+"/exportRequests/{request}:approve", approveExport),
		cp("POST", a+"/exportRequests/{request}:reject", rejectExport),
	}
}

func signModel(rq *request) error {
	a, id, err := rq.ref("model", rft.Models)
	if err != nil {
		return err
	}
	v, err := rq.s.control.SignModel(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func getModelAttestation(rq *request) error {
	a, id, err := rq.ref("model", rft.Models)
	if err != nil {
		return err
	}
	v, err := rq.s.control.GetModelAttestation(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func getModelPolicy(rq *request) error {
	v, err := rq.s.control.GetModelPolicy(rq.ctx(), rq.caller, rq.params["account"])
	return rq.reply(v, err)
}

// setModelPolicy passes the body on as it is: it is read more strictly than others.
func setModelPolicy(rq *request) error {
	raw, err := rq.readBody(maxBody)
	if err != nil {
		return err
	}
	v, err := rq.s.control.SetModelPolicy(rq.ctx(), rq.caller, rq.params["account"], raw)
	return rq.reply(v, err)
}

func getSigningKey(rq *request) error {
	v, err := rq.s.control.GetSigningKey(rq.ctx(), rq.caller, rq.params["account"])
	return rq.reply(v, err)
}

func rotateSigningKey(rq *request) error {
	v, err := rq.s.control.RotateSigningKey(rq.ctx(), rq.caller, rq.params["account"])
	return rq.reply(v, err)
}

func setRegistryLogin(rq *request) error {
	var l api.RegistryLogin
	if err := rq.decode(&l); err != nil {
		return err
	}
	return rq.done(rq.s.control.SetRegistryLogin(rq.ctx(), rq.caller, rq.params["account"], &l))
}

func listExportRequests(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.ExportRequestList, error) {
		return rq.s.control.ListExportRequests(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func getExportRequest(rq *request) error {
	v, err := rq.s.control.GetExportRequest(rq.ctx(), rq.caller, rq.params["account"], rq.params["request"])
	return rq.reply(v, err)
}

func approveExport(rq *request) error {
	v, err := rq.s.control.ApproveExport(rq.ctx(), rq.caller, rq.params["account"], rq.params["request"])
	return rq.reply(v, err)
}

func rejectExport(rq *request) error {
	var b api.RejectExportRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.RejectExport(rq.ctx(), rq.caller, rq.params["account"], rq.params["request"], b.Reason)
	return rq.reply(v, err)
}

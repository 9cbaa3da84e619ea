package server

import (
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
)

// ref is the account and id of the resource that a path names. The id may be
// sent as a full resource name in one escaped segment; then its account must be
// the path's.
func (rq *request) ref(param string, c rft.Collection) (account, id string, err error) {
	account, id = rq.params["account"], rq.params[param]
	if strings.Contains(id, "/") {
		n, err := rft.ParseName(param, id, account, c)
		if err != nil || n.Account != account {
			return "", "", rft.Errorf(rft.KindNotFound, "%s not found", c)
		}
		id = n.ID
	}
	return account, id, nil
}

func verifyKey(rq *request) error {
	who, err := rq.s.control.VerifyKey(rq.ctx(), rq.caller)
	if err != nil {
		return err
	}
	h := rq.w.Header()
	h.Set("X-Fireworks-Account-Id", who.Account)
	h.Set("X-Fireworks-Developer-Email", who.Email)
	h.Set("Content-Length", "0")
	rq.w.WriteHeader(http.StatusOK)
	return nil
}

// listing runs a list operation with the request's parameters.
func listing[T any](rq *request, op func(control.ListQuery) (T, error)) error {
	q, err := rq.list()
	if err != nil {
		return err
	}
	v, err := op(q)
	return rq.reply(v, err)
}

func listAccounts(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.AccountList, error) {
		return rq.s.control.ListAccounts(rq.ctx(), rq.caller, q)
	})
}

func getAccount(rq *request) error {
	v, err := rq.s.control.GetAccount(rq.ctx(), rq.caller, rq.params["account"])
	return rq.reply(v, err)
}

func listUsers(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.UserList, error) {
		return rq.s.control.ListUsers(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func getUser(rq *request) error {
	v, err := rq.s.control.GetUser(rq.ctx(), rq.caller, rq.params["account"], rq.params["user"])
	return rq.reply(v, err)
}

func createUser(rq *request) error {
	var u api.User
	if err := rq.decode(&u); err != nil {
		return err
	}
	v, err := rq.s.control.CreateUser(rq.ctx(), rq.caller, rq.params["account"], rq.query("userId"), &u)
	return rq.reply(v, err)
}

func listKeys(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.APIKeyList, error) {
		return rq.s.control.ListAPIKeys(rq.ctx(), rq.caller, rq.params["account"], rq.params["user"], q)
	})
}

func createKey(rq *request) error {
	var b api.CreateAPIKeyRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.CreateAPIKey(rq.ctx(), rq.caller, rq.params["account"], rq.params["user"], b.APIKey)
	return rq.reply(v, err)
}

func deleteKey(rq *request) error {
	var b api.DeleteAPIKeyRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	return rq.done(rq.s.control.DeleteAPIKey(rq.ctx(), rq.caller, rq.params["account"], rq.params["user"], b.KeyID))
}

func listConnections(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.ConnectionList, error) {
		return rq.s.control.ListConnections(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func createConnection(rq *request) error {
	var b api.CreateConnectionRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.CreateConnection(rq.ctx(), rq.caller, rq.params["account"], b.ConnectionID, b.Connection)
	return rq.reply(v, err)
}

func getConnection(rq *request) error {
	a, id, err := rq.ref("connection", rft.Connections)
	if err != nil {
		return err
	}
	v, err := rq.s.control.GetConnection(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func deleteConnection(rq *request) error {
	a, id, err := rq.ref("connection", rft.Connections)
	if err != nil {
		return err
	}
	return rq.done(rq.s.control.DeleteConnection(rq.ctx(), rq.caller, a, id))
}

func listDatasets(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.DatasetList, error) {
		return rq.s.control.ListDatasets(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func createDataset(rq *request) error {
	var b api.CreateDatasetRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.CreateDataset(rq.ctx(), rq.caller, rq.params["account"], &b)
	return rq.reply(v, err)
}

func getDataset(rq *request) error {
	a, id, err := rq.ref("dataset", rft.Datasets)
	if err != nil {
		return err
	}
	v, err := rq.s.control.GetDataset(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func deleteDataset(rq *request) error {
	a, id, err := rq.ref("dataset", rft.Datasets)
	if err != nil {
		return err
	}
	return rq.done(rq.s.control.DeleteDataset(rq.ctx(), rq.caller, a, id))
}

// uploadDataset streams the part named "file" of a multipart body.
func uploadDataset(rq *request) error {
	a, id, err := rq.ref("dataset", rft.Datasets)
	if err != nil {
		return err
	}
	_ = http.NewResponseController(rq.w).SetReadDeadline(time.Now().Add(uploadTimeout))
	part, err := filePart(rq)
	if err != nil {
		return err
	}
	name := path.Base(part.FileName())
	d, n, err := rq.s.control.UploadDataset(rq.ctx(), rq.caller, a, id, part)
	if err != nil {
		var tooBig *http.MaxBytesError
		if errors.As(err, &tooBig) {
			err = bodyError(tooBig, maxUpload)
		}
		return err
	}
	rq.writeJSON(http.StatusOK, api.UploadedFile{ID: d.Name, Bytes: n, CreatedAt: time.Now().Unix(), Filename: clip(name, 255), Object: "file", Purpose: "fine-tune"})
	return nil
}

func filePart(rq *request) (*multipart.Part, error) {
	bad := rft.FieldErrorf("file", "file: the request must be multipart/form-data with one part named file")
	kind, params, err := mime.ParseMediaType(rq.r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/form-data" || params["boundary"] == "" {
		return nil, bad
	}
	in := multipart.NewReader(http.MaxBytesReader(rq.w, rq.r.Body, maxUpload+1<<20), params["boundary"])
	for {
		part, err := in.NextPart()
		if err == io.EOF {
			return nil, bad
		}
		if err != nil {
			return nil, bad
		}
		if part.FormName() == "file" {
			return part, nil
		}
	}
}

func validateUpload(rq *request) error {
	a, id, err := rq.ref("dataset", rft.Datasets)
	if err != nil {
		return err
	}
	if _, err := rq.readBody(maxBody); err != nil {
		return err
	}
	return rq.done(rq.s.control.ValidateUpload(rq.ctx(), rq.caller, a, id))
}

func listModels(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.ModelList, error) {
		return rq.s.control.ListModels(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func createModel(rq *request) error {
	var b api.CreateModelRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.CreateModel(rq.ctx(), rq.caller, rq.params["account"], &b)
	return rq.reply(v, err)
}

func getModel(rq *request) error {
	a, id, err := rq.ref("model", rft.Models)
	if err != nil {
		return err
	}
	v, err := rq.s.control.GetModel(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func deleteModel(rq *request) error {
	a, id, err := rq.ref("model", rft.Models)
	if err != nil {
		return err
	}
	return rq.done(rq.s.control.DeleteModel(rq.ctx(), rq.caller, a, id))
}

func exportModel(rq *request) error {
	a, id, err := rq.ref("model", rft.Models)
	if err != nil {
		return err
	}
	var b api.ExportModelRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.ExportModel(rq.ctx(), rq.caller, a, id, b.Destination)
	return rq.reply(v, err)
}

func getOperation(rq *request) error {
	v, err := rq.s.control.GetOperation(rq.ctx(), rq.caller, rq.params["account"], rq.params["operation"])
	return rq.reply(v, err)
}

func listSteps(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.StepList, error) {
		return rq.s.control.ListSteps(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func createStep(rq *request) error {
	var b api.RlorTrainerJob
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.CreateStep(rq.ctx(), rq.caller, rq.params["account"], rq.query("rlorTrainerJobId"), &b)
	return rq.reply(v, err)
}

func getStep(rq *request) error {
	a, id, err := rq.ref("step", rft.Steps)
	if err != nil {
		return err
	}
	v, err := rq.s.control.GetStep(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func deleteStep(rq *request) error {
	a, id, err := rq.ref("step", rft.Steps)
	if err != nil {
		return err
	}
	return rq.done(rq.s.control.DeleteStep(rq.ctx(), rq.caller, a, id))
}

func cancelStep(rq *request) error {
	a, id, err := rq.ref("step", rft.Steps)
	if err != nil {
		return err
	}
	if _, err := rq.readBody(maxBody); err != nil {
		return err
	}
	return rq.done(rq.s.control.CancelStep(rq.ctx(), rq.caller, a, id))
}

func listDeployments(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.DeploymentList, error) {
		return rq.s.control.ListDeployments(rq.ctx(), rq.caller, rq.params["account"], q, rq.flag("showDeleted"))
	})
}

func createDeployment(rq *request) error {
	var d api.Deployment
	if err := rq.decode(&d); err != nil {
		return err
	}
	v, err := rq.s.control.CreateDeployment(rq.ctx(), rq.caller, rq.params["account"], rq.query("deploymentId"), &d, control.DeploymentOptions{ValidateOnly: rq.flag("validateOnly")})
	return rq.reply(v, err)
}

func getDeployment(rq *request) error {
	a, id, err := rq.ref("deployment", rft.Deployments)
	if err != nil {
		return err
	}
	v, err := rq.s.control.GetDeployment(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func deleteDeployment(rq *request) error {
	a, id, err := rq.ref("deployment", rft.Deployments)
	if err != nil {
		return err
	}
	return rq.done(rq.s.control.DeleteDeployment(rq.ctx(), rq.caller, a, id, rq.flag("hard")))
}

func listDeployedModels(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.DeployedModelList, error) {
		return rq.s.control.ListDeployedModels(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func createDeployedModel(rq *request) error {
	var d api.DeployedModel
	if err := rq.decode(&d); err != nil {
		return err
	}
	replace := rq.flag("replaceMergedAddon")
	v, err := rq.s.control.CreateDeployedModel(rq.ctx(), rq.caller, rq.params["account"], &d, replace)
	return rq.reply(v, err)
}

func getDeployedModel(rq *request) error {
	a, id, err := rq.ref("deployed", rft.Deployed)
	if err != nil {
		return err
	}
	v, err := rq.s.control.GetDeployedModel(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func deleteDeployedModel(rq *request) error {
	a, id, err := rq.ref("deployed", rft.Deployed)
	if err != nil {
		return err
	}
	return rq.done(rq.s.control.DeleteDeployedModel(rq.ctx(), rq.caller, a, id))
}

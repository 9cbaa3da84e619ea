package server

import (
	"context"
	"reflect"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
)

// resourceRoutes are updates, secrets, the life of deployments and shapes.
func resourceRoutes(cp func(method, pattern string, h func(*request) error) route) []route {
	const a = "/v1/accounts/{account}"
	return []route{
		cp("GET", a+"/secrets", listSecrets),
		cp("POST", a+"/secrets", createSecret),
		cp("GET", a+"/secrets/{secret}", getSecret),
		cp("PATCH", a+"/secrets/{secret}", updating("secret", rft.Secrets, (*control.Control).UpdateSecret)),
		cp("DELETE", a+"/secrets/{secret}", deleteSecret),

		cp("PATCH", a+"/datasets/{dataset}", updating("dataset", rft.Datasets, (*control.Control).UpdateDataset)),
		cp("PATCH", a+"/models/{model}", updating("model", rft.Models, (*control.Control).UpdateModel)),

		cp("PATCH", a+"/deployments/{deployment}", updating("deployment", rft.Deployments, (*control.Control).UpdateDeployment)),
		cp("PATCH", a+"/deployments/{deployment}:scale", scaleDeployment),
		cp("POST", a+"/deployments/{deployment}:undelete", undeleteDeployment),
		cp("PATCH", a+"/deployedModels/{deployed}", updating("deployed", rft.Deployed, (*control.Control).UpdateDeployedModel)),

		cp("GET", a+"/deploymentShapes", listShapes),
		cp("GET", a+"/deploymentShapes/{shape}", getShape),
		cp("GET", a+"/deploymentShapes/{shape}/versions", listShapeVersions),
		cp("GET", a+"/deploymentShapes/{shape}/versions/{version}", getShapeVersion),
		cp("POST", a+"/deploymentShapeVersions:match", matchShapes),
	}
}

// updateOf is an operation that changes a resource.
type updateOf[T any] func(c *control.Control, ctx context.Context, who control.Caller, account, id string, p api.Patch) (*T, error)

// updating is the handler of an update.
func updating[T any](param string, of rft.Collection, update updateOf[T]) func(*request) error {
	return func(rq *request) error {
		rq.note(func(u *use) { u.body = reflect.TypeFor[T]() })
		a, id, err := rq.ref(param, of)
		if err != nil {
			return err
		}
		p, err := rq.patch()
		if err != nil {
			return err
		}
		v, err := update(rq.s.control, rq.ctx(), rq.caller, a, id, p)
		return rq.reply(v, err)
	}
}

func listSecrets(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.SecretList, error) {
		return rq.s.control.ListSecrets(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func createSecret(rq *request) error {
	var b api.Secret
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.CreateSecret(rq.ctx(), rq.caller, rq.params["account"], &b)
	return rq.reply(v, err)
}

func getSecret(rq *request) error {
	a, id, err := rq.ref("secret", rft.Secrets)
	if err != nil {
		return err
	}
	v, err := rq.s.control.GetSecret(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func deleteSecret(rq *request) error {
	a, id, err := rq.ref("secret", rft.Secrets)
	if err != nil {
		return err
	}
	return rq.done(rq.s.control.DeleteSecret(rq.ctx(), rq.caller, a, id))
}

func scaleDeployment(rq *request) error {
	a, id, err := rq.ref("deployment", rft.Deployments)
	if err != nil {
		return err
	}
	var b api.ScaleDeploymentRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	return rq.done(rq.s.control.ScaleDeployment(rq.ctx(), rq.caller, a, id, b.ReplicaCount))
}

func undeleteDeployment(rq *request) error {
	a, id, err := rq.ref("deployment", rft.Deployments)
	if err != nil {
		return err
	}
	if _, err := rq.readBody(maxBody); err != nil {
		return err
	}
	v, err := rq.s.control.UndeleteDeployment(rq.ctx(), rq.caller, a, id)
	return rq.reply(v, err)
}

func listShapes(rq *request) error {
	return listing(rq, func(control.ListQuery) (*api.ShapeList, error) {
		return rq.s.control.ListShapes(rq.ctx(), rq.caller, rq.params["account"])
	})
}

func listShapeVersions(rq *request) error {
	return listing(rq, func(control.ListQuery) (*api.ShapeVersionList, error) {
		return rq.s.control.ListShapeVersions(rq.ctx(), rq.caller, rq.params["account"])
	})
}

func matchShapes(rq *request) error {
	if _, err := rq.readBody(maxBody); err != nil {
		return err
	}
	v, err := rq.s.control.ListShapeVersions(rq.ctx(), rq.caller, rq.params["account"])
	return rq.reply(v, err)
}

func getShape(rq *request) error {
	return rq.s.control.GetShape(rq.ctx(), rq.caller, rq.params["account"], rq.params["shape"], "")
}

func getShapeVersion(rq *request) error {
	return rq.s.control.GetShape(rq.ctx(), rq.caller, rq.params["account"], rq.params["shape"], rq.params["version"])
}

package control

import (
	"context"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/authz"
	"github.com/firekeep/firekeep/internal/rft"
	"github.com/firekeep/firekeep/internal/store"
)

// serverlessDeployment is what references to published bases name as their
// deployment where models are deployed by themselves: clients of the contract take
// a deployment of the operator's account for "answers without one of your own".
var serverlessDeployment = rft.Name{Account: rft.OperatorAccount, Collection: rft.Deployments, ID: "serverless"}.String()

// ListModelsWithRefs is ListModels with where each model is deployed: on the
// caller's deployments and, for a published base, by itself.
func (c *Control) ListModelsWithRefs(ctx context.Context, who Caller, account string, q ListQuery) (*api.ModelList, error) {
	l, err := c.ListModels(ctx, who, account, q)
	if err != nil {
		return nil, err
	}
	refs := map[string][]api.DeployedModelRef{}
	err = pages(func(o store.ListOptions) (store.Page[store.DeployedModel], error) {
		return c.DB.ListDeployedModels(ctx, who.Account, o)
	}, func(d store.DeployedModel) error {
		refs[d.Model] = append(refs[d.Model], api.DeployedModelRef{Name: deployedName(d.Account, d.ID), Deployment: d.Deployment, State: d.State, Default: d.Default, Public: d.Public})
		return nil
	})
	for i := range l.Models {
		m := &l.Models[i]
		m.DeployedModelRefs = refs[m.Name]
		if account == rft.OperatorAccount && !c.ManualDeployments && m.Kind == store.KindBase && m.State == store.StateReady {
			n, err := rft.ParseName("model", m.Name, account, rft.Models)
			if err != nil {
				return nil, err
			}
			m.DeployedModelRefs = append(m.DeployedModelRefs, api.DeployedModelRef{Name: deployedName(account, n.ID), Deployment: serverlessDeployment,
				State: "DEPLOYED", Default: true, Public: true})
		}
	}
	return l, err
}

// ListServerlessBases lists the published bases whose adapters answer without a
// deployment: all of them, unless models are deployed by hand.
func (c *Control) ListServerlessBases(ctx context.Context, who Caller) ([]string, error) {
	if err := c.allow(ctx, who, authz.ListModels, rft.OperatorAccount, rft.AccountName(rft.OperatorAccount)); err != nil || c.ManualDeployments {
		return nil, err
	}
	var names []string
	ready := []store.Term{{Field: "public", Op: "=", Value: "true"}, {Field: "state", Op: "=", Value: store.StateReady}, {Field: "kind", Op: "=", Value: store.KindBase}}
	err := pages(func(o store.ListOptions) (store.Page[store.Model], error) {
		o.Filter = ready
		return c.DB.ListModels(ctx, rft.OperatorAccount, o)
	}, func(m store.Model) error {
		names = append(names, m.Name())
		return nil
	})
	return names, err
}

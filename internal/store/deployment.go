package store

import (
	"context"
	"time"

	"github.com/firekeep/firekeep/internal/rft"
)

var deployments = table[Deployment]{
	name: "deployments",
	fields: func(d *Deployment) []field {
		return []field{{"uid", &d.UID}, {"account", &d.Account}, {"id", &d.ID}, {"display_name", &d.DisplayName}, {"base_model", &d.BaseModel},
			{"state", &d.State}, {"status_code", &d.Status.Code}, {"status_message", &d.Status.Message}, {"min_replicas", &d.MinReplicas}, {"max_replicas", &d.MaxReplicas},
			{"enable_addons", &d.EnableAddons}, {"enable_hot_reload", &d.EnableHotReload}, {"config", &d.Config}, {"created_by", &d.CreatedBy},
			{"created", &d.Created}, {"updated", &d.Updated}, {"deleted", &d.Deleted}, {"replicas", &d.Replicas}}
	},
	filter: columns{"name": "id", "state": "state", "display_name": "display_name", "base_model": "base_model", "created_by": "created_by", "create_time": "created@", "update_time": "updated@",
		"enable_addons": "enable_addons#", "min_replica_count": "min_replicas#", "max_replica_count": "max_replicas#"},
}

var deployedModels = table[DeployedModel]{
	name: "deployed_models",
	fields: func(d *DeployedModel) []field {
		return []field{{"uid", &d.UID}, {"account", &d.Account}, {"id", &d.ID}, {"display_name", &d.DisplayName}, {"description", &d.Description},
			{"model", &d.Model}, {"deployment", &d.Deployment}, {"is_default", &d.Default}, {"public", &d.Public}, {"serverless", &d.Serverless},
			{"state", &d.State}, {"status_code", &d.Status.Code}, {"status_message", &d.Status.Message}, {"created_by", &d.CreatedBy},
			{"created", &d.Created}, {"updated", &d.Updated}}
	},
	filter: columns{"state": "state", "display_name": "display_name", "name": "id", "model": "model", "deployment": "deployment", "default": "is_default#", "public": "public#", "serverless": "serverless#",
		"create_time": "created@", "update_time": "updated@"},
}

// CreateDeployment adds a deployment.
func (db *DB) CreateDeployment(ctx context.Context, d Deployment, act Act) (Deployment, error) {
	err := db.write(ctx, func(t *tx) error {
		d.UID, d.Created, d.Updated = NewUID(), t.now, t.now
		// The tombstone of an earlier one gives way.
		if _, err := t.exec(ctx, "DELETE FROM deployments WHERE account = ? AND deleted <> 0 AND (id = ? OR deleted < ?)", d.Account, d.ID, micros(t.now.Add(-KeepDeployments))); err != nil {
			return err
		}
		if ok, err := t.insertNew(ctx, deployments.name, deployments.fields(&d)); err != nil || !ok {
			return exists(err, d.Name())
		}
		return t.audit(ctx, act, "OK")
	})
	return d, err
}

// Deployment returns a deployment.
func (db *DB) Deployment(ctx context.Context, account, id string) (d Deployment, err error) {
	err = db.read(ctx, func(t *tx) error {
		d, err = deployment(ctx, t, account, id)
		return err
	})
	return d, err
}

func deployment(ctx context.Context, t *tx, account, id string) (Deployment, error) {
	d, ok, err := deployments.one(ctx, t, "account = ? AND id = ? AND deleted = 0", account, id)
	return d, found(ok, err, Deployment{Account: account, ID: id}.Name())
}

// ListDeployments lists the deployments of an account.
func (db *DB) ListDeployments(ctx context.Context, account string, o ListOptions) (p Page[Deployment], err error) {
	return db.listDeployments(ctx, account, o, "deleted = 0")
}

// ListAllDeployments lists them with those that were deleted and can be undeleted.
func (db *DB) ListAllDeployments(ctx context.Context, account string, o ListOptions) (p Page[Deployment], err error) {
	return db.listDeployments(ctx, account, o, "(deleted = 0 OR deleted >= ?)", micros(db.Now().Add(-KeepDeployments)))
}

func (db *DB) listDeployments(ctx context.Context, account string, o ListOptions, which string, args ...any) (p Page[Deployment], err error) {
	l, err := newListing(o, deployments.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ?", account)
	l.and(which, args...)
	err = db.read(ctx, func(t *tx) error {
		p, err = deployments.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// UpdateDeployment changes a deployment within one transaction.
func (db *DB) UpdateDeployment(ctx context.Context, account, id string, act Act, change func(*Deployment) error) (d Deployment, err error) {
	err = db.write(ctx, func(t *tx) error {
		if d, err = deployment(ctx, t, account, id); err != nil {
			return err
		}
		uid, created := d.UID, d.Created
		if err := change(&d); err != nil {
			return err
		}
		d.UID, d.Account, d.ID, d.Created, d.Updated = uid, account, id, created, t.now
		if err := t.update(ctx, deployments.name, d.UID, deployments.fields(&d)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return d, err
}

// KeepDeployments is how long a deleted deployment can be undeleted.
const KeepDeployments = 30 * 24 * time.Hour

// DeleteDeployment unloads what a deployment serves and leaves a tombstone, from
// which UndeleteDeployment brings it back; with hard there is none.
func (db *DB) DeleteDeployment(ctx context.Context, account, id string, hard bool, act Act) error {
	return db.write(ctx, func(t *tx) error {
		d, err := deployment(ctx, t, account, id)
		if err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM deployed_models WHERE deployment = ?", d.Name()); err != nil {
			return err
		}
		query, args := "UPDATE deployments SET deleted = ?, state = 'DELETED' WHERE uid = ?", []any{micros(t.now), d.UID}
		if hard {
			query, args = "DELETE FROM deployments WHERE uid = ?", args[1:]
		}
		if _, err := t.exec(ctx, query, args...); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}

// UndeleteDeployment brings a deleted deployment back while its model is there.
func (db *DB) UndeleteDeployment(ctx context.Context, account, id string, act Act) (d Deployment, err error) {
	err = db.write(ctx, func(t *tx) error {
		var ok bool
		d, ok, err = deployments.one(ctx, t, "account = ? AND id = ? AND (deleted = 0 OR deleted >= ?)", account, id, micros(t.now.Add(-KeepDeployments)))
		if err := found(ok, err, Deployment{Account: account, ID: id}.Name()); err != nil {
			return err
		}
		if d.Deleted.IsZero() {
			return rft.Errorf(rft.KindFailedPrecondition, "%s is not deleted", d.Name())
		}
		base, err := rft.ParseName("baseModel", d.BaseModel, account, rft.Models)
		if err != nil {
			return err
		}
		if _, err := model(ctx, t, base.Account, base.ID); err != nil {
			return rft.Wrap(rft.KindFailedPrecondition, err, "%s cannot come back: its model %s is gone", d.Name(), d.BaseModel)
		}
		d.Deleted, d.State, d.Updated = time.Time{}, "READY", t.now
		if err := t.update(ctx, deployments.name, d.UID, deployments.fields(&d)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return d, err
}

// CreateDeployedModel loads a model on a deployment; ALREADY_EXISTS when it is
// loaded there. With replace, the other models of the deployment go.
func (db *DB) CreateDeployedModel(ctx context.Context, d DeployedModel, replace bool, act Act) (DeployedModel, error) {
	err := db.write(ctx, func(t *tx) error {
		if replace && d.Deployment != "" { // "" is no deployment, and is everybody's
			if _, err := t.exec(ctx, "DELETE FROM deployed_models WHERE account = ? AND deployment = ? AND model <> ?", d.Account, d.Deployment, d.Model); err != nil {
				return err
			}
		}
		d.UID, d.Created, d.Updated = NewUID(), t.now, t.now
		if ok, err := t.insertNew(ctx, deployedModels.name, deployedModels.fields(&d)); err != nil || !ok {
			return exists(err, deployedName(d.Account, d.ID)+" or "+d.Model+" on "+d.Deployment)
		}
		return t.audit(ctx, act, "OK")
	})
	return d, err
}

// DeployedModel returns a deployed model.
func (db *DB) DeployedModel(ctx context.Context, account, id string) (d DeployedModel, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		d, ok, err = deployedModels.one(ctx, t, "account = ? AND id = ?", account, id)
		return found(ok, err, deployedName(account, id))
	})
	return d, err
}

// ListDeployedModels lists the deployed models of an account.
func (db *DB) ListDeployedModels(ctx context.Context, account string, o ListOptions) (p Page[DeployedModel], err error) {
	l, err := newListing(o, deployedModels.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ?", account)
	err = db.read(ctx, func(t *tx) error {
		p, err = deployedModels.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// UpdateDeployedModel changes a deployed model within one transaction.
func (db *DB) UpdateDeployedModel(ctx context.Context, account, id string, act Act, change func(*DeployedModel) error) (d DeployedModel, err error) {
	err = db.write(ctx, func(t *tx) error {
		var ok bool
		d, ok, err = deployedModels.one(ctx, t, "account = ? AND id = ?", account, id)
		if err := found(ok, err, deployedName(account, id)); err != nil {
			return err
		}
		uid, created := d.UID, d.Created
		if err := change(&d); err != nil {
			return err
		}
		d.UID, d.Account, d.ID, d.Created, d.Updated = uid, account, id, created, t.now
		if err := t.update(ctx, deployedModels.name, d.UID, deployedModels.fields(&d)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return d, err
}

// DeleteDeployedModel unloads a model.
func (db *DB) DeleteDeployedModel(ctx context.Context, account, id string, act Act) error {
	return db.write(ctx, func(t *tx) error {
		n, err := t.exec(ctx, "DELETE FROM deployed_models WHERE account = ? AND id = ?", account, id)
		if err := found(n == 1, err, deployedName(account, id)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
}

func deployedName(account, id string) string {
	return rft.Name{Account: account, Collection: rft.Deployed, ID: id}.String()
}

package store

import (
	"context"

	"github.com/firekeep/firekeep/internal/rft"
)

var models = table[Model]{
	name: "models",
	fields: func(m *Model) []field {
		return []field{{"uid", &m.UID}, {"account", &m.Account}, {"id", &m.ID}, {"display_name", &m.DisplayName}, {"description", &m.Description},
			{"kind", &m.Kind}, {"state", &m.State}, {"status_code", &m.Status.Code}, {"status_message", &m.Status.Message},
			{"base_model", &m.BaseModel}, {"base_uid", &m.BaseUID}, {"lora_rank", &m.Rank}, {"lora_alpha", &m.Alpha}, {"lora_targets", &m.Targets},
			{"spec", &m.Spec}, {"config", &m.Config}, {"parameters", &m.Parameters}, {"context_length", &m.ContextLength}, {"has_chat", &m.HasChat},
			{"digest", &m.Digest}, {"artifact", &m.Artifact}, {"attestation", &m.Attestation},
			{"attestation_digest", &m.AttestationDigest}, {"size", &m.Size}, {"fine_tuning_job", &m.FineTuningJob}, {"job_uid", &m.JobUID},
			{"imported_from", &m.ImportedFrom}, {"public", &m.Public}, {"created_by", &m.CreatedBy}, {"created", &m.Created}, {"updated", &m.Updated}}
	},
	filter: columns{"name": "id", "supports_serverless": "1#", "state": "state", "kind": "kind", "display_name": "display_name", "base_model": "base_model", "peft_details.base_model": "base_model",
		"fine_tuning_job": "fine_tuning_job", "public": "public#", "created_by": "created_by", "create_time": "created@", "update_time": "updated@"},
}

// CreateModel adds a model and, when job is not nil, queues the job that
// imports it. A model without a job is READY as given.
func (db *DB) CreateModel(ctx context.Context, m Model, job *Job, act Act) (Model, error) {
	err := db.write(ctx, func(t *tx) error {
		if m.UID == "" {
			m.UID = NewUID()
		}
		if err := t.createModel(ctx, &m); err != nil {
			return err
		}
		if job != nil {
			if err := t.queueJob(ctx, job); err != nil {
				return err
			}
		}
		return t.audit(ctx, act, "OK")
	})
	return m, err
}

// AddModel adds a model that is READY as given, if those that it stands on still are.
func (db *DB) AddModel(ctx context.Context, m Model, on []string, act Act) (Model, error) {
	err := db.write(ctx, func(t *tx) error {
		if err := t.readyModels(ctx, on); err != nil {
			return err
		}
		if err := t.createModel(ctx, &m); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return m, err
}

// ModelOf returns the model that a job made.
func (db *DB) ModelOf(ctx context.Context, job string) (m Model, ok bool, err error) {
	err = db.read(ctx, func(t *tx) error {
		m, ok, err = models.one(ctx, t, "job_uid = ? AND state = ?", job, StateReady)
		return err
	})
	return m, ok, err
}

func (t *tx) createModel(ctx context.Context, m *Model) error {
	m.Created, m.Updated = t.now, t.now
	ok, err := t.insertNew(ctx, models.name, models.fields(m))
	if err != nil || !ok {
		return exists(err, m.Name())
	}
	return nil
}

// Model returns a model; a reserved name is not found.
func (db *DB) Model(ctx context.Context, account, id string) (m Model, err error) {
	err = db.read(ctx, func(t *tx) error {
		m, err = model(ctx, t, account, id)
		return err
	})
	return m, err
}

func model(ctx context.Context, t *tx, account, id string) (Model, error) {
	m, ok, err := models.one(ctx, t, "account = ? AND id = ? AND state <> ?", account, id, StateReserved)
	return m, found(ok, err, Model{Account: account, ID: id}.Name())
}

// ModelByUID returns a model, reserved ones too.
func (db *DB) ModelByUID(ctx context.Context, uid string) (m Model, err error) {
	err = db.read(ctx, func(t *tx) error {
		var ok bool
		m, ok, err = models.one(ctx, t, "uid = ?", uid)
		return found(ok, err, "model")
	})
	return m, err
}

// ListModels lists the models of an account without reserved names.
func (db *DB) ListModels(ctx context.Context, account string, o ListOptions) (p Page[Model], err error) {
	l, err := newListing(o, models.filter)
	if err != nil {
		return p, err
	}
	l.and("account = ? AND state <> ?", account, StateReserved)
	err = db.read(ctx, func(t *tx) error {
		p, err = models.page(ctx, t, l, o.After)
		return err
	})
	return p, err
}

// ModelChange holds the fields of a model that its owner may change; nil = keep.
type ModelChange struct {
	DisplayName, Description *string
	Public                   *bool
}

// UpdateModel changes a model.
func (db *DB) UpdateModel(ctx context.Context, account, id string, c ModelChange, act Act) (m Model, err error) {
	err = db.write(ctx, func(t *tx) error {
		if m, err = model(ctx, t, account, id); err != nil {
			return err
		}
		if c.DisplayName != nil {
			m.DisplayName = *c.DisplayName
		}
		if c.Description != nil {
			m.Description = *c.Description
		}
		if c.Public != nil {
			m.Public = *c.Public
		}
		m.Updated = t.now
		if err := t.update(ctx, models.name, m.UID, models.fields(&m)); err != nil {
			return err
		}
		return t.audit(ctx, act, "OK")
	})
	return m, err
}

// DeleteModel removes a model with its deployed models and returns it; the
// caller removes its artefact. Refused with FAILED_PRECONDITION while adapters
// stand on it or a live job uses it.
func (db *DB) DeleteModel(ctx context.Context, account, id string, act Act) (m Model, err error) {
	err = db.write(ctx, func(t *tx) error {
		if m, err = model(ctx, t, account, id); err != nil {
			return err
		}
		if err := t.unusedModel(ctx, m); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM deployed_models WHERE model = ?", m.Name()); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM jobs WHERE account = ? AND kind = ? AND output_model = ?", account, string(JobImport), m.Name()); err != nil {
			return err
		}
		if _, err := t.forgetFiles(ctx, m.UID); err != nil {
			return err
		}
		if _, err := t.exec(ctx, "DELETE FROM models WHERE uid = ?", m.UID); err != nil {
			return err
		}
		t.jobs = true
		return t.audit(ctx, act, "OK")
	})
	return m, err
}

// unusedModel refuses when something needs m. Dependents of other accounts are
// counted, not named.
func (t *tx) unusedModel(ctx context.Context, m Model) error {
	var n int
	if err := t.row(ctx, "SELECT COUNT(*) FROM models WHERE base_uid = ?", m.UID).Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		return rft.Errorf(rft.KindFailedPrecondition, "%s has %d adapters; delete them first", m.Name(), n)
	}
	if err := t.row(ctx, "SELECT COUNT(*) FROM deployments WHERE base_model = ? AND deleted = 0", m.Name()).Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		return rft.Errorf(rft.KindFailedPrecondition, "%s is served by %d deployments; delete them first", m.Name(), n)
	}
	if err := t.unused(ctx, m.Account, "warm_start", m.Name()); err != nil {
		return err
	}
	if err := t.unused(ctx, m.Account, "base_model", m.Name()); err != nil {
		return err
	}
	return t.unusedAbroad(ctx, m)
}

// unusedAbroad refuses when live jobs of other accounts read a model of the
// operator's. A model of anybody else is read by its own account alone.
func (t *tx) unusedAbroad(ctx context.Context, m Model) error {
	if m.Account != rft.OperatorAccount {
		return nil
	}
	var n int
	if err := t.row(ctx, "SELECT COUNT(*) FROM jobs WHERE account <> ? AND (warm_start = ? OR base_model = ?) AND "+readsInputs, m.Account, m.Name(), m.Name()).Scan(&n); err != nil || n == 0 {
		return err
	}
	return rft.Errorf(rft.KindFailedPrecondition, "%s is in use by %d jobs of other accounts; take it back (\"public\": false), so that there are no more, and wait for them", m.Name(), n)
}

// UnsharedDigest runs remove when no model has this digest, and keeps imports
// from finishing meanwhile.
func (db *DB) UnsharedDigest(ctx context.Context, digest string, remove func() error) error {
	return db.write(ctx, func(t *tx) error {
		var n int
		if err := t.row(ctx, "SELECT COUNT(*) FROM models WHERE digest = ? AND kind = ?", digest, KindBase).Scan(&n); err != nil || n > 0 {
			return err
		}
		return remove()
	})
}

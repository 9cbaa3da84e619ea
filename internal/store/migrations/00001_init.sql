-- +goose Up
-- Types are the three that SQLite and PostgreSQL store alike. Times are
-- microseconds since 1970, 0 = none; booleans are 0 and 1; structure is JSON.

CREATE TABLE accounts (
  uid TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, display_name TEXT NOT NULL, email TEXT NOT NULL,
  created BIGINT NOT NULL, updated BIGINT NOT NULL
);

CREATE TABLE users (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), id TEXT NOT NULL, display_name TEXT NOT NULL, email TEXT NOT NULL,
  role TEXT NOT NULL, permission_preset TEXT NOT NULL, service_account BIGINT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL,
  UNIQUE (account, id)
);

CREATE TABLE api_keys (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, user_id TEXT NOT NULL, display_name TEXT NOT NULL, prefix TEXT NOT NULL,
  hash BYTEA NOT NULL UNIQUE, annotations TEXT NOT NULL, created BIGINT NOT NULL, expires BIGINT NOT NULL, last_used BIGINT NOT NULL,
  FOREIGN KEY (account, user_id) REFERENCES users (account, id)
);
CREATE INDEX api_keys_user ON api_keys (account, user_id);

CREATE TABLE connections (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), id TEXT NOT NULL, display_name TEXT NOT NULL, kind TEXT NOT NULL,
  url_prefix TEXT NOT NULL, options TEXT NOT NULL, sealed BYTEA NOT NULL, created_by TEXT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL,
  UNIQUE (account, id)
);

CREATE TABLE datasets (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), id TEXT NOT NULL, display_name TEXT NOT NULL, external_url TEXT NOT NULL,
  uploaded BIGINT NOT NULL, format TEXT NOT NULL, state TEXT NOT NULL, status_code TEXT NOT NULL, status_message TEXT NOT NULL,
  counts TEXT NOT NULL, index_key TEXT NOT NULL, index_digest TEXT NOT NULL, created_by TEXT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL,
  UNIQUE (account, id)
);

CREATE TABLE dataset_objects (
  dataset TEXT NOT NULL REFERENCES datasets (uid) ON DELETE CASCADE, ordinal BIGINT NOT NULL, object_key TEXT NOT NULL,
  size BIGINT NOT NULL, version TEXT NOT NULL, etag TEXT NOT NULL, sha256 TEXT NOT NULL,
  PRIMARY KEY (dataset, ordinal)
);

CREATE TABLE models (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), id TEXT NOT NULL, display_name TEXT NOT NULL, description TEXT NOT NULL,
  kind TEXT NOT NULL, state TEXT NOT NULL, status_code TEXT NOT NULL, status_message TEXT NOT NULL, base_model TEXT NOT NULL, base_uid TEXT NOT NULL,
  lora_rank BIGINT NOT NULL, lora_alpha DOUBLE PRECISION NOT NULL, lora_targets TEXT NOT NULL, spec TEXT NOT NULL, config TEXT NOT NULL,
  parameters BIGINT NOT NULL, context_length BIGINT NOT NULL, has_chat BIGINT NOT NULL, digest TEXT NOT NULL, artifact TEXT NOT NULL, size BIGINT NOT NULL,
  fine_tuning_job TEXT NOT NULL, job_uid TEXT NOT NULL, imported_from TEXT NOT NULL, public BIGINT NOT NULL, created_by TEXT NOT NULL,
  created BIGINT NOT NULL, updated BIGINT NOT NULL,
  UNIQUE (account, id)
);
CREATE INDEX models_base ON models (base_uid);
CREATE INDEX models_job ON models (job_uid);

CREATE TABLE jobs (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), id TEXT NOT NULL, kind TEXT NOT NULL, display_name TEXT NOT NULL,
  spec TEXT NOT NULL, state TEXT NOT NULL, status_code TEXT NOT NULL, status_message TEXT NOT NULL, progress TEXT NOT NULL, result TEXT NOT NULL,
  dataset TEXT NOT NULL, base_model TEXT NOT NULL, warm_start TEXT NOT NULL, output_model TEXT NOT NULL,
  owner TEXT NOT NULL, expires BIGINT NOT NULL, fence BIGINT NOT NULL, attempt BIGINT NOT NULL, tries BIGINT NOT NULL,
  created_by TEXT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL, started BIGINT NOT NULL, completed BIGINT NOT NULL,
  UNIQUE (account, kind, id)
);
CREATE INDEX jobs_queue ON jobs (state, created);
CREATE INDEX jobs_dataset ON jobs (dataset);

CREATE TABLE job_events (
  job TEXT NOT NULL REFERENCES jobs (uid) ON DELETE CASCADE, seq BIGINT NOT NULL, at BIGINT NOT NULL, kind TEXT NOT NULL,
  update_no BIGINT NOT NULL, data TEXT NOT NULL,
  PRIMARY KEY (job, seq)
);
CREATE INDEX job_events_update ON job_events (job, kind, update_no);

CREATE TABLE resume_points (
  job TEXT NOT NULL REFERENCES jobs (uid) ON DELETE CASCADE, update_no BIGINT NOT NULL, mark TEXT NOT NULL, artifact TEXT NOT NULL,
  digest TEXT NOT NULL, created BIGINT NOT NULL,
  PRIMARY KEY (job, update_no)
);

CREATE TABLE deployments (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), id TEXT NOT NULL, display_name TEXT NOT NULL, base_model TEXT NOT NULL,
  state TEXT NOT NULL, status_code TEXT NOT NULL, status_message TEXT NOT NULL, min_replicas BIGINT NOT NULL, max_replicas BIGINT NOT NULL,
  enable_addons BIGINT NOT NULL, enable_hot_reload BIGINT NOT NULL, config TEXT NOT NULL, created_by TEXT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL,
  UNIQUE (account, id)
);

CREATE TABLE deployed_models (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), id TEXT NOT NULL, display_name TEXT NOT NULL, description TEXT NOT NULL,
  model TEXT NOT NULL, deployment TEXT NOT NULL, is_default BIGINT NOT NULL, public BIGINT NOT NULL, serverless BIGINT NOT NULL,
  state TEXT NOT NULL, status_code TEXT NOT NULL, status_message TEXT NOT NULL, created_by TEXT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL,
  UNIQUE (account, id), UNIQUE (account, model, deployment)
);

CREATE TABLE audit_outbox (
  seq BIGINT PRIMARY KEY, at BIGINT NOT NULL, account TEXT NOT NULL, actor TEXT NOT NULL, method TEXT NOT NULL, resource TEXT NOT NULL,
  api_key_id TEXT NOT NULL, client_ip TEXT NOT NULL, user_agent TEXT NOT NULL, detail TEXT NOT NULL, result TEXT NOT NULL, log_index BIGINT NOT NULL
);
CREATE INDEX audit_outbox_account ON audit_outbox (account, seq);
CREATE INDEX audit_outbox_unlogged ON audit_outbox (log_index, seq);

-- +goose Down
DROP TABLE audit_outbox;
DROP TABLE deployed_models;
DROP TABLE deployments;
DROP TABLE resume_points;
DROP TABLE job_events;
DROP TABLE jobs;
DROP TABLE models;
DROP TABLE dataset_objects;
DROP TABLE datasets;
DROP TABLE connections;
DROP TABLE api_keys;
DROP TABLE users;
DROP TABLE accounts;

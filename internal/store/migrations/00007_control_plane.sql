-- +goose Up
-- Secrets of an account: sealed under its key, write-only.
CREATE TABLE secrets (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), id TEXT NOT NULL, key_name TEXT NOT NULL, sealed BYTEA NOT NULL,
  created_by TEXT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL,
  UNIQUE (account, id)
);

-- deleted: when a deployment was deleted, 0 = it is there; replicas: how many it
-- was told to have, 0 = it was scaled to zero.
ALTER TABLE deployments ADD COLUMN deleted BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deployments ADD COLUMN replicas BIGINT NOT NULL DEFAULT 1;

-- Files that were announced for a dataset or a model (owner is its uid) and may
-- be uploaded by URL; object_key is '' until one arrived.
CREATE TABLE upload_files (
  owner TEXT NOT NULL, account TEXT NOT NULL, name TEXT NOT NULL, batch TEXT NOT NULL, size BIGINT NOT NULL, object_key TEXT NOT NULL,
  sha256 TEXT NOT NULL, created BIGINT NOT NULL,
  PRIMARY KEY (owner, name)
);

-- +goose Down
DROP TABLE upload_files;
ALTER TABLE deployments DROP COLUMN replicas;
ALTER TABLE deployments DROP COLUMN deleted;
DROP TABLE secrets;

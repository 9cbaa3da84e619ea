-- +goose Up
-- Where the signed statements about a model lie; '' = it was never signed.
ALTER TABLE models ADD COLUMN attestation TEXT NOT NULL DEFAULT '';
ALTER TABLE models ADD COLUMN attestation_digest TEXT NOT NULL DEFAULT '';

-- The keys that sign models. One is current (retired = 0); those before it still verify.
CREATE TABLE signing_keys (
  id TEXT PRIMARY KEY, sealed BYTEA NOT NULL, created BIGINT NOT NULL, retired BIGINT NOT NULL
);

-- What an account demands of models that come in and go out.
CREATE TABLE model_policies (
  account TEXT PRIMARY KEY REFERENCES accounts (id), rules TEXT NOT NULL, updated_by TEXT NOT NULL, updated BIGINT NOT NULL
);

-- Exports that wait for another principal, or did.
CREATE TABLE export_requests (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), id TEXT NOT NULL, model TEXT NOT NULL, model_uid TEXT NOT NULL,
  model_digest TEXT NOT NULL, destination TEXT NOT NULL, state TEXT NOT NULL, requested_by TEXT NOT NULL, decided_by TEXT NOT NULL, reason TEXT NOT NULL,
  created BIGINT NOT NULL, expires BIGINT NOT NULL, decided BIGINT NOT NULL,
  UNIQUE (account, id)
);

-- Passwords of OCI registries, sealed.
CREATE TABLE registry_logins (
  account TEXT NOT NULL REFERENCES accounts (id), host TEXT NOT NULL, username TEXT NOT NULL, sealed BYTEA NOT NULL,
  updated_by TEXT NOT NULL, updated BIGINT NOT NULL,
  PRIMARY KEY (account, host)
);

-- +goose Down
DROP TABLE registry_logins;
DROP TABLE export_requests;
DROP TABLE model_policies;
DROP TABLE signing_keys;
ALTER TABLE models DROP COLUMN attestation_digest;
ALTER TABLE models DROP COLUMN attestation;

-- +goose Up
-- Tenants: an account is ACTIVE, SUSPENDED or DELETED; a deleted one stays as a
-- row, so that its name is never given to somebody else. quotas holds what was
-- set, steps_limit repeats what the queue needs of it (0 = no limit).
ALTER TABLE accounts ADD COLUMN state TEXT NOT NULL DEFAULT 'ACTIVE';
ALTER TABLE accounts ADD COLUMN quotas TEXT NOT NULL DEFAULT '{}';
ALTER TABLE accounts ADD COLUMN steps_limit BIGINT NOT NULL DEFAULT 0;

-- Keys: kind is "key", "login" or "workload"; scope is JSON, '' = all that the
-- user may; replaces is the id of the key that this one was rotated from.
ALTER TABLE api_keys ADD COLUMN kind TEXT NOT NULL DEFAULT 'key';
ALTER TABLE api_keys ADD COLUMN scope TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN replaces TEXT NOT NULL DEFAULT '';
ALTER TABLE api_keys ADD COLUMN created_by TEXT NOT NULL DEFAULT '';
CREATE INDEX api_keys_expiry ON api_keys (kind, expires);
CREATE INDEX jobs_account ON jobs (account, kind, started);

CREATE TABLE roles (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), id TEXT NOT NULL, display_name TEXT NOT NULL, policy TEXT NOT NULL,
  created_by TEXT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL,
  UNIQUE (account, id)
);

CREATE TABLE identity_providers (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), id TEXT NOT NULL, display_name TEXT NOT NULL, kind TEXT NOT NULL,
  issuer TEXT NOT NULL, audience TEXT NOT NULL, config TEXT NOT NULL, created_by TEXT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL,
  UNIQUE (account, id)
);

-- Who a subject of an issuer is. E-mail addresses change hands; subjects do not.
CREATE TABLE identities (
  account TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, user_id TEXT NOT NULL, created BIGINT NOT NULL,
  PRIMARY KEY (account, issuer, subject),
  FOREIGN KEY (account, user_id) REFERENCES users (account, id)
);

-- Foreign tokens that were exchanged, until they would have expired anyway.
CREATE TABLE token_uses (
  account TEXT NOT NULL, issuer TEXT NOT NULL, token TEXT NOT NULL, expires BIGINT NOT NULL,
  PRIMARY KEY (account, issuer, token)
);

CREATE TABLE access_reviews (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL REFERENCES accounts (id), id TEXT NOT NULL, digest TEXT NOT NULL, content TEXT NOT NULL,
  signed_by TEXT NOT NULL, comment TEXT NOT NULL, created BIGINT NOT NULL,
  UNIQUE (account, id)
);

-- +goose Down
DROP TABLE access_reviews;
DROP TABLE token_uses;
DROP TABLE identities;
DROP TABLE identity_providers;
DROP TABLE roles;
DROP INDEX api_keys_expiry;
DROP INDEX jobs_account;
ALTER TABLE api_keys DROP COLUMN created_by;
ALTER TABLE api_keys DROP COLUMN replaces;
ALTER TABLE api_keys DROP COLUMN scope;
ALTER TABLE api_keys DROP COLUMN kind;
ALTER TABLE accounts DROP COLUMN steps_limit;
ALTER TABLE accounts DROP COLUMN quotas;
ALTER TABLE accounts DROP COLUMN state;

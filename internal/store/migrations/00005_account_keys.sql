-- +goose Up
-- The key-encryption keys of accounts. Envelopes name them by uid, so a row stays
-- as long as the account does; one row per account is current. A credential is
-- sealed under the host's key, proof is an envelope that protects nothing.

CREATE TABLE account_keys (
  uid TEXT PRIMARY KEY, account TEXT NOT NULL, account_uid TEXT NOT NULL, kind TEXT NOT NULL, settings TEXT NOT NULL,
  credential BYTEA NOT NULL, proof BYTEA NOT NULL, state TEXT NOT NULL, is_current BIGINT NOT NULL, created_by TEXT NOT NULL,
  created BIGINT NOT NULL, updated BIGINT NOT NULL
);
CREATE UNIQUE INDEX account_keys_current ON account_keys (account_uid) WHERE is_current = 1;
CREATE INDEX account_keys_account ON account_keys (account_uid, created);

-- +goose Down
DROP TABLE account_keys;

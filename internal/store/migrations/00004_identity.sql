-- +goose Up
-- auth is how a connection gets its credentials: a sealed secret, or a token of
-- our own issuer that the cloud exchanges. rotated is when the secret was last
-- set (0 = at creation), checked when the connection was last probed (0 = never).
ALTER TABLE connections ADD COLUMN auth TEXT NOT NULL DEFAULT 'secret';
ALTER TABLE connections ADD COLUMN state TEXT NOT NULL DEFAULT 'READY';
ALTER TABLE connections ADD COLUMN status_code TEXT NOT NULL DEFAULT 'OK';
ALTER TABLE connections ADD COLUMN status_message TEXT NOT NULL DEFAULT '';
ALTER TABLE connections ADD COLUMN rotated BIGINT NOT NULL DEFAULT 0;
ALTER TABLE connections ADD COLUMN checked BIGINT NOT NULL DEFAULT 0;

-- What was minted for whom, never the credential itself.
CREATE TABLE credentials (
  id TEXT PRIMARY KEY, account TEXT NOT NULL, job TEXT NOT NULL, purpose TEXT NOT NULL, connection TEXT NOT NULL, auth TEXT NOT NULL,
  url_prefix TEXT NOT NULL, access TEXT NOT NULL, minted BIGINT NOT NULL, expires BIGINT NOT NULL, dropped BIGINT NOT NULL
);
CREATE INDEX credentials_job ON credentials (account, job, minted);
CREATE INDEX credentials_minted ON credentials (minted);

-- Signing keys of the token issuer; ordinal makes two replicas agree on the next.
CREATE TABLE issuer_keys (
  id TEXT PRIMARY KEY, ordinal BIGINT NOT NULL UNIQUE, public_jwk TEXT NOT NULL, sealed BYTEA NOT NULL,
  created BIGINT NOT NULL, use_from BIGINT NOT NULL, retired BIGINT NOT NULL
);

-- +goose Down
DROP TABLE issuer_keys;
DROP TABLE credentials;
ALTER TABLE connections DROP COLUMN checked;
ALTER TABLE connections DROP COLUMN rotated;
ALTER TABLE connections DROP COLUMN status_message;
ALTER TABLE connections DROP COLUMN status_code;
ALTER TABLE connections DROP COLUMN state;
ALTER TABLE connections DROP COLUMN auth;

-- +goose Up
-- What the transparency log needs: who acted by an id that does not change, what
-- decided, and the log's own state. Rows of before keep empty texts.
ALTER TABLE audit_outbox ADD COLUMN actor_id TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_outbox ADD COLUMN actor_kind TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_outbox ADD COLUMN decision TEXT NOT NULL DEFAULT '';
ALTER TABLE audit_outbox ADD COLUMN policy TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_outbox_at ON audit_outbox (at, seq);

-- One row, id 1: the log's public key, its private key sealed, the newest tree
-- head, and how far the log was mirrored, exported and dropped from the outbox.
CREATE TABLE audit_state (
  id BIGINT PRIMARY KEY, verifier TEXT NOT NULL, sealed_key BYTEA NOT NULL, head TEXT NOT NULL, head_size BIGINT NOT NULL,
  mirrored BIGINT NOT NULL, exported BIGINT NOT NULL, dropped BIGINT NOT NULL
);

-- +goose Down
DROP TABLE audit_state;
DROP INDEX audit_outbox_at;
ALTER TABLE audit_outbox DROP COLUMN policy;
ALTER TABLE audit_outbox DROP COLUMN decision;
ALTER TABLE audit_outbox DROP COLUMN actor_kind;
ALTER TABLE audit_outbox DROP COLUMN actor_id;

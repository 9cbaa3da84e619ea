-- +goose Up
-- trainer: '' for a job of its own; the job's own uid for a keep-alive trainer,
-- which waits without a lease; the trainer's uid for one of its steps.
ALTER TABLE jobs ADD COLUMN trainer TEXT NOT NULL DEFAULT '';
CREATE INDEX jobs_trainer ON jobs (trainer, created);

-- +goose Down
DROP INDEX jobs_trainer;
ALTER TABLE jobs DROP COLUMN trainer;

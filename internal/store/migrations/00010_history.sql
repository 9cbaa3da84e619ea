-- +goose Up
-- The history of a job but its metrics, for whoever polls for what is new.
CREATE INDEX job_events_history ON job_events (job, seq) WHERE kind <> 'metrics';

-- +goose Down
DROP INDEX job_events_history;

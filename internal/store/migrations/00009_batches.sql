-- +goose Up
-- output_dataset: the name of the dataset that a batch inference job writes.
ALTER TABLE jobs ADD COLUMN output_dataset TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE jobs DROP COLUMN output_dataset;

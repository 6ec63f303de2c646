-- Whether the server chooses and increases the number of an item's partitions.
ALTER TABLE item ADD COLUMN partitions_auto boolean NOT NULL DEFAULT false;

-- Whether the server chooses and widens the number of an item's partitions.
ALTER TABLE item ADD COLUMN partitions_auto INTEGER NOT NULL DEFAULT 0
    CHECK (partitions_auto IN (0, 1));

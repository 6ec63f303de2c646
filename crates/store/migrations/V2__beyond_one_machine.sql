-- How an item's stock is divided among its slots, the counter of a slot that units go to, and the
-- nodes' leases.

ALTER TABLE item ADD COLUMN partitions INTEGER NOT NULL DEFAULT 1 CHECK (partitions BETWEEN 1
    AND 64);
ALTER TABLE item ADD COLUMN choose TEXT NOT NULL DEFAULT 'buyer'
    CHECK (choose IN ('buyer', 'random', 'round_robin'));
-- 0: all units
ALTER TABLE item ADD COLUMN spread_initial INTEGER NOT NULL DEFAULT 0 CHECK (spread_initial >= 0);
-- 0: no sub-domains
ALTER TABLE item ADD COLUMN spread_threshold INTEGER NOT NULL DEFAULT 0
    CHECK (spread_threshold >= 0);
ALTER TABLE item ADD COLUMN spread_refill INTEGER NOT NULL DEFAULT 0 CHECK (spread_refill >= 0);

-- in which of the slot's two counters
ALTER TABLE feed ADD COLUMN counter TEXT NOT NULL DEFAULT 'a' CHECK (counter = 'a'
    OR counter = 'b');

-- The nodes' leases. They only save work; nothing relies on them for correctness.
CREATE TABLE node (
    node  INTEGER PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;

-- How an item's stock is spread over its slots, which counter of a slot units go to, and which nodes are alive.

ALTER TABLE item ADD COLUMN partitions INTEGER NOT NULL DEFAULT 1 CHECK (partitions BETWEEN 1 AND 64);
ALTER TABLE item ADD COLUMN choose TEXT NOT NULL DEFAULT 'buyer' CHECK (choose IN ('buyer', 'random', 'round_robin'));
ALTER TABLE item ADD COLUMN spread_initial INTEGER NOT NULL DEFAULT 0 CHECK (spread_initial >= 0);     -- 0: all there is
ALTER TABLE item ADD COLUMN spread_threshold INTEGER NOT NULL DEFAULT 0 CHECK (spread_threshold >= 0); -- 0: no sub-domains
ALTER TABLE item ADD COLUMN spread_refill INTEGER NOT NULL DEFAULT 0 CHECK (spread_refill >= 0);

ALTER TABLE feed ADD COLUMN counter TEXT NOT NULL DEFAULT 'a' CHECK (counter = 'a' OR counter = 'b'); -- in which of the slot's two counters

-- Who is alive. It saves work; no safety rests on it.
CREATE TABLE node (
    node  INTEGER PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT;

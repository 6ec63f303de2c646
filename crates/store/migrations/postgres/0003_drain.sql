-- A pause or close waits for the requests in flight at every node. Until this time at the latest,
-- buyers are asked to retry.
ALTER TABLE sale ADD COLUMN draining_until bigint;

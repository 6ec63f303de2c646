-- A pause or close waits for what is in flight at every node: until then at the latest, buyers are asked to come again.
ALTER TABLE sale ADD COLUMN draining_until bigint;

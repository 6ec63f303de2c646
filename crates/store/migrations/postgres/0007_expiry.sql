-- Holds that end at once end sooner.

-- A share of the limit is written twice at least, taken and given back: the second version finds room beside the first, and no index is touched.
ALTER TABLE quota SET (fillfactor = 50);

-- How often a slot was refilled is counted without reading everything else that it was told.
CREATE INDEX feed_refill ON feed (grant_id) WHERE cause = 'refill';

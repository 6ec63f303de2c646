-- The first time since the order was due that the provider of an open checkout gave no answer: from
-- then on the order waits for a while longer. NULL: no such time.
ALTER TABLE checkout ADD COLUMN asked_at INTEGER;

-- When the provider of an open checkout was first asked in vain since its order is due: from then on the order waits for it a while longer. NULL: it was not.
ALTER TABLE checkout ADD COLUMN asked_at INTEGER;

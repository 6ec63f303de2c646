-- The first time since the order was due that the provider of an open checkout gave no answer: from
-- then on the order waits for a while longer. NULL: no such time.
--
-- Programs of the version before compute `orders.ask_ms` without this column and do not change it.
-- If their value is too early, expiry finds the order too early, the rules leave it unchanged, and
-- the value is written again.
ALTER TABLE checkout ADD COLUMN asked_at bigint;

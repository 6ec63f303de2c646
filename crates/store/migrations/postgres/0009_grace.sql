-- When the provider of an open checkout was first asked in vain since its order is due: from then on the order waits for it a while longer. NULL: it was not.
--
-- Programs of the version before write `orders.ask_ms` as they know it, and leave this column as it is. What they put too early is found too early, left as
-- it is by the rules, and written anew.
ALTER TABLE checkout ADD COLUMN asked_at bigint;

-- When the provider of an open checkout first gave no answer after the order was due. From then on
-- the order waits for a while longer. NULL: the provider did not fail to answer.
--
-- The previous version of the program computes `orders.ask_ms` without this column, and does not
-- change the column. If the computed value is too early, expiry finds the order too early. The
-- rules then leave the order unchanged, and the value is written again.
ALTER TABLE checkout ADD COLUMN asked_at bigint;

-- Rate limits that nodes share. One row is one limited key: a keyed hash of the limit and of the
-- buyer, the address or the sale. state_us is the time, in microseconds since 1970, at which the
-- limit is full again. The table is not logged, because a lost row only makes a limit full again.
CREATE UNLOGGED TABLE rate_limit (
    key bigint PRIMARY KEY,
    state_us bigint NOT NULL
) WITH (fillfactor = 50);

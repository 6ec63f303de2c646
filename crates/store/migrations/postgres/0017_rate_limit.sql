-- Rate limits that nodes share. A row is one limit for one buyer, address or sale; `key` is a keyed
-- hash of both. state_us is the time, in microseconds since 1970, at which the limit allows its
-- whole burst again. The table is not logged, because a lost row only allows the whole burst again.
CREATE UNLOGGED TABLE rate_limit (
    key bigint PRIMARY KEY,
    state_us bigint NOT NULL
) WITH (fillfactor = 50);

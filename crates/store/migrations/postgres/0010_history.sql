-- The key of this store, and how the store became what it is.

-- A fingerprint of the key that authenticates order ids: one row, written by the first start.
CREATE TABLE identity (
    one    integer PRIMARY KEY CHECK (one = 1),
    id_key text    NOT NULL
);

-- A row for each history that this store continues: its creation, and each change of the database
-- that runs it. Rows are only added, and `fence` rises.
CREATE TABLE store_history (
    fence     bigint  PRIMARY KEY,               -- the fencing number
    token     text    NOT NULL,  -- random: tells apart two histories with the same number
    at        bigint  NOT NULL,
    -- created; promoted: a standby became the primary; moved: the rows are in another database
    -- cluster, as after a restore
    cause     text    NOT NULL CHECK (cause IN ('created', 'promoted', 'moved')),
    system_id text    NOT NULL,                  -- the database cluster, by pg_control_system()
    timeline  bigint  NOT NULL,
    paused    text    NOT NULL  -- JSON: the sales that it paused, each with its phase before
);

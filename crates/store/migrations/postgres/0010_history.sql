-- The key of this store, and the history of the store.

-- A fingerprint of the key that authenticates order ids: one row, written by the first start.
CREATE TABLE identity (
    one    integer PRIMARY KEY CHECK (one = 1),
    id_key text    NOT NULL
);

-- A row for the creation of this store, and for each change of the database that runs the store.
-- Rows are only added, and `fence` rises.
CREATE TABLE store_history (
    fence     bigint  PRIMARY KEY,               -- the fencing number
    token     text    NOT NULL,  -- random: tells apart two histories with the same number
    at        bigint  NOT NULL,
    -- created; promoted: a standby became the primary; moved: the rows are in another database
    -- cluster, as after a restore
    cause     text    NOT NULL CHECK (cause IN ('created', 'promoted', 'moved')),
    system_id text    NOT NULL,                  -- the database cluster, by pg_control_system()
    timeline  bigint  NOT NULL,
    paused    text    NOT NULL,  -- JSON: the sales that were paused, each with its phase before
    -- whether nodes must pause sales because of the change: none, pending (not done yet), done
    pause     text    NOT NULL DEFAULT 'none' CHECK (pause IN ('none', 'pending', 'done'))
);

-- What a node found when it compared the orders that it had acknowledged with the database of a new
-- history: at most one row for each node and history.
CREATE TABLE lost_orders (
    fence        bigint NOT NULL,
    node         bigint NOT NULL,
    at           bigint NOT NULL,
    acknowledged bigint NOT NULL,                -- how many orders it compared
    lost         bigint NOT NULL,                -- how many of these the database lacks
    sample       text   NOT NULL,                -- JSON: ids of some lost orders
    PRIMARY KEY (fence, node)
);

-- Rows that nodes write to learn whether commits succeed. Nodes with the same slot share a row.
CREATE TABLE commit_check (
    slot integer PRIMARY KEY CHECK (slot BETWEEN 0 AND 1023),
    at   bigint  NOT NULL
);

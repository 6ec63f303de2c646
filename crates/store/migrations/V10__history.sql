-- The key of this store, and how the store became what it is.
--
-- From here on, a version has the same number in SQLite and in PostgreSQL.

-- A fingerprint of the key that authenticates order ids: one row, written by the first start.
CREATE TABLE identity (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    id_key TEXT    NOT NULL
) STRICT;

-- A row for each history that this store continues: its creation, and each restore. Rows are only
-- added, and `fence` rises.
CREATE TABLE store_history (
    fence     INTEGER PRIMARY KEY,               -- the fencing number
    token     TEXT    NOT NULL,  -- random: tells apart two histories with the same number
    at        INTEGER NOT NULL,
    cause     TEXT    NOT NULL CHECK (cause IN ('created', 'restored')),
    backup_at INTEGER,                           -- when the backup was made
    paused    TEXT    NOT NULL  -- JSON: the sales that it paused, each with its phase before
) STRICT;

CREATE TRIGGER store_history_unchanged BEFORE UPDATE ON store_history
BEGIN SELECT raise(ABORT, 'the history of a store is append-only'); END;
CREATE TRIGGER store_history_kept BEFORE DELETE ON store_history
BEGIN SELECT raise(ABORT, 'the history of a store is append-only'); END;

-- A row that the program writes to learn whether commits succeed.
CREATE TABLE commit_check (
    slot INTEGER PRIMARY KEY CHECK (slot BETWEEN 0 AND 1023),
    at   INTEGER NOT NULL
) STRICT;

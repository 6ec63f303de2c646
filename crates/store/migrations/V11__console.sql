-- What operators' consoles need: their actions, their sessions, and a sale's numbers by second.

-- Every change by an operator: one row, written by the transaction of the change. Rows are never
-- changed, and deleted after a year.
CREATE TABLE action (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    actor      TEXT    NOT NULL,  -- the id of the key, or of the part of the program
    action     TEXT    NOT NULL,  -- such as 'sale.opened'
    subject    TEXT    NOT NULL,  -- such as 'sale:spring'
    changes    TEXT    NOT NULL,  -- JSON: [{"path", "from", "to"}]
    address    TEXT,              -- of the client
    request_id TEXT
) STRICT;
CREATE INDEX action_at ON action (at);

INSERT INTO action (seq, at, actor, action, subject, changes)
SELECT seq, at, actor, action, 'unknown',
       '[{"path":"/detail","from":null,"to":' || json_quote(detail) || '}]'
FROM action_log ORDER BY seq;

DROP TABLE action_log;

CREATE TRIGGER action_unchanged BEFORE UPDATE ON action
BEGIN SELECT raise(ABORT, 'actions are never changed'); END;

-- Sign-ins at the console.
CREATE TABLE console_session (
    hash       BLOB    PRIMARY KEY CHECK (length(hash) = 32),  -- SHA-256 of the cookie
    key_hash   BLOB    NOT NULL CHECK (length(key_hash) = 32), -- of the key that signed in
    until      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What a node counted for a sale in one second or one minute.
CREATE TABLE sale_point (
    sale_id   TEXT    NOT NULL,
    step_secs INTEGER NOT NULL CHECK (step_secs IN (1, 60)),
    at        INTEGER NOT NULL,  -- the start of the step
    node      INTEGER NOT NULL,
    point     TEXT    NOT NULL,  -- JSON
    PRIMARY KEY (sale_id, step_secs, at, node)
) STRICT, WITHOUT ROWID;
CREATE INDEX sale_point_at ON sale_point (step_secs, at);

-- What a node says about itself, as JSON.
ALTER TABLE node ADD COLUMN about TEXT NOT NULL DEFAULT '{}';

-- The first characters of a code, by which operators revoke codes. Null: an older code.
ALTER TABLE access_code ADD COLUMN prefix TEXT;

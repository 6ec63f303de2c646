-- The front door: who may ask for units. No row here decides stock.

-- Codes that admit to a sale, kept hashed; each may be spent by so many buyers.
CREATE TABLE access_code (
    sale_id TEXT NOT NULL,
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    uses    INTEGER NOT NULL CHECK (uses >= 1),
    spent   INTEGER NOT NULL DEFAULT 0 CHECK (spent BETWEEN 0 AND uses),
    PRIMARY KEY (sale_id, hash)
) STRICT, WITHOUT ROWID;

-- Who spent which: the same buyer is not charged twice.
CREATE TABLE access_code_use (
    sale_id TEXT NOT NULL,
    buyer   TEXT NOT NULL,
    hash    BLOB NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (sale_id, buyer, hash)
) STRICT, WITHOUT ROWID;

-- What may be used once, and was: answered challenges, by a hash, until they expire.
CREATE TABLE spent (
    id    BLOB PRIMARY KEY CHECK (length(id) = 16),
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_until ON spent (until);

-- A sale's waiting room: the seed of its draw, committed to before the opening and shown after it, and how far the line has come.
CREATE TABLE waiting_room (
    sale_id    TEXT PRIMARY KEY,
    seed       BLOB NOT NULL CHECK (length(seed) = 32),
    drawn_at   INTEGER,                                   -- when those who came before the opening were shuffled
    entered    INTEGER NOT NULL DEFAULT 0,                -- places given
    admitted   INTEGER NOT NULL DEFAULT 0                 -- places called in
) STRICT, WITHOUT ROWID;

-- A buyer's place in it: one for each buyer.
CREATE TABLE waiting_place (
    sale_id        TEXT NOT NULL,
    buyer          TEXT NOT NULL,
    n              INTEGER NOT NULL,                      -- in the order of arrival
    early          INTEGER NOT NULL CHECK (early IN (0, 1)), -- came before the opening: takes part in the draw
    entered_at     INTEGER NOT NULL,
    rank           INTEGER,                               -- in line; NULL: not drawn yet
    admitted_until INTEGER,                               -- NULL: not called in yet
    PRIMARY KEY (sale_id, buyer)
) STRICT, WITHOUT ROWID;
CREATE INDEX waiting_place_line ON waiting_place (sale_id, rank);

-- Whom operators turn away.
CREATE TABLE block (
    kind   TEXT NOT NULL CHECK (kind IN ('buyer', 'ip')),
    value  TEXT NOT NULL,
    until  INTEGER,                                       -- NULL: for good
    reason TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;

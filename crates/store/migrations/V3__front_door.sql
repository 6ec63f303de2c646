-- The front door: who may ask for units. No row here decides stock.

-- Codes that admit to a sale, kept hashed; each may be spent by so many buyers.
CREATE TABLE access_code (
    sale_id TEXT NOT NULL REFERENCES sale (id) ON DELETE CASCADE,
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
    PRIMARY KEY (sale_id, hash, buyer),
    FOREIGN KEY (sale_id, hash) REFERENCES access_code (sale_id, hash) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- What may be used once, and was: answered challenges, by a hash, until they expire.
CREATE TABLE spent (
    id    BLOB PRIMARY KEY CHECK (length(id) = 16),
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_until ON spent (until);

-- How often a buyer, by a hash, answered a sale's challenges wrongly of late.
CREATE TABLE miss (
    by    BLOB PRIMARY KEY CHECK (length(by) = 16),
    n     INTEGER NOT NULL CHECK (n >= 1),
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX miss_until ON miss (until);

-- A sale's waiting room: the seed of its draw, committed to before the opening and shown after it, and how far the line has come.
CREATE TABLE waiting_room (
    sale_id      TEXT PRIMARY KEY,
    seed         BLOB NOT NULL CHECK (length(seed) = 32),
    participants INTEGER,                                 -- who took part in the draw; NULL: the sale has not opened
    entered      INTEGER NOT NULL DEFAULT 0,              -- places given
    called       INTEGER NOT NULL DEFAULT 0 CHECK (called BETWEEN 0 AND entered), -- ranks called in
    called_lot   BLOB,                                    -- of the last one called who was drawn
    open_until   INTEGER                                  -- a room that opens by itself is open until then
) STRICT, WITHOUT ROWID;

-- A buyer's place in it: one for each buyer.
CREATE TABLE waiting_room_visitor (
    sale_id        TEXT NOT NULL,
    buyer          TEXT NOT NULL,
    lot            BLOB CHECK (length(lot) = 32),         -- came before the opening: takes part in the draw
    entered_at     INTEGER NOT NULL,
    rank           INTEGER,                               -- in line; NULL: by the draw, and not called in yet
    called_at      INTEGER,                               -- NULL: not called in yet
    admitted_until INTEGER,
    PRIMARY KEY (sale_id, buyer),
    CHECK (rank IS NOT NULL OR (lot IS NOT NULL AND called_at IS NULL)),
    CHECK ((called_at IS NULL) = (admitted_until IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX waiting_room_visitor_drawn ON waiting_room_visitor (sale_id, lot) WHERE lot IS NOT NULL;
CREATE UNIQUE INDEX waiting_room_visitor_rank ON waiting_room_visitor (sale_id, rank) WHERE rank IS NOT NULL;
CREATE INDEX waiting_room_visitor_admitted ON waiting_room_visitor (sale_id, admitted_until) WHERE admitted_until IS NOT NULL;

-- Whom operators turn away.
CREATE TABLE block (
    kind   TEXT NOT NULL CHECK (kind IN ('buyer', 'ip')),
    value  TEXT NOT NULL,
    until  INTEGER,                                       -- NULL: for good
    reason TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;

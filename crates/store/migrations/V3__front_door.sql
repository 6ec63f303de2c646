-- The front door: which buyers may request units. No row here decides stock.

-- Access codes of a sale, hashed, each with the number of buyers that may spend it.
CREATE TABLE access_code (
    sale_id TEXT NOT NULL REFERENCES sale (id) ON DELETE CASCADE,
    hash    BLOB NOT NULL CHECK (length(hash) = 32),
    uses    INTEGER NOT NULL CHECK (uses >= 1),
    spent   INTEGER NOT NULL DEFAULT 0 CHECK (spent BETWEEN 0 AND uses),
    PRIMARY KEY (sale_id, hash)
) STRICT, WITHOUT ROWID;

-- The buyers who spent a code: a repeated request of a buyer uses nothing up.
CREATE TABLE access_code_use (
    sale_id TEXT NOT NULL,
    buyer   TEXT NOT NULL,
    hash    BLOB NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (sale_id, hash, buyer),
    FOREIGN KEY (sale_id, hash) REFERENCES access_code (sale_id, hash) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Answered challenges, which may be used once: by hash, until they expire.
CREATE TABLE spent (
    id    BLOB PRIMARY KEY CHECK (length(id) = 16),
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX spent_until ON spent (until);

-- The number of a buyer's recent wrong answers to a sale's challenges, by the buyer's hash.
CREATE TABLE miss (
    by    BLOB PRIMARY KEY CHECK (length(by) = 16),
    n     INTEGER NOT NULL CHECK (n >= 1),
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX miss_until ON miss (until);

-- A sale's waiting room: the seed of its draw, committed to before the opening and revealed after
-- it, and the progress of its queue.
CREATE TABLE waiting_room (
    sale_id      TEXT PRIMARY KEY,
    seed         BLOB NOT NULL CHECK (length(seed) = 32),
    participants INTEGER,  -- buyers in the draw; NULL: the sale has not opened
    entered      INTEGER NOT NULL DEFAULT 0,              -- positions given
    called       INTEGER NOT NULL DEFAULT 0 CHECK (called BETWEEN 0 AND entered), -- ranks admitted
    called_lot   BLOB,  -- lot of the last admitted buyer of the draw
    open_until   INTEGER  -- a room that opens automatically is open until then
) STRICT, WITHOUT ROWID;

-- A buyer's position in a waiting room: one for each buyer.
CREATE TABLE waiting_room_visitor (
    sale_id        TEXT NOT NULL,
    buyer          TEXT NOT NULL,
    lot            BLOB CHECK (length(lot) = 32),  -- set before the opening: takes part in the draw
    entered_at     INTEGER NOT NULL,
    rank           INTEGER,  -- in the queue; NULL: by the draw, and not admitted yet
    called_at      INTEGER,                               -- NULL: not admitted yet
    admitted_until INTEGER,
    PRIMARY KEY (sale_id, buyer),
    CHECK (rank IS NOT NULL OR (lot IS NOT NULL AND called_at IS NULL)),
    CHECK ((called_at IS NULL) = (admitted_until IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX waiting_room_visitor_drawn ON waiting_room_visitor (sale_id, lot)
    WHERE lot IS NOT NULL;
CREATE UNIQUE INDEX waiting_room_visitor_rank ON waiting_room_visitor (sale_id, rank)
    WHERE rank IS NOT NULL;
CREATE INDEX waiting_room_visitor_admitted ON waiting_room_visitor (sale_id, admitted_until)
    WHERE admitted_until IS NOT NULL;

-- Buyers and addresses that operators block.
CREATE TABLE block (
    kind   TEXT NOT NULL CHECK (kind IN ('buyer', 'ip')),
    value  TEXT NOT NULL,
    until  INTEGER,                                       -- NULL: no end
    reason TEXT NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;

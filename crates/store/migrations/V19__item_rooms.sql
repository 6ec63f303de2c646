-- A sale may have a waiting room for each item. item_id is 0 for the room of a whole sale. The row
-- of that room exists for every sale with waiting rooms, because it has the seed of all draws.
-- SQLite cannot change a primary key, so both tables are copied.
CREATE TABLE item_waiting_room (
    sale_id      TEXT NOT NULL,
    item_id      INTEGER NOT NULL DEFAULT 0,
    seed         BLOB NOT NULL CHECK (length(seed) = 32),
    participants INTEGER,  -- buyers in the draw; NULL: the sale has not opened
    entered      INTEGER NOT NULL DEFAULT 0,              -- positions given
    called       INTEGER NOT NULL DEFAULT 0 CHECK (called BETWEEN 0 AND entered), -- ranks admitted
    called_lot   BLOB,  -- lot of the last admitted buyer of the draw
    open_until   INTEGER,  -- a room that opens automatically is open until then
    PRIMARY KEY (sale_id, item_id)
) STRICT, WITHOUT ROWID;
INSERT INTO item_waiting_room
    SELECT sale_id, 0, seed, participants, entered, called, called_lot, open_until
    FROM waiting_room;
DROP TABLE waiting_room;
ALTER TABLE item_waiting_room RENAME TO waiting_room;

CREATE TABLE item_waiting_room_visitor (
    sale_id        TEXT NOT NULL,
    item_id        INTEGER NOT NULL DEFAULT 0,
    buyer          TEXT NOT NULL,
    lot            BLOB CHECK (length(lot) = 32),  -- set before the opening: takes part in the draw
    entered_at     INTEGER NOT NULL,
    rank           INTEGER,  -- in the queue; NULL: by the draw, and not admitted yet
    called_at      INTEGER,                               -- NULL: not admitted yet
    admitted_until INTEGER,
    -- When the visitor left the waiting room before the admission. NULL: the visitor did not leave.
    -- The rank stays. When it is called, the visitor gets an admission that has already ended.
    left_at        INTEGER,
    PRIMARY KEY (sale_id, item_id, buyer),
    CHECK (rank IS NOT NULL OR (lot IS NOT NULL AND called_at IS NULL)),
    CHECK ((called_at IS NULL) = (admitted_until IS NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO item_waiting_room_visitor
    SELECT sale_id, 0, buyer, lot, entered_at, rank, called_at, admitted_until, left_at
    FROM waiting_room_visitor;
DROP TABLE waiting_room_visitor;
ALTER TABLE item_waiting_room_visitor RENAME TO waiting_room_visitor;
CREATE INDEX waiting_room_visitor_drawn ON waiting_room_visitor (sale_id, item_id, lot)
    WHERE lot IS NOT NULL;
CREATE UNIQUE INDEX waiting_room_visitor_rank ON waiting_room_visitor (sale_id, item_id, rank)
    WHERE rank IS NOT NULL;
CREATE INDEX waiting_room_visitor_admitted ON waiting_room_visitor
    (sale_id, item_id, admitted_until) WHERE admitted_until IS NOT NULL;

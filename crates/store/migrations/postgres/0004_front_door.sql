-- The front door: which buyers may request units. No row here decides stock.

-- Access codes of a sale, hashed, each with the number of buyers that may spend it.
CREATE TABLE access_code (
    sale_id text NOT NULL REFERENCES sale (id) ON DELETE CASCADE,
    hash    bytea NOT NULL CHECK (length(hash) = 32),
    uses    bigint NOT NULL CHECK (uses >= 1),
    spent   bigint NOT NULL DEFAULT 0 CHECK (spent BETWEEN 0 AND uses),
    PRIMARY KEY (sale_id, hash)
);

-- The buyers who spent a code: a repeated request of a buyer uses nothing up.
CREATE TABLE access_code_use (
    sale_id text NOT NULL,
    buyer   text NOT NULL,
    hash    bytea NOT NULL,
    at      bigint NOT NULL,
    PRIMARY KEY (sale_id, hash, buyer),
    FOREIGN KEY (sale_id, hash) REFERENCES access_code (sale_id, hash) ON DELETE CASCADE
);

-- Answered challenges, by hash, until they expire. A challenge may be used once.
CREATE TABLE spent (
    id    bytea PRIMARY KEY CHECK (length(id) = 16),
    until bigint NOT NULL
);
CREATE INDEX spent_until ON spent (until);

-- The number of a buyer's recent wrong answers to a sale's challenges, by the buyer's hash.
CREATE TABLE miss (
    by    bytea PRIMARY KEY CHECK (length(by) = 16),
    n     bigint NOT NULL CHECK (n >= 1),
    until bigint NOT NULL
);
CREATE INDEX miss_until ON miss (until);

-- A sale's waiting room: the seed of its draw, committed to before the opening and revealed after
-- it, and the progress of its queue.
CREATE TABLE waiting_room (
    sale_id      text PRIMARY KEY,
    seed         bytea NOT NULL CHECK (length(seed) = 32),
    participants bigint,  -- buyers in the draw; NULL: the sale has not opened
    entered      bigint NOT NULL DEFAULT 0,               -- positions given
    called       bigint NOT NULL DEFAULT 0 CHECK (called BETWEEN 0 AND entered), -- ranks admitted
    called_lot   bytea,  -- lot of the last admitted buyer of the draw
    open_until   bigint  -- a room that opens automatically is open until then
);

-- A buyer's position in a waiting room: one for each buyer.
CREATE TABLE waiting_room_visitor (
    sale_id        text NOT NULL,
    buyer          text COLLATE "C" NOT NULL,
    -- set before the opening: takes part in the draw
    lot            bytea CHECK (length(lot) = 32),
    entered_at     bigint NOT NULL,
    rank           bigint,  -- in the queue; NULL: in the draw, and not admitted yet
    called_at      bigint,                                -- NULL: not admitted yet
    admitted_until bigint,
    PRIMARY KEY (sale_id, buyer),
    CHECK (rank IS NOT NULL OR (lot IS NOT NULL AND called_at IS NULL)),
    CHECK ((called_at IS NULL) = (admitted_until IS NULL))
);
CREATE INDEX waiting_room_visitor_drawn ON waiting_room_visitor (sale_id, lot)
    WHERE lot IS NOT NULL;
CREATE UNIQUE INDEX waiting_room_visitor_rank ON waiting_room_visitor (sale_id, rank)
    WHERE rank IS NOT NULL;
CREATE INDEX waiting_room_visitor_admitted ON waiting_room_visitor (sale_id, admitted_until)
    WHERE admitted_until IS NOT NULL;

-- Buyers and addresses that operators block.
CREATE TABLE block (
    kind   text NOT NULL CHECK (kind IN ('buyer', 'ip')),
    value  text NOT NULL,
    until  bigint,                                       -- NULL: no end
    reason text NOT NULL,
    at     bigint NOT NULL,
    PRIMARY KEY (kind, value)
);

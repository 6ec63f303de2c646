-- The front door: who may ask for units. No row here decides stock.

-- Codes that admit to a sale, kept hashed; each may be spent by so many buyers.
CREATE TABLE access_code (
    sale_id text NOT NULL,
    hash    bytea NOT NULL CHECK (length(hash) = 32),
    uses    bigint NOT NULL CHECK (uses >= 1),
    spent   bigint NOT NULL DEFAULT 0 CHECK (spent BETWEEN 0 AND uses),
    PRIMARY KEY (sale_id, hash)
);

-- Who spent which: the same buyer is not charged twice.
CREATE TABLE access_code_use (
    sale_id text NOT NULL,
    buyer   text NOT NULL,
    hash    bytea NOT NULL,
    at      bigint NOT NULL,
    PRIMARY KEY (sale_id, buyer, hash)
);

-- What may be used once, and was: answered challenges, by a hash, until they expire.
CREATE TABLE spent (
    id    bytea PRIMARY KEY CHECK (length(id) = 16),
    until bigint NOT NULL
);
CREATE INDEX spent_until ON spent (until);

-- A sale's waiting room: the seed of its draw, committed to before the opening and shown after it, and how far the line has come.
CREATE TABLE waiting_room (
    sale_id    text PRIMARY KEY,
    seed       bytea NOT NULL CHECK (length(seed) = 32),
    drawn_at   bigint,                                   -- when those who came before the opening were shuffled
    entered    bigint NOT NULL DEFAULT 0,                -- places given
    admitted   bigint NOT NULL DEFAULT 0                 -- places called in
);

-- A buyer's place in it: one for each buyer.
CREATE TABLE waiting_place (
    sale_id        text NOT NULL,
    buyer          text NOT NULL,
    n              bigint NOT NULL,                      -- in the order of arrival
    early          boolean NOT NULL, -- came before the opening: takes part in the draw
    entered_at     bigint NOT NULL,
    rank           bigint,                               -- in line; NULL: not drawn yet
    admitted_until bigint,                               -- NULL: not called in yet
    PRIMARY KEY (sale_id, buyer)
);
CREATE INDEX waiting_place_line ON waiting_place (sale_id, rank);

-- Whom operators turn away.
CREATE TABLE block (
    kind   text NOT NULL CHECK (kind IN ('buyer', 'ip')),
    value  text NOT NULL,
    until  bigint,                                       -- NULL: for good
    reason text NOT NULL,
    at     bigint NOT NULL,
    PRIMARY KEY (kind, value)
);

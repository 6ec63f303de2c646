-- The schema of a Doorbuster store in SQLite.
--
-- Times are milliseconds since 1970-01-01T00:00:00Z by the store's clock. Flags are 0 or 1.
-- For every item with counted stock, at every commit:
--   total = pool + sum(granted - settled) of its open grants + sum(units) of its reserved and paid
--      orders.
-- On tables that grow with the number of buyers a CHECK has no IN with more than two words: SQLite
-- would build that list again for every row.
-- No hot path sums `orders`: sum(settled) of all grants of an item - ended = its active units.

-- "DbrM", so that `file` and the program can tell this file from others
PRAGMA application_id = 1147302477;

-- A sale. Only the store's clock or an operator changes its phase.
CREATE TABLE sale (
    seq        INTEGER PRIMARY KEY,              -- order of creation
    id         TEXT    NOT NULL UNIQUE,          -- the shop's id
    title      TEXT    NOT NULL,
    phase      TEXT    NOT NULL CHECK (phase IN ('draft', 'scheduled', 'open', 'paused', 'closed')),
    starts_at  INTEGER,
    ends_at    INTEGER,
    front_door TEXT    NOT NULL,                 -- JSON
    version    INTEGER NOT NULL CHECK (version >= 1),
    created_at INTEGER NOT NULL,
    opened_at  INTEGER,
    closed_at  INTEGER
) STRICT;

-- An item of a sale, its stock, and counters of its orders. AUTOINCREMENT: the number of a deleted
-- draft's item is never used again.
CREATE TABLE item (
    id               INTEGER PRIMARY KEY AUTOINCREMENT,
    sale_id          TEXT    NOT NULL REFERENCES sale (id) ON DELETE CASCADE,
    name             TEXT    NOT NULL,           -- the shop's id, unique within the sale
    title            TEXT    NOT NULL,
    description      TEXT    NOT NULL,
    image            TEXT,
    price_minor      INTEGER NOT NULL CHECK (price_minor >= 0),
    currency         TEXT    NOT NULL,
    list_price_minor INTEGER,
    limit_per_buyer  INTEGER NOT NULL CHECK (limit_per_buyer >= 1),
    hold_ms          INTEGER NOT NULL CHECK (hold_ms > 0),
    initial_total    INTEGER,  -- NULL: unlimited; total = initial_total + sum of its adjustments
    total            INTEGER CHECK (total BETWEEN 0 AND 1000000000),
    pool             INTEGER NOT NULL CHECK (pool >= 0),
    -- units of orders that were settled and then ended
    ended            INTEGER NOT NULL DEFAULT 0 CHECK (ended >= 0),
    -- units of orders that are paid now
    paid             INTEGER NOT NULL DEFAULT 0 CHECK (paid >= 0),
    UNIQUE (sale_id, name),
    CHECK ((total IS NULL) = (initial_total IS NULL)),
    CHECK (pool <= coalesce(total, 0))
) STRICT;

-- Units that left an item's pool for one slot, for one epoch. `settled <= granted` is the guard
-- that nothing oversells.
CREATE TABLE slot_grant (
    id           INTEGER PRIMARY KEY,            -- random
    item_id      INTEGER NOT NULL REFERENCES item (id),
    slot         INTEGER NOT NULL,               -- which of the item's slots
    epoch        INTEGER NOT NULL CHECK (epoch >= 1),
    granted      INTEGER NOT NULL CHECK (granted >= 0), -- granted so far, less recalled units
    settled      INTEGER NOT NULL CHECK (settled >= 0),
    counted      INTEGER NOT NULL CHECK (counted IN (0, 1)),
    open         INTEGER NOT NULL CHECK (open IN (0, 1)),
    -- the slot confirmed that it received it
    acked        INTEGER NOT NULL CHECK (acked IN (0, 1)),
    max_n        INTEGER NOT NULL,               -- highest ticket number resolved
    resolved     INTEGER NOT NULL,               -- ticket numbers resolved
    feed_len     INTEGER NOT NULL,               -- rows of its feed, whose seq run from 1 to here
    closed_cause TEXT,
    opened_at    INTEGER NOT NULL,
    closed_at    INTEGER,
    UNIQUE (item_id, slot, epoch),
    CHECK (settled <= granted OR counted = 0),
    CHECK (resolved <= max_n),
    CHECK (open = (closed_cause IS NULL)),
    CHECK (open = (closed_at IS NULL))
) STRICT;

-- A slot has at most one open grant.
CREATE UNIQUE INDEX slot_grant_open ON slot_grant (item_id, slot) WHERE open = 1;

-- The rows that a slot must apply under a grant, in order and without gaps: refills, credits and
-- quota changes.
CREATE TABLE feed (
    grant_id    INTEGER NOT NULL,
    seq         INTEGER NOT NULL CHECK (seq >= 1),
    ticket      TEXT,  -- the returned ticket, whose request the slot forgets
    buyer       TEXT,                            -- whose quota changes
    request_key TEXT,                            -- the request to forget, if known
    units       INTEGER NOT NULL CHECK (units >= 0), -- units that become available in the slot
    quota_delta INTEGER NOT NULL,                -- change of the buyer's quota (negative: released)
    cause       TEXT    NOT NULL,
    PRIMARY KEY (grant_id, seq),
    CHECK (cause = 'returned' OR cause = 'order_ended' OR cause = 'refill' OR cause = 'recalled'
        OR cause = 'order_revived')
) STRICT, WITHOUT ROWID;

-- Tickets that were returned. A consumed ticket's record is its order: same id, same grant, same
-- number.
CREATE TABLE resolution (
    ticket   TEXT    PRIMARY KEY,
    grant_id INTEGER NOT NULL,
    n        INTEGER,                            -- NULL: the number belongs to another ticket
    verdict  TEXT    NOT NULL,
    order_id TEXT,                               -- the order that the request already held
    CHECK (CASE verdict
               WHEN 'order'         THEN order_id IS NOT NULL
               WHEN 'unavailable'   THEN order_id IS NULL
               WHEN 'limit_reached' THEN order_id IS NULL
               WHEN 'key_reused'    THEN order_id IS NULL
               ELSE FALSE
           END)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX resolution_number ON resolution (grant_id, n) WHERE n IS NOT NULL;

-- Orders. One row is both the order and the resolution of its ticket. Rows are never deleted, so
-- `seq` only rises.
CREATE TABLE orders (
    seq         INTEGER PRIMARY KEY,  -- order of commit; what pages of orders continue by
    id          TEXT    NOT NULL,  -- ord_…; contains grant_id and n, which are unique below
    buyer       TEXT    NOT NULL,
    request_key TEXT    NOT NULL,                -- idempotency key of the request
    item_id     INTEGER NOT NULL,
    units       INTEGER NOT NULL CHECK (units >= 1),
    state       TEXT    NOT NULL,
    grant_id    INTEGER NOT NULL,
    n           INTEGER NOT NULL,
    reserved_at INTEGER NOT NULL,
    pay_by      INTEGER NOT NULL,
    paid_at     INTEGER,
    ended_at    INTEGER,
    UNIQUE (buyer, request_key),                 -- one order for each request
    UNIQUE (grant_id, n),                        -- one verdict for each ticket
    CHECK (CASE state
               WHEN 'reserved'  THEN paid_at IS NULL     AND ended_at IS NULL
               WHEN 'paid'      THEN paid_at IS NOT NULL AND ended_at IS NULL
               WHEN 'cancelled' THEN paid_at IS NULL     AND ended_at IS NOT NULL
               WHEN 'expired'   THEN paid_at IS NULL     AND ended_at IS NOT NULL
               WHEN 'refunded'  THEN paid_at IS NOT NULL AND ended_at IS NOT NULL
               ELSE FALSE
           END)
) STRICT;

-- Read by expiry.
CREATE INDEX orders_due ON orders (pay_by) WHERE state = 'reserved';

CREATE TRIGGER orders_stay BEFORE DELETE ON orders
BEGIN SELECT raise(ABORT, 'orders are never deleted'); END;

-- Units that a buyer holds of an item in reserved and paid orders. A row stays when it falls to 0:
-- no row means that the buyer never had an order.
CREATE TABLE quota (
    buyer   TEXT    NOT NULL,
    item_id INTEGER NOT NULL,
    used    INTEGER NOT NULL CHECK (used >= 0),
    PRIMARY KEY (buyer, item_id)
) STRICT, WITHOUT ROWID;

-- Recalls: units that move from a slot to the pool or to another slot's grant. Each is finished
-- once.
CREATE TABLE recall (
    id           INTEGER PRIMARY KEY,  -- random; under it the slot remembers the units that it gave
    grant_id     INTEGER NOT NULL,
    target_grant INTEGER,                        -- NULL: the pool
    asked        INTEGER NOT NULL CHECK (asked >= 1),
    taken        INTEGER NOT NULL CHECK (taken >= 0),
    done         INTEGER NOT NULL CHECK (done IN (0, 1))
) STRICT;

CREATE INDEX recall_pending ON recall (grant_id) WHERE done = 0;

-- Every change of an item's total by an operator.
CREATE TABLE adjustment (
    seq         INTEGER PRIMARY KEY,
    item_id     INTEGER NOT NULL REFERENCES item (id) ON DELETE CASCADE,
    key         TEXT    NOT NULL,                -- idempotency key
    units       INTEGER NOT NULL CHECK (units <> 0),
    reason      TEXT    NOT NULL,
    total_after INTEGER NOT NULL,
    at          INTEGER NOT NULL,
    UNIQUE (item_id, key)
) STRICT;

CREATE TRIGGER adjustment_stays BEFORE UPDATE ON adjustment
BEGIN SELECT raise(ABORT, 'adjustments are never changed'); END;

-- Dead letters: tickets that could not be settled. They are returned, and an operator must resolve
-- them.
CREATE TABLE dead_letter (
    seq         INTEGER PRIMARY KEY,
    ticket      TEXT    NOT NULL UNIQUE,
    item_id     INTEGER NOT NULL,
    buyer       TEXT    NOT NULL,
    request_key TEXT    NOT NULL,
    units       INTEGER NOT NULL,
    reason      TEXT    NOT NULL,
    at          INTEGER NOT NULL
) STRICT;

-- The leader's lease. It only saves work; nothing relies on it for correctness.
CREATE TABLE leader (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    node  INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT;

-- Operators' keys, hashed.
CREATE TABLE admin_key (
    id         TEXT    PRIMARY KEY,
    name       TEXT    NOT NULL,
    role       TEXT    NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    hash       BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Actions of operators. Rows are never changed or deleted.
CREATE TABLE action_log (
    seq    INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    actor  TEXT    NOT NULL,
    action TEXT    NOT NULL,
    detail TEXT    NOT NULL
) STRICT;

CREATE TRIGGER action_log_unchanged BEFORE UPDATE ON action_log
BEGIN SELECT raise(ABORT, 'the action log is append-only'); END;
CREATE TRIGGER action_log_kept BEFORE DELETE ON action_log
BEGIN SELECT raise(ABORT, 'the action log is append-only'); END;

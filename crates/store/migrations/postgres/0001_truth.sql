-- The schema of a Doorbuster store in PostgreSQL.
--
-- Times are milliseconds since 1970-01-01T00:00:00Z by the database's clock.
-- For every item with counted stock, at every commit:
--   total = pool + sum(granted - settled) of its open grants + sum(units) of its reserved and paid
--      orders.
--
-- `changed` is the id of the transaction that wrote the row last. `writer` is the number of the
-- store that ran this transaction; a store takes a new random number at each start. With these
-- columns a node finds the commits of other nodes, even if they commit in another order.
-- Locks are taken in this order: sale, grants by id, quotas by (buyer, item), item.

-- A sale. Only the store's clock or an operator changes its phase.
CREATE TABLE sale (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- order of creation
    id         text   NOT NULL UNIQUE,             -- the shop's id
    title      text   NOT NULL,
    phase      text   NOT NULL CHECK (phase IN ('draft', 'scheduled', 'open', 'paused', 'closed')),
    starts_at  bigint,
    ends_at    bigint,
    front_door text   NOT NULL,                    -- JSON
    version    bigint NOT NULL CHECK (version >= 1),
    created_at bigint NOT NULL,
    opened_at  bigint,
    closed_at  bigint
);

-- One row. Every transaction that changes sales or descriptions of items writes this row last.
CREATE TABLE catalogue (
    one     integer PRIMARY KEY CHECK (one = 1),
    changed xid8    NOT NULL DEFAULT pg_current_xact_id(),
    writer  integer NOT NULL
);
INSERT INTO catalogue (one, writer) VALUES (1, 0);

-- An item of a sale, its stock, and counters of its orders. Numbers are never used again.
CREATE TABLE item (
    id               bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sale_id          text    NOT NULL REFERENCES sale (id) ON DELETE CASCADE,
    name             text    NOT NULL,             -- the shop's id, unique within the sale
    title            text    NOT NULL,
    description      text    NOT NULL,
    image            text,
    price_minor      bigint  NOT NULL CHECK (price_minor >= 0),
    currency         text    NOT NULL,
    list_price_minor bigint,
    limit_per_buyer  bigint  NOT NULL CHECK (limit_per_buyer BETWEEN 1 AND 4294967295),
    hold_ms          bigint  NOT NULL CHECK (hold_ms > 0),
    initial_total    bigint,  -- NULL: unlimited; total = initial_total + sum of its adjustments
    total            bigint  CHECK (total BETWEEN 0 AND 1000000000),
    pool             bigint  NOT NULL CHECK (pool >= 0),
    -- units of orders that were settled and then ended
    ended            bigint  NOT NULL DEFAULT 0 CHECK (ended >= 0),
    -- units of orders that are paid now
    paid             bigint  NOT NULL DEFAULT 0 CHECK (paid >= 0),
    partitions       integer NOT NULL DEFAULT 1 CHECK (partitions BETWEEN 1 AND 64),
    choose           text    NOT NULL DEFAULT 'buyer'
        CHECK (choose IN ('buyer', 'random', 'round_robin')),
    spread_initial   bigint  NOT NULL DEFAULT 0 CHECK (spread_initial >= 0),   -- 0: all units
    spread_threshold bigint  NOT NULL DEFAULT 0 CHECK (spread_threshold >= 0), -- 0: no sub-domains
    spread_refill    bigint  NOT NULL DEFAULT 0 CHECK (spread_refill >= 0),
    changed          xid8    NOT NULL DEFAULT pg_current_xact_id(),
    UNIQUE (sale_id, name),
    CHECK ((total IS NULL) = (initial_total IS NULL)),
    CHECK (pool <= coalesce(total, 0))
) WITH (fillfactor = 50);

-- Units that left an item's pool for one slot, for one epoch. The check `settled <= granted`
-- prevents overselling.
CREATE TABLE slot_grant (
    id           bigint  PRIMARY KEY,              -- random
    item_id      bigint  NOT NULL REFERENCES item (id),
    slot         bigint  NOT NULL,                 -- which of the item's slots
    epoch        bigint  NOT NULL CHECK (epoch >= 1),
    granted      bigint  NOT NULL CHECK (granted >= 0), -- granted so far, less recalled units
    settled      bigint  NOT NULL CHECK (settled >= 0),
    counted      boolean NOT NULL,
    open         boolean NOT NULL,
    acked        boolean NOT NULL,                 -- the slot confirmed the grant
    max_n        bigint  NOT NULL,                 -- highest ticket number resolved
    resolved     bigint  NOT NULL,                 -- ticket numbers resolved
    feed_len     bigint  NOT NULL,                 -- rows of its feed, numbered from 1
    closed_cause text,
    opened_at    bigint  NOT NULL,
    closed_at    bigint,
    changed      xid8    NOT NULL DEFAULT pg_current_xact_id(),
    UNIQUE (item_id, slot, epoch),
    CHECK (settled <= granted OR NOT counted),
    CHECK (resolved <= max_n),
    CHECK (open = (closed_cause IS NULL)),
    CHECK (open = (closed_at IS NULL))
-- Each batch updates these few rows, so a page needs room for their new versions.
) WITH (fillfactor = 20);

-- A slot has at most one open grant.
CREATE UNIQUE INDEX slot_grant_open ON slot_grant (item_id, slot) WHERE open;

-- The rows that a slot must apply under a grant, in order and without gaps: refills, credits and
-- quota changes.
CREATE TABLE feed (
    grant_id    bigint NOT NULL,
    seq         bigint NOT NULL CHECK (seq >= 1),
    ticket      text   COLLATE "C",  -- the returned ticket, whose request the slot forgets
    buyer       text   COLLATE "C",                -- whose quota changes
    request_key text   COLLATE "C",                -- the request to forget, if known
    units       bigint NOT NULL CHECK (units >= 0), -- units that become available in the slot
    -- the counter of the slot that gets the units
    counter     text   NOT NULL DEFAULT 'a' CHECK (counter IN ('a', 'b')),
    quota_delta bigint NOT NULL,  -- change of the buyer's quota (negative: released)
    cause       text   NOT NULL CHECK (cause IN ('returned', 'order_ended', 'refill', 'recalled',
        'order_revived')),
    PRIMARY KEY (grant_id, seq)
);

-- Tickets that were returned. A consumed ticket has no row here. Its record is its order, which has
-- the ticket's id, grant and number.
CREATE TABLE resolution (
    ticket   text    COLLATE "C" PRIMARY KEY,
    grant_id bigint  NOT NULL,
    n        bigint,                               -- NULL: the number belongs to another ticket
    verdict  text    NOT NULL,
    order_id text    COLLATE "C",                  -- the order that the request already held
    node     bigint,                               -- waits for the verdict; NULL: unknown
    writer   integer NOT NULL,
    changed  xid8    NOT NULL DEFAULT pg_current_xact_id(),
    CHECK (verdict IN ('order', 'unavailable', 'limit_reached', 'key_reused')
        AND (verdict = 'order') = (order_id IS NOT NULL))
);

CREATE UNIQUE INDEX resolution_number ON resolution (grant_id, n) WHERE n IS NOT NULL;
CREATE INDEX resolution_changed ON resolution (changed);

-- Orders. One row is both the order and the resolution of its ticket. Rows are never deleted, so
-- `seq` only rises. Concurrent transactions may commit in another order than that of `seq`.
CREATE TABLE orders (
    -- a page of orders continues after this number
    seq         bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- ord_…; contains grant_id and n, which are unique below
    id          text    COLLATE "C" NOT NULL,
    buyer       text    COLLATE "C" NOT NULL,
    request_key text    COLLATE "C" NOT NULL,      -- idempotency key of the request
    item_id     bigint  NOT NULL,
    units       bigint  NOT NULL CHECK (units >= 1),
    state       text    NOT NULL,
    grant_id    bigint  NOT NULL,
    n           bigint  NOT NULL,
    reserved_at bigint  NOT NULL,
    pay_by      bigint  NOT NULL,
    paid_at     bigint,
    ended_at    bigint,
    node        bigint  NOT NULL,                  -- waits for the verdict
    writer      integer NOT NULL,
    changed     xid8    NOT NULL DEFAULT pg_current_xact_id(),
    UNIQUE (buyer, request_key),                   -- one order for each request
    UNIQUE (grant_id, n),                          -- one verdict for each ticket
    CHECK (CASE state
               WHEN 'reserved'  THEN paid_at IS NULL     AND ended_at IS NULL
               WHEN 'paid'      THEN paid_at IS NOT NULL AND ended_at IS NULL
               WHEN 'cancelled' THEN paid_at IS NULL     AND ended_at IS NOT NULL
               WHEN 'expired'   THEN paid_at IS NULL     AND ended_at IS NOT NULL
               WHEN 'refunded'  THEN paid_at IS NOT NULL AND ended_at IS NOT NULL
               ELSE FALSE
           END)
);

-- Read by expiry.
CREATE INDEX orders_due ON orders (pay_by) WHERE state = 'reserved';
-- Read by a node's poll for new commits.
CREATE INDEX orders_changed ON orders (changed);

CREATE FUNCTION stays() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'rows of % are never changed or deleted', TG_TABLE_NAME; END $$;
CREATE TRIGGER orders_stay BEFORE DELETE OR TRUNCATE ON orders EXECUTE FUNCTION stays();

-- Units that a buyer holds of an item in reserved and paid orders. A row stays when it falls to 0.
CREATE TABLE quota (
    buyer   text   COLLATE "C" NOT NULL,
    item_id bigint NOT NULL,
    used    bigint NOT NULL CHECK (used >= 0),
    PRIMARY KEY (buyer, item_id)
);

-- Recalls: units that move from a slot to the pool or to another slot's grant. Each recall is
-- finished once.
CREATE TABLE recall (
    id           bigint  PRIMARY KEY,  -- random; the slot stores the given units under this id
    grant_id     bigint  NOT NULL,
    target_grant bigint,                           -- NULL: the pool
    asked        bigint  NOT NULL CHECK (asked >= 1),
    taken        bigint  NOT NULL CHECK (taken >= 0),
    done         boolean NOT NULL
);

CREATE INDEX recall_pending ON recall (grant_id) WHERE NOT done;

-- Every change of an item's total by an operator.
CREATE TABLE adjustment (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    item_id     bigint NOT NULL REFERENCES item (id) ON DELETE CASCADE,
    key         text   NOT NULL,                   -- idempotency key
    units       bigint NOT NULL CHECK (units <> 0),
    reason      text   NOT NULL,
    total_after bigint NOT NULL,
    at          bigint NOT NULL,
    UNIQUE (item_id, key)
);

CREATE TRIGGER adjustment_stays BEFORE UPDATE OR TRUNCATE ON adjustment EXECUTE FUNCTION stays();

-- Dead letters: tickets that could not be settled. They are returned, and an operator must resolve
-- them.
CREATE TABLE dead_letter (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ticket      text   COLLATE "C" NOT NULL UNIQUE,
    item_id     bigint NOT NULL,
    buyer       text   NOT NULL,
    request_key text   NOT NULL,
    units       bigint NOT NULL,
    reason      text   NOT NULL,
    at          bigint NOT NULL
);

-- The leader's lease, and the nodes' leases. They only save work; nothing relies on them for
-- correctness.
CREATE TABLE leader (
    one   integer PRIMARY KEY CHECK (one = 1),
    node  bigint  NOT NULL,
    until bigint  NOT NULL
) WITH (fillfactor = 20);

CREATE TABLE node (
    node  bigint PRIMARY KEY,
    until bigint NOT NULL
) WITH (fillfactor = 20);

-- Operators' keys, hashed.
CREATE TABLE admin_key (
    id         text   PRIMARY KEY,
    name       text   NOT NULL,
    role       text   NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    hash       bytea  NOT NULL UNIQUE CHECK (length(hash) = 32),
    created_at bigint NOT NULL
);

-- Actions of operators. Rows are never changed or deleted.
CREATE TABLE action_log (
    seq    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     bigint NOT NULL,
    actor  text   NOT NULL,
    action text   NOT NULL,
    detail text   NOT NULL
);

CREATE TRIGGER action_log_stays BEFORE UPDATE OR DELETE OR TRUNCATE
    ON action_log EXECUTE FUNCTION stays();

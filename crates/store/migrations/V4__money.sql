-- Events (an order's history, and the outbox), payments, refunds, checkouts and endpoints.

-- Events, each written in the transaction of its change. Rows are only added, in commit order:
-- readers continue by `seq`. An order's event stores the columns of the order that can change
-- later. `type` gives the order's state, and its row of `orders` has the rest.
CREATE TABLE event (
    seq      INTEGER PRIMARY KEY,
    type     TEXT    NOT NULL,                   -- order.reserved, …
    grant_id INTEGER,  -- its order, or the order that its payment named, if it exists; so is n
    n        INTEGER,
    item_id  INTEGER,                            -- for an event of no order
    sale_id  TEXT,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL,                   -- buyer, engine, operator:KEY, provider:NAME
    why      TEXT,
    pay_by   INTEGER,  -- of an order, after the change; so are the next two
    paid_at  INTEGER,
    ended_at INTEGER,
    data     TEXT  -- JSON: details of a refused ticket or a refunded payment
) STRICT;

CREATE INDEX event_of_order ON event (grant_id, n) WHERE grant_id IS NOT NULL;

CREATE TRIGGER event_unchanged BEFORE UPDATE ON event
WHEN new.seq <> old.seq OR new.type <> old.type OR new.at <> old.at
    OR new.grant_id IS NOT old.grant_id OR new.n IS NOT old.n
BEGIN SELECT raise(ABORT, 'what happened is not changed'); END;

-- Provider messages that were handled.
CREATE TABLE inbox (
    provider TEXT    NOT NULL,
    event_id TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (provider, event_id)
) STRICT, WITHOUT ROWID;

-- Payments, as their providers reported them.
CREATE TABLE payment (
    seq          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,        -- the provider's
    provider     TEXT    NOT NULL,
    order_id     TEXT    NOT NULL,               -- the order that it named, in its spelling
    grant_id     INTEGER,                        -- that order, if it exists; so is n
    n            INTEGER,
    amount_minor INTEGER NOT NULL,
    currency     TEXT    NOT NULL,
    state        TEXT    NOT NULL CHECK (state IN ('captured', 'refunded', 'failed')),
    at           INTEGER NOT NULL
) STRICT;

CREATE INDEX payment_of_order ON payment (order_id);
-- An order is paid by one payment.
CREATE UNIQUE INDEX payment_stands ON payment (grant_id, n) WHERE state = 'captured';

-- Refunds: the whole of one payment, once.
CREATE TABLE refund (
    seq          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,        -- also the provider's idempotency key
    payment_id   TEXT    NOT NULL UNIQUE REFERENCES payment (id),
    provider     TEXT    NOT NULL,
    order_id     TEXT    NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency     TEXT    NOT NULL,
    cause        TEXT    NOT NULL
        CHECK (cause IN ('late', 'mismatch', 'second', 'unknown_order', 'operator')),
    state        TEXT    NOT NULL CHECK (state IN ('pending', 'settled', 'failed')),
    accepted     INTEGER NOT NULL CHECK (accepted IN (0, 1)),
    tries        INTEGER NOT NULL CHECK (tries >= 0),
    next_at      INTEGER NOT NULL,
    error        TEXT,
    at           INTEGER NOT NULL,
    settled_at   INTEGER,
    discarded    TEXT,                           -- why an operator discarded a failed one
    CHECK ((state = 'settled') = (settled_at IS NOT NULL))
) STRICT;

CREATE INDEX refund_due ON refund (next_at) WHERE state = 'pending';
CREATE INDEX refund_of_order ON refund (order_id);
CREATE INDEX refund_notice ON refund (seq) WHERE cause IN ('mismatch', 'second', 'unknown_order');

-- An order's checkout at a provider. Open until the provider confirms that it takes no money there
-- and took none.
CREATE TABLE checkout (
    grant_id   INTEGER NOT NULL,                 -- the order
    n          INTEGER NOT NULL,
    order_id   TEXT    NOT NULL,
    provider   TEXT    NOT NULL,
    session    TEXT    NOT NULL,
    url        TEXT    NOT NULL,
    expires_at INTEGER NOT NULL,
    open       INTEGER NOT NULL CHECK (open IN (0, 1)),
    at         INTEGER NOT NULL,
    -- when an open one must be closed: its order's pay_by; 0 when the order no longer waits for
    -- payment
    due        INTEGER NOT NULL,
    PRIMARY KEY (grant_id, n)
) STRICT, WITHOUT ROWID;

CREATE INDEX checkout_due ON checkout (due) WHERE open = 1;

CREATE TRIGGER checkout_follows_order AFTER UPDATE OF state, pay_by ON orders
WHEN new.state <> old.state OR new.pay_by <> old.pay_by
BEGIN
    UPDATE checkout SET due = CASE new.state WHEN 'reserved' THEN new.pay_by ELSE 0 END
    WHERE grant_id = new.grant_id AND n = new.n AND open = 1;
END;

-- How long a due order waits for its provider: the grace while its checkout is open, else 0. Expiry
-- reads the orders that are due and need not wait.
ALTER TABLE orders ADD COLUMN ask_ms INTEGER NOT NULL DEFAULT 0;
DROP INDEX orders_due;
CREATE INDEX orders_due ON orders (pay_by + ask_ms) WHERE state = 'reserved';

-- Documents of the built-in provider, which nothing else interprets.
CREATE TABLE sandbox (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL                          -- JSON
) STRICT, WITHOUT ROWID;

-- Receivers of events: webhooks of the shop, and brokers. Events up to `position` were delivered or
-- have a row in `delivery`.
CREATE TABLE endpoint (
    id         TEXT    PRIMARY KEY,
    kind       TEXT    NOT NULL CHECK (kind IN ('webhook', 'broker')),
    url        TEXT    NOT NULL,
    types      TEXT    NOT NULL,                 -- JSON: the types that it receives, or ["*"]
    secrets    TEXT    NOT NULL,  -- JSON: newest first, each with the time until which it signs
    position   INTEGER NOT NULL,
    enabled    INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    created_at INTEGER NOT NULL,
    node       INTEGER,  -- the node that delivers now, and until when; it only saves work
    until      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Events up to an endpoint's position that are not delivered yet, or will not be. Of events with
-- the same `about`, the first is delivered first.
CREATE TABLE delivery (
    -- operators refer to it, so it is never used again
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint_id TEXT    NOT NULL REFERENCES endpoint (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,                -- the event's
    about       TEXT    NOT NULL,                -- the order, item or sale
    state       TEXT    NOT NULL CHECK (state IN ('pending', 'dead', 'discarded')),
    tries       INTEGER NOT NULL CHECK (tries >= 0),
    next_at     INTEGER NOT NULL,
    error       TEXT,
    why         TEXT,                            -- why an operator discarded it
    at          INTEGER NOT NULL,                -- when it entered its state
    UNIQUE (endpoint_id, position)
) STRICT;

CREATE INDEX delivery_pending ON delivery (endpoint_id, position) WHERE state = 'pending';
CREATE INDEX delivery_dead ON delivery (seq) WHERE state = 'dead';
CREATE INDEX delivery_of_event ON delivery (position);

-- Finds expired rows without reading the others.
CREATE INDEX event_of_no_order ON event (at) WHERE grant_id IS NULL;
CREATE INDEX inbox_at ON inbox (at);

-- Dead letters of tickets that an operator has resolved.
ALTER TABLE dead_letter ADD COLUMN discarded TEXT;
CREATE INDEX dead_letter_unseen ON dead_letter (seq) WHERE discarded IS NULL;
CREATE INDEX refund_dead ON refund (seq) WHERE state = 'failed' AND discarded IS NULL;

-- Waitlists: buyers who wait for a unit that comes back.
-- waiting entries
ALTER TABLE item ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0 CHECK (waiting >= 0);
CREATE TABLE waitlist (
    item_id   INTEGER NOT NULL,
    n         INTEGER NOT NULL,  -- the turn; also the number under the waitlist's grant
    id        TEXT    NOT NULL UNIQUE,           -- the order's id, once it is an order
    buyer     TEXT    NOT NULL,
    request_key TEXT  NOT NULL,
    state     TEXT    NOT NULL CHECK (state IN ('waiting', 'served', 'left', 'passed_over')),
    joined_at INTEGER NOT NULL,
    ended_at  INTEGER,
    PRIMARY KEY (item_id, n)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX waitlist_waiting_buyer ON waitlist (item_id, buyer) WHERE state = 'waiting';
CREATE INDEX waitlist_waiting ON waitlist (item_id, n) WHERE state = 'waiting';

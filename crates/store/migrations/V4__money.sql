-- What follows the click: what happened (an order's history, and the outbox), payments, refunds, checkouts, and who is told.

-- What happened, written in the transaction of the change. Rows are only ever added, in the order of commits: `seq` is what readers continue by.
-- An order's event keeps what of the order can change later; its state is that which `type` names, the rest is in its row of `orders`.
CREATE TABLE event (
    seq      INTEGER PRIMARY KEY,
    type     TEXT    NOT NULL,                   -- order.reserved, …
    grant_id INTEGER,                            -- the order that it is about, or that its payment named, if there is one; so is n
    n        INTEGER,
    item_id  INTEGER,                            -- of what is about no order
    sale_id  TEXT,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL,                   -- buyer, engine, operator:KEY, provider:NAME
    why      TEXT,
    pay_by   INTEGER,                            -- of an order, after the change; so are the next two
    paid_at  INTEGER,
    ended_at INTEGER,
    data     TEXT                                -- JSON: what a refused ticket and a refunded payment say of themselves
) STRICT;

CREATE INDEX event_of_order ON event (grant_id, n) WHERE grant_id IS NOT NULL;

CREATE TRIGGER event_unchanged BEFORE UPDATE ON event
WHEN new.seq <> old.seq OR new.type <> old.type OR new.at <> old.at OR new.grant_id IS NOT old.grant_id OR new.n IS NOT old.n
BEGIN SELECT raise(ABORT, 'what happened is not changed'); END;

-- Messages of providers that had their effect.
CREATE TABLE inbox (
    provider TEXT    NOT NULL,
    event_id TEXT    NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (provider, event_id)
) STRICT, WITHOUT ROWID;

-- Payments, as their providers told of them.
CREATE TABLE payment (
    seq          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,        -- the provider's
    provider     TEXT    NOT NULL,
    order_id     TEXT    NOT NULL,               -- the order that it named, as it was written
    grant_id     INTEGER,                        -- that order, if there is one; so is n
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
    cause        TEXT    NOT NULL CHECK (cause IN ('late', 'mismatch', 'second', 'unknown_order', 'operator')),
    state        TEXT    NOT NULL CHECK (state IN ('pending', 'settled', 'failed')),
    accepted     INTEGER NOT NULL CHECK (accepted IN (0, 1)),
    tries        INTEGER NOT NULL CHECK (tries >= 0),
    next_at      INTEGER NOT NULL,
    error        TEXT,
    at           INTEGER NOT NULL,
    settled_at   INTEGER,
    discarded    TEXT,                           -- why an operator let a failed one be
    CHECK ((state = 'settled') = (settled_at IS NOT NULL))
) STRICT;

CREATE INDEX refund_due ON refund (next_at) WHERE state = 'pending';
CREATE INDEX refund_of_order ON refund (order_id);
CREATE INDEX refund_notice ON refund (seq) WHERE cause IN ('mismatch', 'second', 'unknown_order');

-- Where an order is paid for at a provider. Open until the provider said that it takes no money there and took none.
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
    due        INTEGER NOT NULL,                 -- when an open one is to be closed: its order's pay_by; 0 when that waits for no payment any more
    PRIMARY KEY (grant_id, n)
) STRICT, WITHOUT ROWID;

CREATE INDEX checkout_due ON checkout (due) WHERE open = 1;

CREATE TRIGGER checkout_follows_order AFTER UPDATE OF state, pay_by ON orders
WHEN new.state <> old.state OR new.pay_by <> old.pay_by
BEGIN
    UPDATE checkout SET due = CASE new.state WHEN 'reserved' THEN new.pay_by ELSE 0 END
    WHERE grant_id = new.grant_id AND n = new.n AND open = 1;
END;

-- How long an order that is due waits for its provider: the grace while its checkout is open, else 0. Expiry looks through what is due and need not wait.
ALTER TABLE orders ADD COLUMN ask_ms INTEGER NOT NULL DEFAULT 0;
DROP INDEX orders_due;
CREATE INDEX orders_due ON orders (pay_by + ask_ms) WHERE state = 'reserved';

-- What the built-in provider knows: its own documents, of no meaning to the rest.
CREATE TABLE sandbox (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL                          -- JSON
) STRICT, WITHOUT ROWID;

-- Who is told of events: a webhook of the shop, or a broker. `position` is how far it was told.
CREATE TABLE endpoint (
    id         TEXT    PRIMARY KEY,
    kind       TEXT    NOT NULL CHECK (kind IN ('webhook', 'broker')),
    url        TEXT    NOT NULL,
    types      TEXT    NOT NULL,                 -- JSON: the types that it is told of, or ["*"]
    secrets    TEXT    NOT NULL,                 -- JSON: the newest first, each with the instant until which it signs
    position   INTEGER NOT NULL,
    enabled    INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    created_at INTEGER NOT NULL,
    node       INTEGER,                          -- who tells it now, and until when; it saves work, no order rests on it
    until      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- What an endpoint behind its position was not told yet, or will not be. Of what has the same `about`, the first is told first.
CREATE TABLE delivery (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT, -- what operators name it by, so it is never used again
    endpoint_id TEXT    NOT NULL REFERENCES endpoint (id) ON DELETE CASCADE,
    position    INTEGER NOT NULL,                -- the event's
    about       TEXT    NOT NULL,                -- the order, item or sale
    state       TEXT    NOT NULL CHECK (state IN ('pending', 'dead', 'discarded')),
    tries       INTEGER NOT NULL CHECK (tries >= 0),
    next_at     INTEGER NOT NULL,
    error       TEXT,
    why         TEXT,                            -- why an operator discarded it
    at          INTEGER NOT NULL,                -- when it got its state
    UNIQUE (endpoint_id, position)
) STRICT;

CREATE INDEX delivery_pending ON delivery (endpoint_id, position) WHERE state = 'pending';
CREATE INDEX delivery_dead ON delivery (seq) WHERE state = 'dead';
CREATE INDEX delivery_of_event ON delivery (position);

-- What is forgotten after a while is found without reading the rest.
CREATE INDEX event_of_no_order ON event (at) WHERE grant_id IS NULL;
CREATE INDEX inbox_at ON inbox (at);

-- A ticket's dead letter that an operator has seen to.
ALTER TABLE dead_letter ADD COLUMN discarded TEXT;
CREATE INDEX dead_letter_unseen ON dead_letter (seq) WHERE discarded IS NULL;
CREATE INDEX refund_dead ON refund (seq) WHERE state = 'failed' AND discarded IS NULL;

-- People in line for a unit that comes back.
ALTER TABLE item ADD COLUMN waiting INTEGER NOT NULL DEFAULT 0 CHECK (waiting >= 0); -- places in line
CREATE TABLE waitlist (
    item_id   INTEGER NOT NULL,
    n         INTEGER NOT NULL,                  -- the turn; also the number under the line's grant
    id        TEXT    NOT NULL UNIQUE,           -- the order's, once it is one
    buyer     TEXT    NOT NULL,
    request_key TEXT  NOT NULL,
    state     TEXT    NOT NULL CHECK (state IN ('waiting', 'served', 'left', 'passed_over')),
    joined_at INTEGER NOT NULL,
    ended_at  INTEGER,
    PRIMARY KEY (item_id, n)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX waitlist_waiting_buyer ON waitlist (item_id, buyer) WHERE state = 'waiting';
CREATE INDEX waitlist_waiting ON waitlist (item_id, n) WHERE state = 'waiting';

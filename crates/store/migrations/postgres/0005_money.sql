-- Events (an order's history, and the outbox), payments, refunds, checkouts and endpoints.
--
-- Locks are taken in this order: sale, grants by id (a change of an order, its checkout or its
-- payments locks its grant), quotas by (buyer, item), payments, refunds, item.

-- Events, each written in the transaction of its change. Rows are only added; the events of one
-- order have `seq` in commit order. An order's event stores the columns of the order that can
-- change later. `type` gives the order's state, and the row in `orders` has the other columns.
CREATE TABLE event (
    seq      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    type     text   NOT NULL,                    -- order.reserved, …
    -- the order of the event or of its payment, with n; NULL: no such order
    grant_id bigint,
    n        bigint,
    item_id  bigint,                             -- for an event without an order
    sale_id  text,
    at       bigint NOT NULL,
    actor    text   NOT NULL,                    -- buyer, engine, operator:KEY, provider:NAME
    why      text,
    pay_by   bigint,  -- of the order after the change, like the next two columns
    paid_at  bigint,
    ended_at bigint,
    data     text,  -- JSON: details of a refused ticket or a refunded payment
    -- Readers continue after this number. One transaction at a time assigns positions to committed
    -- rows, in the order of `seq`. NULL: not assigned yet.
    position bigint
);

-- The last assigned position. The sequencer locks this row to assign the next ones.
CREATE TABLE event_turn (
    one      integer PRIMARY KEY CHECK (one = 1),
    position bigint NOT NULL
) WITH (fillfactor = 20);
INSERT INTO event_turn (one, position) VALUES (1, 0);

CREATE UNIQUE INDEX event_position ON event (position) WHERE position IS NOT NULL;
-- No other index has this order, so the planner cannot read another index instead.
CREATE INDEX event_new ON event (position, seq) WHERE position IS NULL;
CREATE INDEX event_of_order ON event (grant_id, n) WHERE grant_id IS NOT NULL;

-- Provider messages that were handled.
CREATE TABLE inbox (
    provider text    NOT NULL,
    event_id text    NOT NULL,
    at       bigint NOT NULL,
    PRIMARY KEY (provider, event_id)
);

-- Payments, as their providers reported them.
CREATE TABLE payment (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           text    NOT NULL UNIQUE,        -- the provider's
    provider     text    NOT NULL,
    order_id     text    NOT NULL,               -- the order's id as the provider sent it
    grant_id     bigint,                         -- that order, with n; NULL: no such order
    n            bigint,
    amount_minor bigint NOT NULL,
    currency     text    NOT NULL,
    state        text    NOT NULL CHECK (state IN ('captured', 'refunded', 'failed')),
    at           bigint NOT NULL
);

CREATE INDEX payment_of_order ON payment (order_id);
-- An order is paid by one payment.
CREATE UNIQUE INDEX payment_stands ON payment (grant_id, n) WHERE state = 'captured';

-- Refunds. A payment is refunded once, and as a whole.
CREATE TABLE refund (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id           text    NOT NULL UNIQUE,        -- also the provider's idempotency key
    payment_id   text    NOT NULL UNIQUE REFERENCES payment (id),
    provider     text    NOT NULL,
    order_id     text    NOT NULL,
    amount_minor bigint NOT NULL,
    currency     text    NOT NULL,
    cause        text    NOT NULL
        CHECK (cause IN ('late', 'mismatch', 'second', 'unknown_order', 'operator')),
    state        text    NOT NULL CHECK (state IN ('pending', 'settled', 'failed')),
    accepted boolean NOT NULL,
    tries        bigint NOT NULL CHECK (tries >= 0),
    next_at      bigint NOT NULL,
    error        text,
    at           bigint NOT NULL,
    settled_at   bigint,
    discarded    text,                           -- why an operator discarded the failed refund
    CHECK ((state = 'settled') = (settled_at IS NOT NULL))
);

CREATE INDEX refund_due ON refund (next_at) WHERE state = 'pending';
CREATE INDEX refund_of_order ON refund (order_id);
CREATE INDEX refund_notice ON refund (seq) WHERE cause IN ('mismatch', 'second', 'unknown_order');

-- An order's checkout at a provider. It is open until the provider confirms that the checkout took
-- no money and accepts none any more.
CREATE TABLE checkout (
    grant_id   bigint NOT NULL,                 -- the order
    n          bigint NOT NULL,
    order_id   text    NOT NULL,
    provider   text    NOT NULL,
    session    text    NOT NULL,
    url        text    NOT NULL,
    expires_at bigint NOT NULL,
    open       boolean NOT NULL,
    at         bigint NOT NULL,
    -- when an open checkout must be closed: its order's pay_by, or 0 if the order no longer waits
    -- for payment
    due        bigint NOT NULL,
    PRIMARY KEY (grant_id, n)
);

CREATE INDEX checkout_due ON checkout (due) WHERE open;

-- How long a due order waits for its provider, in milliseconds; 0 without an open checkout. Expiry
-- reads only due orders whose wait is over.
ALTER TABLE orders ADD COLUMN ask_ms bigint NOT NULL DEFAULT 0;
DROP INDEX orders_due;
CREATE INDEX orders_due ON orders ((pay_by + ask_ms)) WHERE state = 'reserved';

-- Documents of the built-in provider, which nothing else interprets.
CREATE TABLE sandbox (
    key   text COLLATE "C" PRIMARY KEY,
    value text NOT NULL                          -- JSON
);

-- Receivers of events: webhooks of the shop, and brokers. Events up to `position` were delivered or
-- have a row in `delivery`.
CREATE TABLE endpoint (
    id         text    PRIMARY KEY,
    kind       text    NOT NULL CHECK (kind IN ('webhook', 'broker')),
    url        text    NOT NULL,
    types      text    NOT NULL,                 -- JSON: the types that it receives, or ["*"]
    secrets    text    NOT NULL,  -- JSON: newest first, each with the time until which it signs
    position   bigint NOT NULL,
    enabled boolean NOT NULL,
    created_at bigint NOT NULL,
    node       bigint,  -- the node that delivers until `until`; this lease only saves work
    until      bigint NOT NULL DEFAULT 0
);

-- Events up to an endpoint's position that are not delivered yet, or will never be delivered.
-- Events with the same `about` are delivered in order.
CREATE TABLE delivery (
    seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, -- the number that operators use
    endpoint_id text   NOT NULL REFERENCES endpoint (id) ON DELETE CASCADE,
    position    bigint NOT NULL,                 -- the event's position
    about       text   NOT NULL,                 -- the order, item or sale
    state       text   NOT NULL CHECK (state IN ('pending', 'dead', 'discarded')),
    tries       bigint NOT NULL CHECK (tries >= 0),
    next_at     bigint NOT NULL,
    error       text,
    why         text,                            -- why an operator discarded it
    at          bigint NOT NULL,                 -- when the row got its state
    UNIQUE (endpoint_id, position)
);

CREATE INDEX delivery_pending ON delivery (endpoint_id, position) WHERE state = 'pending';
CREATE INDEX delivery_dead ON delivery (seq) WHERE state = 'dead';
CREATE INDEX delivery_of_event ON delivery (position);

-- Finds expired rows without reading the others.
CREATE INDEX event_of_no_order ON event (at) WHERE grant_id IS NULL;
CREATE INDEX inbox_at ON inbox (at);

-- Dead letters of tickets that an operator has resolved.
ALTER TABLE dead_letter ADD COLUMN discarded text;
CREATE INDEX dead_letter_unseen ON dead_letter (seq) WHERE discarded IS NULL;
CREATE INDEX refund_dead ON refund (seq) WHERE state = 'failed' AND discarded IS NULL;

-- Waitlists: buyers who wait for a returned unit. `item.waiting` is the number of waiting entries.
ALTER TABLE item ADD COLUMN waiting bigint NOT NULL DEFAULT 0 CHECK (waiting >= 0);
CREATE TABLE waitlist (
    item_id   bigint NOT NULL,
    n         bigint NOT NULL,  -- the turn, and the number under the waitlist's grant
    id        text    NOT NULL UNIQUE,           -- becomes the id of the order
    buyer     text    NOT NULL,
    request_key text  NOT NULL,
    state     text    NOT NULL CHECK (state IN ('waiting', 'served', 'left', 'passed_over')),
    joined_at bigint NOT NULL,
    ended_at  bigint,
    PRIMARY KEY (item_id, n)
);

CREATE UNIQUE INDEX waitlist_waiting_buyer ON waitlist (item_id, buyer) WHERE state = 'waiting';
CREATE INDEX waitlist_waiting ON waitlist (item_id, n) WHERE state = 'waiting';

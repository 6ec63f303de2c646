-- Money that a provider reversed without a request of the engine: by its own console, or a dispute.
-- The payment and its order do not change.
CREATE TABLE reversal (
    payment_id   TEXT    NOT NULL REFERENCES payment (id),
    kind         TEXT    NOT NULL CHECK (kind IN ('returned', 'disputed')),
    amount_minor INTEGER NOT NULL,
    currency     TEXT    NOT NULL,
    stands       INTEGER NOT NULL CHECK (stands IN (0, 1)), -- 0: it failed or was withdrawn
    at           INTEGER NOT NULL,
    PRIMARY KEY (payment_id, kind)
) STRICT, WITHOUT ROWID;

CREATE INDEX reversal_at ON reversal (at) WHERE stands = 1;

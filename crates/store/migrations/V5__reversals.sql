-- Money that went back at a provider without having been asked to: by its own console, or a dispute. The payment and its order are as they were.
CREATE TABLE reversal (
    payment_id   TEXT    NOT NULL REFERENCES payment (id),
    kind         TEXT    NOT NULL CHECK (kind IN ('returned', 'disputed')),
    amount_minor INTEGER NOT NULL,
    currency     TEXT    NOT NULL,
    stands       INTEGER NOT NULL CHECK (stands IN (0, 1)), -- 0: it came to nothing
    at           INTEGER NOT NULL,
    PRIMARY KEY (payment_id, kind)
) STRICT, WITHOUT ROWID;

CREATE INDEX reversal_at ON reversal (at) WHERE stands = 1;

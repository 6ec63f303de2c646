-- Money that a provider reversed without a request of the engine: a refund by hand, or a dispute.
-- The payment and its order do not change.
CREATE TABLE reversal (
    payment_id   text    NOT NULL REFERENCES payment (id),
    kind         text    NOT NULL CHECK (kind IN ('returned', 'disputed')),
    amount_minor bigint  NOT NULL,
    currency     text    NOT NULL,
    stands       boolean NOT NULL, -- false: it failed or was withdrawn
    at           bigint  NOT NULL,
    PRIMARY KEY (payment_id, kind)
);

CREATE INDEX reversal_at ON reversal (at) WHERE stands;

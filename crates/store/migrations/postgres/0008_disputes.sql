-- Disputes, each with the content of its newest message. A payment may have several disputes. An
-- earlier version of the program recorded disputes in `reversal`. Such a dispute counts until its
-- payment has a row here.
CREATE TABLE dispute (
    payment_id   text    NOT NULL REFERENCES payment (id),
    id           text    NOT NULL, -- the provider's; '': the provider gives no id
    amount_minor bigint  NOT NULL,
    currency     text    NOT NULL,
    stands       boolean NOT NULL, -- false: it failed or was withdrawn
    said_at      bigint  NOT NULL, -- by the provider's clock
    at           bigint  NOT NULL,
    PRIMARY KEY (payment_id, id)
);

CREATE VIEW went_back AS
SELECT payment_id, kind, amount_minor, currency, stands, at FROM reversal r
WHERE kind = 'returned' OR NOT EXISTS (SELECT 1 FROM dispute d WHERE d.payment_id = r.payment_id)
UNION ALL SELECT payment_id, 'disputed', amount_minor, currency, stands, at FROM dispute;

-- Disputes by their providers' ids, with the content of the newest message of each: a payment may
-- have several. A dispute that an earlier program recorded in `reversal` counts until its payment
-- has a row here.
CREATE TABLE dispute (
    payment_id   TEXT    NOT NULL REFERENCES payment (id),
    id           TEXT    NOT NULL, -- '': its provider gives no id
    amount_minor INTEGER NOT NULL,
    currency     TEXT    NOT NULL,
    stands       INTEGER NOT NULL CHECK (stands IN (0, 1)), -- 0: it failed or was withdrawn
    said_at      INTEGER NOT NULL, -- by the provider's clock
    at           INTEGER NOT NULL,
    PRIMARY KEY (payment_id, id)
) STRICT, WITHOUT ROWID;

CREATE VIEW went_back AS
SELECT payment_id, kind, amount_minor, currency, stands, at FROM reversal r
WHERE kind = 'returned' OR NOT EXISTS (SELECT 1 FROM dispute d WHERE d.payment_id = r.payment_id)
UNION ALL SELECT payment_id, 'disputed', amount_minor, currency, stands, at FROM dispute;

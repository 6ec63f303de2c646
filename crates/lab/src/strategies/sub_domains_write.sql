-- Inserts rows into `details`, and deducts the new rows' units from the stock, in one statement.
-- $1: the details, each in the form buyer:units:partition:domain.
WITH written AS (
    INSERT INTO details (buyer, units, partition, domain)
    SELECT split_part(detail, ':', 1)::bigint, split_part(detail, ':', 2)::bigint,
        split_part(detail, ':', 3)::bigint, split_part(detail, ':', 4)
    FROM unnest($1::text[]) AS detail
    ON CONFLICT (buyer) DO NOTHING
    RETURNING units
)
UPDATE stock SET available = available - (SELECT coalesce(sum(units), 0) FROM written)
WHERE item = 1

-- The stock of the item, and one detail record for each purchase. The record names the partition
-- and the sub-domain that sold the units. Each detail record is an order.
CREATE TABLE stock (item int PRIMARY KEY, available bigint NOT NULL);
CREATE TABLE details (
    record_id bigserial PRIMARY KEY,
    buyer bigint NOT NULL UNIQUE,
    units bigint NOT NULL,
    partition bigint NOT NULL,
    domain text NOT NULL
);
CREATE VIEW orders AS SELECT record_id AS id, buyer, units FROM details;

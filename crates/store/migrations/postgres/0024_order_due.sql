-- When orders are due, in a table of its own. A change of an order now changes no indexed column.
-- So PostgreSQL writes the new version of the row to the page of the old one, and writes no index.
--
-- While nodes of the previous version run, they find due orders without an index. After a database
-- failover, such a node also reads all orders slowly.

-- A node of the previous version may insert orders until this lock is granted. With the lock, no
-- order is committed between the copy below and the triggers.
LOCK TABLE orders IN ACCESS EXCLUSIVE MODE;

-- The reserved orders, in the order in which they become due. Triggers keep this table, so it is
-- also right while nodes of the previous version run.
CREATE TABLE order_due (
    at       bigint NOT NULL,                      -- pay_by + ask_ms of the order
    seq      bigint NOT NULL,                      -- of the order, like the next three columns
    grant_id bigint NOT NULL,
    n        bigint NOT NULL,
    item_id  bigint NOT NULL,
    PRIMARY KEY (at, seq)
);

INSERT INTO order_due (at, seq, grant_id, n, item_id)
    SELECT pay_by + ask_ms, seq, grant_id, n, item_id FROM orders WHERE state = 'reserved';

CREATE FUNCTION add_order_due() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO order_due (at, seq, grant_id, n, item_id)
        SELECT pay_by + ask_ms, seq, grant_id, n, item_id FROM after_rows WHERE state = 'reserved';
    RETURN NULL;
END $$;

CREATE FUNCTION change_order_due() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM order_due d USING before_rows o
        WHERE o.state = 'reserved' AND d.at = o.pay_by + o.ask_ms AND d.seq = o.seq;
    INSERT INTO order_due (at, seq, grant_id, n, item_id)
        SELECT pay_by + ask_ms, seq, grant_id, n, item_id FROM after_rows WHERE state = 'reserved';
    RETURN NULL;
END $$;

CREATE TRIGGER orders_add_due AFTER INSERT ON orders
    REFERENCING NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION add_order_due();
CREATE TRIGGER orders_change_due AFTER UPDATE ON orders
    REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION change_order_due();

DROP INDEX orders_due;

-- `orders.changed` and `orders.writer` now belong to the transaction that inserted the order. The
-- order of later changes is in `commit_digest`. The index `orders_without_digest` stays for nodes
-- of the previous version, and has no rows.
DROP INDEX orders_changed;

-- Most orders change once or twice. Half of each page is free for the new versions.
ALTER TABLE orders SET (fillfactor = 50);

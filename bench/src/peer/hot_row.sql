-- For pgbench: one statement deducts one unit from the hot row and inserts the order. If no unit is
-- left, the statement does nothing.
\set buyer random(1, 1000000000)
WITH taken AS (
  UPDATE item SET stock = stock - 1 WHERE id = 1 AND stock >= 1 RETURNING id
)
INSERT INTO orders (item, buyer, units) SELECT id, :buyer, 1 FROM taken;

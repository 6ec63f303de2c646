-- For pgbench: one statement takes one unit of the hot row and writes the order, or does neither.
\set buyer random(1, 1000000000)
WITH taken AS (
  UPDATE item SET stock = stock - 1 WHERE id = 1 AND stock >= 1 RETURNING id
)
INSERT INTO orders (item, buyer, units) SELECT id, :buyer, 1 FROM taken;

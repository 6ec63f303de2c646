-- PostgreSQL gets a table of commit digests for other nodes. An embedded store has one node, and
-- takes only the number.
SELECT 1;

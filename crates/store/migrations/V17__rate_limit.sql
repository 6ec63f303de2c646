-- PostgreSQL gets a table of rate limits that nodes share. An embedded store has one node, and
-- takes only the number of this migration.
SELECT 1;

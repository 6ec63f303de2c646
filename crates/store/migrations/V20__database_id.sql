-- PostgreSQL gets a column that distinguishes a restored dump from its original. An embedded store
-- has no dumps, and takes only the number.
SELECT 1;

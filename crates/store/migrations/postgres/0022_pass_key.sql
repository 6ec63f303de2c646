-- The key is in this database, so it always fits.
SELECT 1;

-- SQLite gets a fingerprint of the file `pass_key`. PostgreSQL needs no fingerprint: the key is in
-- this database, so it always fits.
SELECT 1;

-- The ids of the database and of this table, as text. If a dump is restored into the same server,
-- the row stays the same, but the database and the table get other ids. NULL: not written yet.
ALTER TABLE store_history ADD COLUMN database_id text;

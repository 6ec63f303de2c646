-- The ids of the database and of this table, as text: a dump that is restored into the same server
-- keeps the row, but gets other ids. NULL: not written yet.
ALTER TABLE store_history ADD COLUMN database_id text;

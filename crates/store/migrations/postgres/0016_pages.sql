-- Other data that the page of a sale or of an item shows, as JSON: texts in several languages, more
-- pictures, and facts. Empty: no such data.
ALTER TABLE sale ADD COLUMN page text NOT NULL DEFAULT '';
ALTER TABLE item ADD COLUMN page text NOT NULL DEFAULT '';

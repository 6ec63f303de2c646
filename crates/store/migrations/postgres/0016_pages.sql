-- What the page of a sale and of an item shows beside the columns that sell: texts in several
-- languages, further pictures and facts, as JSON. Empty: nothing.
ALTER TABLE sale ADD COLUMN page text NOT NULL DEFAULT '';
ALTER TABLE item ADD COLUMN page text NOT NULL DEFAULT '';

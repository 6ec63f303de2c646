-- A fingerprint of the file `pass_key`, from which the keys of the front door are derived. Empty until
-- a start that uses this file.
ALTER TABLE identity ADD COLUMN pass_key TEXT;

-- Sign-ins at the console by OpenID Connect have no key, and a key_hash of zeros. Null: the session
-- belongs to a key.
ALTER TABLE console_session ADD COLUMN person TEXT;      -- the id in actions, such as 'oidc:4711'
ALTER TABLE console_session ADD COLUMN person_name TEXT; -- for display
ALTER TABLE console_session ADD COLUMN person_role TEXT CHECK (person_role IN ('viewer', 'operator', 'admin'));

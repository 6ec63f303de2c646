-- Sign-ins at the console by OpenID Connect have no key, and a key_hash of zeros. In these columns,
-- NULL means that the session belongs to a key.
ALTER TABLE console_session
    ADD COLUMN person      text,  -- the id in actions, such as 'oidc:4711'
    ADD COLUMN person_name text,  -- for display
    ADD COLUMN person_role text CHECK (person_role IN ('viewer', 'operator', 'admin'));

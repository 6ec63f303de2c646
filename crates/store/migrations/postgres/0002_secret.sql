-- Secrets that are not configured and that all nodes share. The first node that needs one creates
-- it.
CREATE TABLE secret (
    name  text PRIMARY KEY,
    value text NOT NULL
);

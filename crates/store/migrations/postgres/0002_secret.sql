-- Secrets that nobody configured and all nodes share. The first node that needs one makes it.
CREATE TABLE secret (
    name  text PRIMARY KEY,
    value text NOT NULL
);

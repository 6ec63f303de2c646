-- The wrong keys that each network sent to the sign-in of the console, at all nodes together.
CREATE TABLE wrong_key (
    network text   PRIMARY KEY,  -- an IPv4 address, or the /64 of an IPv6 address
    minute  bigint NOT NULL,     -- of the count; minutes since the Unix epoch
    wrong   bigint NOT NULL CHECK (wrong >= 0)
);

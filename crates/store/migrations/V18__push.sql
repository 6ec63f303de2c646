-- Browsers that get messages (web push). A row is a browser of a buyer. One node, the owner, sends
-- the messages. If the owner has no lease, another node becomes the owner.
CREATE TABLE push_subscription (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    buyer      TEXT    NOT NULL,
    endpoint   TEXT    NOT NULL,  -- the address at the browser's push service
    public_key BLOB    NOT NULL CHECK (length(public_key) = 65),
    auth       BLOB    NOT NULL CHECK (length(auth) = 16),  -- the browser's secret
    node       INTEGER NOT NULL,  -- the owner
    until      INTEGER NOT NULL,  -- when the row expires, unless the browser renews it
    UNIQUE (buyer, endpoint)
) STRICT;
CREATE INDEX push_subscription_node ON push_subscription (node);
CREATE INDEX push_subscription_until ON push_subscription (until);

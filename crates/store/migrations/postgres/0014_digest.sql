-- The orders that a transaction created or changed, in a compact form (`core::digest`). Other nodes
-- read this row instead of the orders. Rows are deleted after some minutes.
CREATE TABLE commit_digest (
    changed xid8   NOT NULL DEFAULT pg_current_xact_id(),
    at      bigint NOT NULL,
    orders  bytea  NOT NULL
);
CREATE INDEX commit_digest_changed ON commit_digest (changed);
CREATE INDEX commit_digest_at ON commit_digest (at);
-- Orders whose last writer left no digest, because it runs an earlier version. The number of such a
-- writer is not negative.
CREATE INDEX orders_without_digest ON orders (changed, seq) WHERE writer >= 0;

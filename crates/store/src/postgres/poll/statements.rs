//! The statements of a poll. A `pg_snapshot` parameter is the previous poll's position.
use crate::counts::postgres_counts;
use crate::rows;

pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
pub(super) const CHANGED_COUNTS: &str = postgres_counts!(
    "WHERE NOT pg_visible_in_snapshot(i.changed, $1::text::pg_snapshot)
      OR EXISTS (SELECT FROM slot_grant s WHERE s.item_id = i.id
      AND NOT pg_visible_in_snapshot(s.changed, $1::text::pg_snapshot))
      ORDER BY i.id"
);
/// Finds changes of other nodes, and also changes of this node, for two reasons. First, the table
/// has one row, which keeps the last change. So a change of this node can overwrite an unread
/// change of another node. Second, this node may read the catalogue before its own change becomes
/// visible.
pub(super) const CATALOGUE: &str = "SELECT FROM catalogue
     WHERE NOT pg_visible_in_snapshot(changed, $1::text::pg_snapshot)";
pub(super) const DIGESTS: &str = "SELECT d.orders, d.changed::text FROM commit_digest d
     WHERE d.changed >= $2::text::xid8 AND NOT pg_visible_in_snapshot(d.changed,
     $1::text::pg_snapshot)
           AND d.changed <> ALL ($3::text[]::xid8[]) AND d.changed > $4::text::xid8
     ORDER BY d.changed LIMIT $5";
pub(super) const NEEDED_ORDERS: &str = concat!(
    "SELECT ",
    rows::order_columns!(),
    " FROM unnest($1::bigint[], $2::bigint[]) AS t (grant_id, n)
     JOIN orders o ON o.grant_id = t.grant_id AND o.n = t.n
     ORDER BY o.seq"
);
/// Selects the orders that were created before this snapshot, oldest first.
pub(super) const OLD_ORDERS: &str = concat!(
    "SELECT ",
    rows::order_columns!(),
    ", o.node, o.writer, o.seq FROM orders o
     WHERE o.seq > $2 AND pg_visible_in_snapshot(o.changed, $1::text::pg_snapshot)
     ORDER BY o.seq LIMIT $3"
);
pub(super) const RESOLUTIONS: &str = concat!(
    "SELECT ",
    rows::resolution_columns!(),
    ", r.changed::text FROM resolution r
     WHERE r.changed >= $2::text::xid8 AND NOT pg_visible_in_snapshot(r.changed,
     $1::text::pg_snapshot) AND r.writer <> $3
           AND (r.node = $4 OR r.node IS NULL) AND (r.changed, r.ticket) > ($5::text::xid8,
           $6::text)
     ORDER BY r.changed, r.ticket LIMIT $7"
);
pub(super) const ORDER: &str =
    concat!("SELECT ", rows::order_columns!(), " FROM orders o WHERE o.grant_id = $1 AND o.n = $2");

//! The queries that count the units of items, for [`crate::rows::counts`].
use crate::sql::Statement;

macro_rules! sqlite_counts {
    ($rest:literal) => {
        concat!(
            "SELECT i.id, i.total, i.pool, i.ended, i.paid,
                 (SELECT coalesce(sum(granted - settled), 0) FROM slot_grant
                  WHERE item_id = i.id AND open = 1 AND counted = 1),
                 (SELECT coalesce(sum(settled), 0) FROM slot_grant WHERE item_id = i.id), i.waiting
             FROM item i ",
            $rest
        )
    };
}
/// In PostgreSQL, one scan of the grants adds up both the units in slots and the settled units.
macro_rules! postgres_counts {
    ($rest:literal) => {
        concat!(
            "SELECT i.id, i.total, i.pool, i.ended, i.paid, coalesce(g.in_slots, 0)::bigint,
                 coalesce(g.settled, 0)::bigint, i.waiting
             FROM item i LEFT JOIN LATERAL (
                 SELECT sum(s.granted - s.settled) FILTER (WHERE s.open AND s.counted) AS in_slots,
                        sum(s.settled) AS settled
                 FROM slot_grant s WHERE s.item_id = i.id) g ON TRUE ",
            $rest
        )
    };
}
pub(crate) use postgres_counts;

pub(crate) const COUNTS_OF_ITEM: Statement = Statement {
    sqlite: sqlite_counts!("WHERE i.id = $1"),
    postgres: postgres_counts!("WHERE i.id = $1"),
};
pub(crate) const COUNTS_OF_ITEMS: Statement = Statement {
    sqlite: sqlite_counts!("WHERE i.id IN (SELECT value FROM json_each($1)) ORDER BY i.id"),
    postgres: postgres_counts!("WHERE i.id = ANY($1) ORDER BY i.id"),
};
pub(crate) const COUNTS_OF_ALL: Statement = Statement {
    sqlite: sqlite_counts!("ORDER BY i.id"),
    postgres: postgres_counts!("ORDER BY i.id"),
};

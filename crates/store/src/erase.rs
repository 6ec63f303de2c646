//! The statements of an erasure: they find a buyer's rows, and replace the buyer's id.
//!
//! This file names every text column that can contain a buyer's id or a request key. A test
//! compares these columns with all columns of the schema.
use doorbuster_core::{BuyerId, IdKey, RequestKey};

use crate::contract::{BuyerTraces, RetainReason, RetainedRows};
use crate::sql::{Statement, statement};

/// The condition that an order can be erased: its sale is closed, and the order is not reserved and
/// has no open checkout or due refund.
macro_rules! at_rest {
    () => {
        "s.phase = 'closed' AND o.state <> 'reserved'
         AND NOT EXISTS (SELECT 1 FROM checkout c WHERE c.grant_id = o.grant_id AND c.n = o.n
         AND c.open)
         AND NOT EXISTS (SELECT 1 FROM refund r WHERE r.order_id = o.id AND (r.state = 'pending'
         OR (r.state = 'failed' AND r.discarded IS NULL)))"
    };
}

/// Joins the item whose number is in the given column, and then the item's sale.
macro_rules! of_item {
    ($column:literal) => {
        concat!(" JOIN item i ON i.id = ", $column, " JOIN sale s ON s.id = i.sale_id")
    };
}

macro_rules! of_grant {
    () => {
        concat!(" JOIN slot_grant g ON g.id = f.grant_id", of_item!("g.item_id"))
    };
}

/// The condition for an event about a refused ticket of this buyer ($1). The condition searches the
/// JSON text for the buyer's id and does not parse the text. This is correct, because a buyer's id
/// has no character that JSON escapes.
macro_rules! of_refused {
    () => {
        "e.grant_id IS NULL AND e.type = 'order.refused' AND replace(e.data, '\"buyer\":\"' || \
         CAST($1 AS text) || '\"', '') <> e.data"
    };
}

/// The condition for a quota row of a buyer who has no order of the item. PostgreSQL can have such
/// rows. If a settle batch runs again, it first inserts all missing quota rows. If a ticket of the
/// batch is then returned, the quota row of the ticket's buyer stays.
macro_rules! of_no_order {
    () => {
        "q.buyer = $1 AND q.used = 0
         AND NOT EXISTS (SELECT 1 FROM orders o WHERE o.buyer = q.buyer AND o.item_id = q.item_id)"
    };
}

/// Counts the rows that name a buyer ($1). Each result row has the count for one sale, for one
/// `word`, and either for orders or for other rows. The word is `erasable`, or the reason why the
/// counted rows must stay.
pub(crate) const TRACES: Statement = statement(concat!(
    "SELECT sale, word, is_order = 1, count(*) FROM (
     SELECT i.sale_id AS sale, 1 AS is_order, CASE WHEN ",
    at_rest!(),
    " THEN 'erasable' WHEN s.phase <> 'closed' THEN 'not_closed' WHEN o.state = 'reserved' THEN 'unpaid'
         WHEN EXISTS (SELECT 1 FROM checkout c WHERE c.grant_id = o.grant_id AND c.n = o.n
         AND c.open) THEN 'open_checkout'
         ELSE 'refund_due' END AS word
     FROM orders o",
    of_item!("o.item_id"),
    " WHERE o.buyer = $1
     UNION ALL SELECT i.sale_id, 0, CASE WHEN s.phase = 'closed' THEN 'erasable' ELSE 'not_closed'
     END FROM feed f",
    of_grant!(),
    " WHERE f.buyer = $1
     UNION ALL SELECT i.sale_id, 0, CASE WHEN s.phase = 'closed' THEN 'erasable' ELSE 'not_closed'
     END FROM dead_letter d",
    of_item!("d.item_id"),
    " WHERE d.buyer = $1
     UNION ALL SELECT i.sale_id, 0, CASE WHEN s.phase = 'closed' THEN 'erasable' ELSE 'not_closed'
     END FROM waitlist w",
    of_item!("w.item_id"),
    " WHERE w.buyer = $1
     UNION ALL SELECT i.sale_id, 0, CASE WHEN s.phase = 'closed' THEN 'erasable' ELSE 'not_closed'
     END FROM event e",
    of_item!("e.item_id"),
    " WHERE ",
    of_refused!(),
    " UNION ALL SELECT i.sale_id, 0, CASE WHEN s.phase = 'closed' THEN 'erasable' ELSE 'not_closed'
     END FROM quota q",
    of_item!("q.item_id"),
    " WHERE ",
    of_no_order!(),
    " UNION ALL SELECT p.sale_id, 0, CASE WHEN s.phase = 'closed' THEN 'erasable' ELSE 'not_closed'
     END
     FROM waiting_room_visitor p JOIN sale s ON s.id = p.sale_id WHERE p.buyer = $1
     UNION ALL SELECT u.sale_id, 0, CASE WHEN s.phase = 'closed' THEN 'erasable' ELSE 'not_closed'
     END
     FROM access_code_use u JOIN sale s ON s.id = u.sale_id WHERE u.buyer = $1
     UNION ALL SELECT '', 0, 'erasable' FROM push_subscription b WHERE b.buyer = $1
     ) t GROUP BY sale, word, is_order ORDER BY sale, word"
));

/// Selects the orders of a buyer ($1) that can be erased. The last column is the number of units
/// that count toward the buyer's limit.
pub(crate) const FIND_ORDERS: Statement = statement(concat!(
    "SELECT o.grant_id, o.n, o.request_key, o.item_id, CASE WHEN o.state = 'paid' THEN o.units \
     ELSE 0 END FROM orders o",
    of_item!("o.item_id"),
    " WHERE o.buyer = $1 AND ",
    at_rest!(),
    " ORDER BY o.request_key LIMIT $2"
));
pub(crate) const FIND_FEED: Statement = statement(concat!(
    "SELECT f.grant_id, f.seq, f.request_key FROM feed f",
    of_grant!(),
    " WHERE f.buyer = $1 AND s.phase = 'closed' LIMIT $2"
));
pub(crate) const FIND_DEAD_TICKETS: Statement = statement(concat!(
    "SELECT d.seq, d.request_key FROM dead_letter d",
    of_item!("d.item_id"),
    " WHERE d.buyer = $1 AND s.phase = 'closed' LIMIT $2"
));
/// After a sale is closed, no waitlist entry is served, so entries that still wait can be erased.
pub(crate) const FIND_WAITLIST: Statement = statement(concat!(
    "SELECT w.item_id, w.n, w.request_key FROM waitlist w",
    of_item!("w.item_id"),
    " WHERE w.buyer = $1 AND s.phase = 'closed' LIMIT $2"
));
pub(crate) const FIND_EVENTS: Statement = statement(concat!(
    "SELECT e.seq FROM event e",
    of_item!("e.item_id"),
    " WHERE ",
    of_refused!(),
    " AND s.phase = 'closed' LIMIT $2"
));
/// Selects a buyer's waiting room positions. The seed and the item's name are needed to compute the
/// buyer's lot in the draw.
pub(crate) const FIND_VISITORS: Statement = statement(
    "SELECT p.sale_id, p.item_id, r.seed, i.name
     FROM sale s JOIN waiting_room_visitor p ON p.sale_id = s.id AND p.buyer = $1
     JOIN waiting_room r ON r.sale_id = p.sale_id AND r.item_id = p.item_id
     LEFT JOIN item i ON i.id = p.item_id WHERE s.phase = 'closed' LIMIT $2",
);
pub(crate) const FIND_CODES: Statement = statement(
    "SELECT u.sale_id, u.hash FROM sale s JOIN access_code_use u ON u.sale_id = s.id
     AND u.buyer = $1
     WHERE s.phase = 'closed' LIMIT $2",
);
/// Selects the items for which a buyer has a quota row but no order. The items are sorted in the
/// sequence in which transactions lock quota rows.
pub(crate) const FIND_QUOTAS: Statement = statement(concat!(
    "SELECT q.item_id FROM quota q",
    of_item!("q.item_id"),
    " WHERE ",
    of_no_order!(),
    " AND s.phase = 'closed' ORDER BY q.item_id LIMIT $2"
));
pub(crate) const IS_BLOCKED: Statement = statement(
    "SELECT 1 FROM block WHERE kind = 'buyer' AND value = $1 AND (until IS NULL OR until > $2)",
);

pub(crate) const RENAME_ORDER: Statement = statement(
    "UPDATE orders SET buyer = $1, request_key = $2 WHERE grant_id = $3 AND n = $4 AND buyer = $5",
);
pub(crate) const DECREASE_QUOTA: Statement =
    statement("UPDATE quota SET used = used - $1 WHERE buyer = $2 AND item_id = $3");
pub(crate) const INCREASE_QUOTA: Statement = statement(
    "INSERT INTO quota (buyer, item_id, used) VALUES ($1, $2, $3)
     ON CONFLICT (buyer, item_id) DO UPDATE SET used = quota.used + excluded.used",
);
/// Deletes a quota row of a buyer who has no order of the item. The row must stay as long as the
/// buyer has an order, even an ended order. The reason: SQLite's ledger takes a missing row as
/// proof that the buyer never had an order of the item, and then does not search for orders.
pub(crate) const DELETE_QUOTA: Statement = statement(
    "DELETE FROM quota WHERE buyer = $1 AND item_id = $2
     AND NOT EXISTS (SELECT 1 FROM orders o WHERE o.buyer = $1 AND o.item_id = $2)",
);
/// A ticket of the buyer may have become an order since [`FIND_QUOTAS`] found the row. So the row
/// is deleted only if it counts no units.
pub(crate) const DELETE_UNUSED_QUOTA: Statement = statement(
    "DELETE FROM quota WHERE buyer = $1 AND item_id = $2 AND used = 0
     AND NOT EXISTS (SELECT 1 FROM orders o WHERE o.buyer = $1 AND o.item_id = $2)",
);
pub(crate) const RENAME_FEED: Statement = statement(
    "UPDATE feed SET buyer = $1, request_key = $2 WHERE grant_id = $3 AND seq = $4 AND buyer = $5",
);
pub(crate) const RENAME_DEAD_TICKET: Statement =
    statement("UPDATE dead_letter SET buyer = $1, request_key = $2 WHERE seq = $3 AND buyer = $4");
pub(crate) const RENAME_WAITLIST: Statement = statement(
    "UPDATE waitlist SET buyer = $1, request_key = $2 WHERE item_id = $3 AND n = $4 AND buyer = $5",
);
pub(crate) const RENAME_EVENT: Statement = statement(
    "UPDATE event SET data = replace(data,
                                       '\"buyer\":\"' || CAST($1 AS text) || '\"',
                                       '\"buyer\":\"' || CAST($2 AS text) || '\"') WHERE seq = $3",
);
/// A lot in the draw is computed from the buyer's id, and would reveal the old id. So the lot
/// changes together with the id.
pub(crate) const RENAME_DRAWN: Statement = statement(
    "UPDATE waiting_room_visitor SET buyer = $1, lot = $2
     WHERE sale_id = $3 AND item_id = $4 AND buyer = $5 AND lot IS NOT NULL",
);
/// The room also stores the lot of the buyer who was admitted last. This lot would reveal the old
/// id.
pub(crate) const RENAME_CALLED_LOT: Statement = statement(
    "UPDATE waiting_room SET called_lot = $1
     WHERE sale_id = $2 AND item_id = $3 AND called_lot = $4",
);
pub(crate) const RENAME_VISITOR: Statement = statement(
    "UPDATE waiting_room_visitor SET buyer = $1
     WHERE sale_id = $2 AND item_id = $3 AND buyer = $4 AND lot IS NULL",
);
pub(crate) const RENAME_CODE: Statement = statement(
    "UPDATE access_code_use SET buyer = $1 WHERE sale_id = $2 AND hash = $3 AND buyer = $4",
);
pub(crate) const RENAME_BLOCK: Statement =
    statement("DELETE FROM block WHERE kind = 'buyer' AND value = $1 AND until <= $2");
/// A browser's subscription belongs to no sale, and no other row needs it.
pub(crate) const DELETE_SUBSCRIPTIONS: Statement =
    statement("DELETE FROM push_subscription WHERE buyer = $1");

pub(crate) struct ErasedNames {
    pub(crate) old: BuyerId,
    pub(crate) new: BuyerId,
    key: IdKey,
}

impl ErasedNames {
    pub(crate) fn for_buyer(buyer: &BuyerId, key: &IdKey) -> Self {
        Self { old: buyer.clone(), new: key.erased_buyer(buyer), key: key.clone() }
    }

    /// Returns the key that replaces the order's request key. After an erasure, the buyer may place
    /// an order with the same request key, and be erased again. The keys that replace the request
    /// keys of both orders must differ, so the new key also depends on the order.
    pub(crate) fn order_key(&self, order: &ErasableOrder) -> RequestKey {
        self.key(&format!("{}\0{}\0{}", order.key, order.grant, order.n))
    }

    /// Returns the key that replaces the request key of a row that is not an order.
    pub(crate) fn key(&self, key: &str) -> RequestKey {
        self.key.erased_key(&self.old, key)
    }
}

pub(crate) struct ErasableOrder {
    pub(crate) grant: i64,
    pub(crate) n: i64,
    pub(crate) key: String,
    pub(crate) item: i64,
    /// The units of the order that count toward the buyer's limit.
    pub(crate) held: i64,
}

pub(crate) struct ErasableVisitor {
    pub(crate) sale: String,
    pub(crate) item: i64,
    pub(crate) seed: [u8; 32],
    pub(crate) item_name: Option<String>,
}

/// The rows to erase in tables other than `orders`, identified by the keys of their tables. The
/// rows are read first. A later transaction changes or deletes the rows that still belong to the
/// buyer.
#[derive(Default)]
pub(crate) struct ErasableRows {
    pub(crate) feed: Vec<(i64, i64, Option<String>)>,
    pub(crate) dead_letter_tickets: Vec<(i64, String)>,
    pub(crate) waitlist: Vec<(i64, i64, String)>,
    pub(crate) events: Vec<i64>,
    pub(crate) visitors: Vec<ErasableVisitor>,
    pub(crate) codes: Vec<(String, Vec<u8>)>,
    /// The items for which the buyer has a quota row but no order.
    pub(crate) quotas: Vec<i64>,
}

impl BuyerTraces {
    /// Adds a row of [`TRACES`] to the counts. Returns `None` if the row has an unknown word.
    pub(crate) fn count(
        &mut self,
        sale: String,
        word: &str,
        is_order: bool,
        rows: u64,
    ) -> Option<()> {
        let (orders, other) = if is_order { (rows, 0) } else { (0, rows) };
        if word == "erasable" {
            (self.orders, self.other) = (self.orders + orders, self.other + other);
            return Some(());
        }
        let why = RetainReason::parse(word)?;
        match self.held_back.iter_mut().find(|held| held.sale == sale && held.why == why) {
            Some(held) => (held.orders, held.other) = (held.orders + orders, held.other + other),
            None => self.held_back.push(RetainedRows { sale, why, orders, other }),
        }
        Some(())
    }
}

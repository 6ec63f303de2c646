//! The statements of the two ledgers, `SqliteLedger` and `PostgresLedger`. In PostgreSQL a query
//! locks the rows that its transaction may change. Each text names its parameters in the order
//! `$1`, `$2`, …, because both ledgers pass parameters by position.
use crate::rows::money::{
    checkout_columns, dispute_columns, payment_columns, refund_columns, returned_columns,
};
use crate::rows::waitlist::entry_columns;
use crate::rows::{grant_columns, item_columns, order_columns, recall_columns, resolution_columns};
use crate::sql::{Statement, dialects, locking, statement};

pub(crate) const ITEM: Statement =
    locking!(concat!("SELECT ", item_columns!(), " FROM item WHERE id = $1"), "FOR NO KEY UPDATE");
/// The lock on the sale is shared, so other transactions can open grants at the same time. A phase
/// change waits for the lock.
pub(crate) const ON_SALE: Statement = locking!(
    "SELECT s.phase IN ('scheduled', 'open') FROM item i JOIN sale s ON s.id = i.sale_id
     WHERE i.id = $1",
    "FOR SHARE OF s"
);
/// An ended sale stays ended, so no lock is needed.
pub(crate) const HAS_ENDED: Statement = statement(
    "SELECT s.phase = 'closed' FROM item i JOIN sale s ON s.id = i.sale_id WHERE i.id = $1",
);
pub(crate) const OPEN_GRANT: Statement = dialects!(
    concat!("SELECT ", grant_columns!(), " FROM slot_grant WHERE item_id = $1 AND slot = $2 AND "),
    "open = 1" | "open FOR NO KEY UPDATE",
    ""
);
pub(crate) const OPEN_GRANTS: Statement = dialects!(
    concat!("SELECT ", grant_columns!(), " FROM slot_grant WHERE item_id = $1 AND "),
    "open = 1 ORDER BY slot" | "open ORDER BY id FOR NO KEY UPDATE",
    ""
);
pub(crate) const LAST_EPOCH: Statement =
    statement("SELECT coalesce(max(epoch), 0) FROM slot_grant WHERE item_id = $1 AND slot = $2");
pub(crate) const WAITLIST: Statement = locking!(
    concat!("SELECT ", grant_columns!(), " FROM slot_grant WHERE item_id = $1 AND slot = $2"),
    "FOR NO KEY UPDATE"
);
pub(crate) const RESOLUTION: Statement =
    statement(concat!("SELECT ", resolution_columns!(), " FROM resolution r WHERE r.ticket = $1"));
pub(crate) const TICKET_OF: Statement = statement(
    "SELECT id FROM orders WHERE grant_id = $1 AND n = $2
     UNION ALL SELECT ticket FROM resolution WHERE grant_id = $1 AND n = $2",
);
/// Finds an order by its grant and its number. The caller must compare the whole id.
pub(crate) const ORDER: Statement = statement(concat!(
    "SELECT ",
    order_columns!(),
    " FROM orders o WHERE o.grant_id = $1 AND o.n = $2"
));
pub(crate) const ORDER_OF: Statement = statement(concat!(
    "SELECT ",
    order_columns!(),
    " FROM orders o WHERE o.buyer = $1 AND o.request_key = $2"
));
pub(crate) const ORDERS_OF_BUYER: Statement = statement(concat!(
    "SELECT ",
    order_columns!(),
    " FROM orders o WHERE o.buyer = $1 AND o.item_id = $2"
));
/// Without the `+`, the planners would use the index on the grant, and read all orders of the
/// grant.
pub(crate) const FIRST_UNPAID: Statement = statement(concat!(
    "SELECT ",
    order_columns!(),
    " FROM orders o WHERE o.buyer = $1 AND +o.grant_id = $2 AND (o.state = 'expired'
      OR (o.state = 'cancelled' AND (CAST($3 AS text) IS NULL OR $3 =
          (SELECT e.actor FROM event e WHERE e.grant_id IS NOT NULL
           AND e.grant_id = o.grant_id AND e.n = o.n AND e.type = 'order.cancelled' LIMIT 1))))
      ORDER BY o.n LIMIT 1"
));
pub(crate) const QUOTA: Statement =
    locking!("SELECT used FROM quota WHERE buyer = $1 AND item_id = $2", "FOR NO KEY UPDATE");
pub(crate) const RECALL: Statement = locking!(
    concat!("SELECT ", recall_columns!(), " FROM recall WHERE id = $1"),
    "FOR NO KEY UPDATE"
);
pub(crate) const ENTRY: Statement =
    statement(concat!("SELECT ", entry_columns!(), " FROM waitlist w WHERE w.id = $1"));
pub(crate) const ENTRY_OF: Statement = statement(concat!(
    "SELECT ",
    entry_columns!(),
    " FROM waitlist w WHERE w.item_id = $1 AND w.buyer = $2 AND w.state = 'waiting'"
));
pub(crate) const WAITING_ENTRIES: Statement = statement(concat!(
    "SELECT ",
    entry_columns!(),
    " FROM waitlist w WHERE w.item_id = $1 AND w.state = 'waiting' ORDER BY w.n LIMIT $2"
));
pub(crate) const INSERT_DEAD_LETTER: Statement = statement(
    "INSERT INTO dead_letter (ticket, item_id, buyer, request_key, units, reason, at)
     VALUES ($1, $2, $3, $4, $5, $6, $7)
     ON CONFLICT (ticket) DO NOTHING",
);
pub(crate) const PRICE: Statement =
    statement("SELECT price_minor, currency FROM item WHERE id = $1");
pub(crate) const INBOX: Statement =
    statement("SELECT 1 FROM inbox WHERE provider = $1 AND event_id = $2");
pub(crate) const PAYMENT: Statement = locking!(
    concat!("SELECT ", payment_columns!(), " FROM payment p WHERE p.id = $1"),
    "FOR NO KEY UPDATE"
);
pub(crate) const PAYMENTS_OF: Statement = dialects!(
    concat!("SELECT ", payment_columns!(), " FROM payment p WHERE p.order_id = $1 ORDER BY "),
    "p.id" | "p.seq FOR NO KEY UPDATE",
    ""
);
pub(crate) const REFUND: Statement = locking!(
    concat!("SELECT ", refund_columns!(), " FROM refund r WHERE r.id = $1"),
    "FOR NO KEY UPDATE"
);
/// This query takes no lock, because a transaction that writes a reversal has already locked the
/// reversal's payment.
pub(crate) const RETURNED: Statement = statement(concat!(
    "SELECT ",
    returned_columns!(),
    " FROM reversal r WHERE r.payment_id = $1 AND r.kind = 'returned'"
));
pub(crate) const DISPUTED: Statement = statement(concat!(
    "SELECT ",
    dispute_columns!(),
    " FROM dispute d WHERE d.payment_id = $1 AND d.id = $2"
));
pub(crate) const PUT_RETURNED: Statement = statement(
    "INSERT INTO reversal (payment_id, kind, amount_minor, currency, stands, at)
     VALUES ($1, 'returned', $2, $3, $4, $5)
     ON CONFLICT (payment_id, kind) DO UPDATE SET amount_minor = excluded.amount_minor,
     currency = excluded.currency, stands = excluded.stands, at = excluded.at",
);
pub(crate) const PUT_DISPUTED: Statement = statement(
    "INSERT INTO dispute (payment_id, id, amount_minor, currency, stands, said_at, at)
     VALUES ($1, $2, $3, $4, $5, $6, $7)
     ON CONFLICT (payment_id, id) DO UPDATE SET amount_minor = excluded.amount_minor,
     currency = excluded.currency, stands = excluded.stands, said_at = excluded.said_at",
);
pub(crate) const CHECKOUT: Statement = statement(concat!(
    "SELECT ",
    checkout_columns!(),
    " FROM checkout c WHERE c.grant_id = $1 AND c.n = $2"
));

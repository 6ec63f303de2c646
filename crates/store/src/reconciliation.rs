//! The SQL of reconciliation, which both backends run. `$1` is the sale, or NULL for all sales.
//!
//! The totals come from orders, grants, payments and refunds. Reversals are in a separate list. The
//! items' counters of paid and ended units are only compared with the totals.
use doorbuster_core::event::EventType;
use doorbuster_core::{ItemId, OrderState};

use crate::contract::{Difference, DifferenceKind, ItemTotals, MoneyTotals, Reconciliation};
use crate::limits::DIFFERENCES_MAX;
use crate::sql::{Statement, statement};

/// The items. The columns are id, sale, name, total, pool, in slots, held, paid, ended, price and
/// currency, then the counters `paid` and `ended`.
pub(crate) const ITEMS: &str = "
    SELECT i.id, i.sale_id, i.name, i.total, i.pool,
           CAST(coalesce((SELECT sum(g.granted - g.settled) FROM slot_grant g WHERE g.item_id = i.id
           AND g.open AND g.counted), 0) AS bigint),
           CAST(coalesce(o.held, 0) AS bigint), CAST(coalesce(o.paid, 0) AS bigint),
           CAST(coalesce(o.ended, 0) AS bigint),
           i.price_minor, i.currency, i.paid, i.ended
    FROM item i LEFT JOIN (
        SELECT item_id, sum(CASE state WHEN 'reserved' THEN units ELSE 0 END) AS held,
        sum(CASE state WHEN 'paid' THEN units ELSE 0 END) AS paid,
               sum(CASE state WHEN 'reserved' THEN 0 WHEN 'paid' THEN 0 ELSE units END) AS ended
        FROM orders GROUP BY item_id) o ON o.item_id = i.id
    WHERE CAST($1 AS text) IS NULL OR i.sale_id = $1
    ORDER BY i.id";

/// Selects the sum of an amount in two columns (see [`sum`]), because one column may be too small.
macro_rules! sum_of {
    ($amount:literal) => {
        concat!(
            "CAST(coalesce(sum(",
            $amount,
            " / 1000000000), 0) AS bigint), CAST(coalesce(sum(",
            $amount,
            " % 1000000000), 0) AS bigint)"
        )
    };
}
const SUM_BASE: i128 = 1_000_000_000;

/// Computes the whole sum from the two columns of `sum_of`: the high parts and the low parts.
pub(crate) fn sum(above: i64, below: i64) -> i128 {
    i128::from(above) * SUM_BASE + i128::from(below)
}

/// The two sum columns of a payment's refunds in this state.
macro_rules! refunds_of {
    ($state:literal) => {
        concat!(
            "CAST(sum(CASE state WHEN '",
            $state,
            "' THEN amount_minor ELSE 0 END / 1000000000) AS bigint) AS ",
            $state,
            "_above, ",
            "CAST(sum(CASE state WHEN '",
            $state,
            "' THEN amount_minor ELSE 0 END % 1000000000) AS bigint) AS ",
            $state,
            "_below"
        )
    };
}
macro_rules! refunded {
    ($state:literal) => {
        concat!(
            "CAST(coalesce(sum(r.",
            $state,
            "_above), 0) AS bigint), CAST(coalesce(sum(r.",
            $state,
            "_below), 0) AS bigint)"
        )
    };
}

/// The money. The columns are the item (NULL if there is no order), the currency, and five sums.
/// The sums are: payments ever captured, payments still captured, settled refunds, pending refunds,
/// and failed refunds. Each sum has two columns (see [`sum`]).
pub(crate) const MONEY: &str = concat!(
    "SELECT o.item_id, p.currency, ",
    sum_of!("p.amount_minor"),
    ", ",
    sum_of!("CASE p.state WHEN 'captured' THEN p.amount_minor ELSE 0 END"),
    ", ",
    refunded!("settled"),
    ", ",
    refunded!("pending"),
    ", ",
    refunded!("failed"),
    " FROM payment p
         LEFT JOIN orders o ON o.grant_id = p.grant_id AND o.n = p.n
         LEFT JOIN item i ON i.id = o.item_id
         LEFT JOIN (SELECT payment_id, ",
    refunds_of!("settled"),
    ", ",
    refunds_of!("pending"),
    ", ",
    refunds_of!("failed"),
    " FROM refund GROUP BY payment_id) r ON r.payment_id = p.id
    WHERE p.state <> 'failed' AND (CAST($1 AS text) IS NULL OR i.sale_id = $1)
    GROUP BY o.item_id, p.currency
    ORDER BY o.item_id, p.currency"
);

/// A payment with its order and item, under the aliases that all queries use.
macro_rules! payments {
    () => {
        "payment p LEFT JOIN orders o ON o.grant_id = p.grant_id AND o.n = p.n LEFT JOIN item i ON \
         i.id = o.item_id"
    };
}
macro_rules! its_payment {
    () => {
        "payment p ON p.id = r.payment_id LEFT JOIN orders o ON o.grant_id = p.grant_id AND o.n = \
         p.n LEFT JOIN item i ON i.id = o.item_id"
    };
}
macro_rules! of_sale {
    () => {
        " AND (CAST($1 AS text) IS NULL OR i.sale_id = $1)"
    };
}

/// Each kind of difference, with the query that finds the differences of this kind. Each query
/// returns at most `$3` rows after position `$2`. The columns are item, order, payment, detail and
/// position.
const DIFFERENCES: &[(DifferenceKind, &str)] = &[
    (
        DifferenceKind::CapturedWithoutPaidOrder,
        concat!(
            "SELECT o.item_id, p.order_id, p.id, p.amount_minor || ' ' || p.currency || ' \
             captured, the order is ' || coalesce(o.state, 'missing'), p.seq FROM ",
            payments!(),
            " WHERE p.state = 'captured' AND coalesce(o.state, '') <> 'paid'",
            of_sale!(),
            " AND p.seq > $2 ORDER BY p.seq LIMIT $3"
        ),
    ),
    (
        DifferenceKind::PaidWithoutPayment,
        concat!(
            "SELECT o.item_id, o.id, CAST(NULL AS text),
             'paid, ' || (o.units * i.price_minor) || ' ' || i.currency ||
             ', but without a captured payment', o.seq
             FROM orders o JOIN item i ON i.id = o.item_id
             WHERE o.state = 'paid' AND NOT EXISTS (SELECT 1 FROM payment p
             WHERE p.grant_id = o.grant_id AND p.n = o.n AND p.state = 'captured')",
            of_sale!(),
            " AND o.seq > $2 ORDER BY o.seq LIMIT $3"
        ),
    ),
    (
        DifferenceKind::WrongAmount,
        concat!(
            "SELECT o.item_id, p.order_id, p.id,
                    p.amount_minor || ' ' || p.currency || ' captured, the order costs ' ||
                    (o.units * i.price_minor) || ' ' || i.currency, p.seq FROM ",
            payments!(),
            " WHERE p.state = 'captured' AND o.id IS NOT NULL AND (p.amount_minor <> o.units * \
             i.price_minor OR p.currency <> i.currency)",
            of_sale!(),
            " AND p.seq > $2 ORDER BY p.seq LIMIT $3"
        ),
    ),
    (
        DifferenceKind::PaidTwice,
        concat!(
            "SELECT max(o.item_id), p.order_id, max(p.id), count(*) || ' captured payments, of \
             ' || sum(p.amount_minor) || ' in minor units', min(p.seq) FROM ",
            payments!(),
            " WHERE p.state = 'captured'",
            of_sale!(),
            " GROUP BY p.order_id HAVING count(*) > 1 AND min(p.seq) > $2 ORDER BY min(p.seq) \
             LIMIT $3"
        ),
    ),
    (
        DifferenceKind::RefundMissing,
        concat!(
            "SELECT o.item_id, p.order_id, p.id, p.amount_minor || ' ' || p.currency || ' is \
             refunded, but the refund is missing', p.seq FROM ",
            payments!(),
            " WHERE p.state = 'refunded' AND NOT EXISTS (SELECT 1 FROM refund r WHERE r.payment_id \
             = p.id)",
            of_sale!(),
            " AND p.seq > $2 ORDER BY p.seq LIMIT $3"
        ),
    ),
    (
        DifferenceKind::RefundUnfounded,
        concat!(
            "SELECT o.item_id, r.order_id, r.payment_id,
                    'refund ' || r.id || ' of ' || r.amount_minor || ' ' || r.currency ||
                    ', the payment is ' || coalesce(p.state, 'missing'), r.seq
             FROM refund r LEFT JOIN ",
            its_payment!(),
            " WHERE coalesce(p.state, '') <> 'refunded'",
            of_sale!(),
            " AND r.seq > $2 ORDER BY r.seq LIMIT $3"
        ),
    ),
    (
        DifferenceKind::RefundAmount,
        concat!(
            "SELECT o.item_id, p.order_id, p.id,
                    p.amount_minor || ' ' || p.currency || ' captured, ' || r.amount_minor || ' ' ||
                    r.currency || ' refunded', r.seq FROM refund r JOIN ",
            its_payment!(),
            " WHERE (p.amount_minor <> r.amount_minor OR p.currency <> r.currency)",
            of_sale!(),
            " AND r.seq > $2 ORDER BY r.seq LIMIT $3"
        ),
    ),
    (
        DifferenceKind::RefundedTwice,
        concat!(
            "SELECT max(o.item_id), max(p.order_id), p.id, count(*) || ' refunds, of ' || \
             sum(r.amount_minor) || ' in minor units', min(r.seq) FROM refund r JOIN ",
            its_payment!(),
            " WHERE 1 = 1",
            of_sale!(),
            " GROUP BY p.id HAVING count(*) > 1 AND min(r.seq) > $2 ORDER BY min(r.seq) LIMIT $3"
        ),
    ),
    (
        DifferenceKind::RefundFailed,
        concat!(
            "SELECT o.item_id, p.order_id, p.id,
                    'refund ' || r.id || ' of ' || r.amount_minor || ' ' || r.currency ||
                    ' was refused permanently: ' || coalesce(r.error, 'no reason given'), r.seq
             FROM refund r JOIN ",
            its_payment!(),
            " WHERE r.state = 'failed' AND r.discarded IS NULL",
            of_sale!(),
            " AND r.seq > $2 ORDER BY r.seq LIMIT $3"
        ),
    ),
    (
        // If a disputed payment also has a settled refund, the buyer got the money back twice,
        // which is a difference. Without a settled refund, the buyer got it back once, which is
        // correct.
        DifferenceKind::Reversed,
        concat!(
            "SELECT o.item_id, p.order_id, p.id,
                    r.amount_minor || ' ' || r.currency || ' of ' || p.amount_minor || ' ' ||
                    p.currency || ' is ' || r.kind || ', the payment is ' || p.state, p.seq
             FROM went_back r JOIN ",
            its_payment!(),
            " WHERE r.stands AND (p.state = 'captured' OR r.kind = 'disputed' AND EXISTS (SELECT 1 \
             FROM refund f WHERE f.payment_id = p.id AND f.state = 'settled'))",
            of_sale!(),
            " AND p.seq > $2 ORDER BY p.seq, r.kind LIMIT $3"
        ),
    ),
];

/// The stock with which each item started. The columns are item, initial total (NULL if unlimited)
/// and time. `$1` is the sale, or NULL.
pub(crate) const OPENING_STOCKS: Statement = statement(
    "
    SELECT i.id, i.initial_total, s.created_at FROM item i JOIN sale s ON s.id = i.sale_id
    WHERE CAST($1 AS text) IS NULL OR i.sale_id = $1 ORDER BY i.id",
);

/// The adjustments: at most `$3` rows after `$2`. The columns are seq, item, units, reason and at.
/// `$1` is the sale, or NULL.
pub(crate) const STOCK_ADJUSTMENTS: Statement = statement(
    "
    SELECT a.seq, a.item_id, a.units, a.reason, a.at FROM adjustment a JOIN item i
    ON i.id = a.item_id
    WHERE (CAST($1 AS text) IS NULL OR i.sale_id = $1) AND a.seq > $2 ORDER BY a.seq LIMIT $3",
);

/// The events that changed an order's state, each with the type of the previous change.
macro_rules! moved {
    ($place:literal) => {
        concat!(
            "SELECT e.",
            $place,
            ", o.id, o.item_id, o.units, e.type, e.at, e.actor, e.why,
                (SELECT b.type FROM event b
                 WHERE b.grant_id = e.grant_id AND b.n = e.n AND b.seq < e.seq
                 AND b.type LIKE 'order.%' AND b.type <> 'order.extended'
                 ORDER BY b.seq DESC LIMIT 1)
             FROM event e JOIN orders o ON o.grant_id = e.grant_id AND o.n = e.n JOIN item i
             ON i.id = o.item_id
             WHERE e.grant_id IS NOT NULL AND e.type LIKE 'order.%' AND e.type <> 'order.extended'
                   AND (CAST($1 AS text) IS NULL OR i.sale_id = $1) AND e.",
            $place,
            " > $2 ORDER BY e.",
            $place,
            " LIMIT $3"
        )
    };
}

/// The changes of orders, in the sequence of their commits. In PostgreSQL several transactions
/// commit at once, so only `position` follows this sequence. The columns are position, order, item,
/// units, type, at, actor, why and previous type.
pub(crate) const TRANSITIONS: Statement =
    Statement { sqlite: moved!("seq"), postgres: moved!("position") };

pub(crate) fn state_after(word: &str) -> Option<OrderState> {
    OrderState::ALL
        .iter()
        .copied()
        .find(|state| EventType::from_order_state(*state).as_str() == word)
}

/// A row of [`ITEMS`]: the totals, and the counters that are compared with the totals.
pub(crate) struct ItemRow {
    pub(crate) books: ItemTotals,
    pub(crate) expected: (u64, u64),
}

/// Returns the kinds of differences to read, each with its query and the position after which the
/// query starts. `after` lists the kinds that have further pages. If `after` is `None`, returns all
/// kinds from their beginning.
pub(crate) fn kinds_to_read(
    after: Option<&[(DifferenceKind, i64)]>,
) -> Vec<(DifferenceKind, &'static str, i64)> {
    let place = |kind: DifferenceKind| match after {
        None => Some(0),
        Some(more) => more.iter().find(|(of, _)| *of == kind).map(|(_, place)| *place),
    };
    DIFFERENCES.iter().filter_map(|&(kind, sql)| Some((kind, sql, place(kind)?))).collect()
}

/// Cuts the differences of one kind to one page. The query reads one row more than a page has. If
/// the query found this additional row, also returns the position after which the next page begins.
pub(crate) fn cut_page(mut rows: Vec<(i64, Difference)>) -> (Vec<Difference>, Option<i64>) {
    let mut after = None;
    if let Some(&(beyond, _)) = rows.get(DIFFERENCES_MAX) {
        // All rows of one payment have the same position and must be on the same page. A payment
        // always has fewer rows than fit on a page.
        let whole = rows.partition_point(|(place, _)| *place < beyond);
        rows.truncate(if whole > 0 { whole } else { DIFFERENCES_MAX });
        after = rows.last().map(|(place, _)| *place);
    }
    (rows.into_iter().map(|(_, difference)| difference).collect(), after)
}

/// Assembles one page of a report. If a report has several pages, only the first page lists the
/// units that do not add up.
pub(crate) fn assemble(
    rows: Vec<ItemRow>,
    money: Vec<(Option<ItemId>, MoneyTotals)>,
    found: Vec<Difference>,
    more: Vec<(DifferenceKind, i64)>,
    is_first: bool,
) -> Reconciliation {
    let mut books = Reconciliation { more, ..Reconciliation::default() };
    for row in rows {
        if is_first {
            units(&row, &mut books.differences);
        }
        books.items.push(row.books);
    }
    books.differences.extend(found);
    for (item, sums) in money {
        let of = books.items.iter_mut().find(|books| Some(books.item) == item);
        match of {
            Some(item) => item.money.push(sums),
            None => books.unattributed.push(sums),
        }
    }
    books
}

/// Checks that an item's units add up to its total, and that its counters are right.
fn units(row: &ItemRow, found: &mut Vec<Difference>) {
    let ItemTotals { item, pool, in_slots, held, paid, ended, .. } = &row.books;
    let mut differ = |detail| {
        found.push(Difference {
            kind: DifferenceKind::Units,
            item: Some(*item),
            order: None,
            payment: None,
            detail,
        });
    };
    if let doorbuster_core::Stock::Counted(total) = row.books.total {
        let sum = pool + in_slots + held + paid;
        if sum != total {
            differ(format!(
                "total {total}, but pool {pool} + in slots {in_slots} + held {held} + paid {paid} \
                 make {sum}"
            ));
        }
    }
    if row.expected != (*paid, *ended) {
        differ(format!(
            "the item's counters say {} units paid and {} ended, but its orders add up to {paid} \
             and {ended}",
            row.expected.0, row.expected.1
        ));
    }
}

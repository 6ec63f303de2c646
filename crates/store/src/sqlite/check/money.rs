//! Checks I5: each captured payment pays for one paid order, each refunded payment has one refund,
//! and the amounts agree.
use rusqlite::params;

use doorbuster_core::money::{Money, PaymentId, PaymentState, RefundCause};
use doorbuster_core::{ItemId, Millis, OrderState};

use crate::contract::RefundNotice;
use crate::failure::Done;
use crate::limits::{CHECK_PAUSE, CHECK_ROWS_BETWEEN_PAUSES, FINDINGS_MAX, NOTICES_MAX};
use crate::rows::money::notices;
use crate::sql::{Row, as_limit};

use super::super::read::Reader;
use super::CheckRun;

struct PaymentRow {
    payment: String,
    state: PaymentState,
    money: Money,
    /// The state, the item and the price of the payment's order. `None` if the order does not
    /// exist.
    order: Option<(OrderState, ItemId, Option<Money>)>,
    refund: Option<Money>,
}

const PAYMENTS: &str =
    "SELECT p.id, p.state, p.amount_minor, p.currency, o.state, o.item_id, o.units, i.price_minor,
     i.currency,
                           r.amount_minor, r.currency
                    FROM payment p LEFT JOIN orders o ON o.grant_id = p.grant_id AND o.n = p.n
                    AND o.id = p.order_id
                                   LEFT JOIN item i ON i.id = o.item_id
                                   LEFT JOIN refund r ON r.payment_id = p.id
                    ORDER BY p.seq";

fn money(row: Row<'_>, at: usize) -> Done<Option<Money>> {
    let (minor, currency): (Option<i64>, Option<String>) = (row.get(at)?, row.get(at + 1)?);
    Ok(minor.zip(currency).map(|(minor, currency)| Money { minor, currency }))
}

fn seen(row: Row<'_>) -> Done<PaymentRow> {
    let order = match row.get::<Option<i64>>(5)? {
        None => None,
        Some(item) => {
            let units: i64 = row.get(6)?;
            let price = money(row, 7)?
                .and_then(|each| Some(Money { minor: each.minor.checked_mul(units)?, ..each }));
            Some((row.parse(4, "state", OrderState::parse)?, ItemId(item), price))
        }
    };
    Ok(PaymentRow {
        payment: row.get(0)?,
        state: row.parse(1, "state", PaymentState::parse)?,
        money: Money { minor: row.get(2)?, currency: row.get(3)? },
        order,
        refund: money(row, 9)?,
    })
}

pub(super) fn check(sql: &mut Reader<'_>, run: &mut CheckRun) -> Done<()> {
    let conn = sql.conn();
    let mut payments = conn.prepare_cached(PAYMENTS)?;
    for (n, payment) in payments.query_and_then([], |row| seen(row.into()))?.enumerate() {
        if n % CHECK_ROWS_BETWEEN_PAUSES == CHECK_ROWS_BETWEEN_PAUSES - 1 {
            std::thread::sleep(CHECK_PAUSE);
        }
        check_payment(&payment?, run);
    }
    let unpaid: Vec<ItemId> =
        run.items.iter().filter(|(_, s)| s.paid_orders != s.payments).map(|(id, _)| *id).collect();
    unpaid.into_iter().try_for_each(|item| paid_without_payment(sql, run, item))
}

fn check_payment(seen: &PaymentRow, run: &mut CheckRun) {
    let PaymentRow { payment, state, money, order, refund } = seen;
    let item = order.as_ref().map(|order| order.1);
    let amount = |money: &Money| format!("{} {}", money.minor, money.currency);
    match state {
        PaymentState::Captured => match order {
            Some((OrderState::Paid, item, price)) => {
                run.items.entry(*item).or_default().payments += 1;
                if price.as_ref() != Some(money) {
                    let price = price.as_ref().map_or("nothing".to_owned(), amount);
                    run.report(
                        "I5",
                        Some(*item),
                        format!(
                            "payment {payment} is {}, but its order costs {price}",
                            amount(money)
                        ),
                    );
                }
            }
            Some((state, ..)) => {
                run.report(
                    "I5",
                    item,
                    format!("payment {payment} is captured, but its order is {}", state.as_str()),
                );
            }
            None => {
                let detail = format!("payment {payment} is captured, but its order is missing");
                run.report("I5", None, detail);
            }
        },
        PaymentState::Refunded => match refund {
            Some(back) if back == money => {}
            Some(back) => {
                let detail = format!(
                    "payment {payment} is {}, but its refund is {}",
                    amount(money),
                    amount(back)
                );
                run.report("I5", item, detail);
            }
            None => {
                let detail = format!("payment {payment} is refunded, but its refund is missing");
                run.report("I5", item, detail);
            }
        },
        PaymentState::Failed => {}
    }
    if *state != PaymentState::Refunded && refund.is_some() {
        run.report(
            "I5",
            item,
            format!("payment {payment} is {}, but has a refund", state.as_str()),
        );
    }
}

/// Finds an item's orders that are paid because of a provider's message, but have no captured
/// payment.
fn paid_without_payment(sql: &mut Reader<'_>, run: &mut CheckRun, item: ItemId) -> Done<()> {
    let orders = sql.all(
        "SELECT id FROM orders o
         WHERE item_id = ?1 AND state = 'paid'
           AND NOT EXISTS (SELECT 1 FROM payment p WHERE p.grant_id = o.grant_id AND p.n = o.n
           AND p.state = 'captured')
           AND EXISTS (SELECT 1 FROM event e WHERE e.grant_id = o.grant_id AND e.n = o.n
           AND e.type = 'order.paid'
                                                 AND e.actor LIKE 'provider:%')
         LIMIT ?2",
        params![item.0, as_limit(FINDINGS_MAX)],
        |row| row.get::<String>(0),
    )?;
    for order in orders {
        run.report("I5", Some(item), format!("order {order} is paid, but has no captured payment"));
    }
    Ok(())
}

pub(super) fn notices(sql: &mut Reader<'_>) -> Done<Vec<RefundNotice>> {
    sql.all(
        concat!(
            "SELECT r.cause, o.item_id, r.payment_id, r.order_id, r.amount_minor, r.currency, r.at
             FROM refund r JOIN payment p ON p.id = r.payment_id LEFT JOIN orders o
             ON o.grant_id = p.grant_id AND o.n = p.n
             WHERE ",
            notices!(),
            " ORDER BY r.seq DESC LIMIT ?1"
        ),
        params![as_limit(NOTICES_MAX)],
        |row| {
            Ok(RefundNotice {
                what: row.parse(0, "cause", RefundCause::parse)?,
                item: row.get::<Option<i64>>(1)?.map(ItemId),
                payment: PaymentId(row.get(2)?),
                order: row.get(3)?,
                money: Money { minor: row.get(4)?, currency: row.get(5)? },
                at: Millis(row.get(6)?),
            })
        },
    )
}

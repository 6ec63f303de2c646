//! Orders, payments and refunds as text.

use comfy_table::Cell;
use doorbuster_api::admin::order::{AnyOrderDetail, OrderDetail};
use doorbuster_api::admin::payments::{PaymentList, RefundList};
use doorbuster_api::order::{Order, OrderList};

use crate::table;

/// Returns a page of orders as text.
pub fn list(list: &OrderList) -> String {
    let header = ["order", "sale", "item", "buyer", "units", "amount", "state", "reserved"];
    let rows = list.orders.iter().map(|order| {
        [
            Cell::new(&order.id),
            Cell::new(&order.sale),
            Cell::new(&order.item),
            Cell::new(&order.buyer),
            table::number(table::grouped(order.units.into())),
            table::number(table::money(&order.amount)),
            Cell::new(order.state.as_str()),
            Cell::new(order.reserved_at),
        ]
    });
    table::list("No orders found.\n", &header, rows, list.next_cursor.as_deref())
}

/// Returns a page of payments as text.
pub fn payments(list: &PaymentList) -> String {
    let header = ["payment", "order", "amount", "state", "provider", "at"];
    let rows = list.payments.iter().map(|payment| {
        [
            Cell::new(&payment.payment),
            Cell::new(&payment.order),
            table::number(table::money(&payment.amount)),
            Cell::new(payment.state.as_str()),
            Cell::new(&payment.provider),
            Cell::new(payment.at),
        ]
    });
    table::list("No payments found.\n", &header, rows, list.next_cursor.as_deref())
}

/// Returns a page of refunds as text.
pub fn refunds(list: &RefundList) -> String {
    let header = ["refund", "payment", "order", "amount", "state", "because", "at", "error"];
    let rows = list.refunds.iter().map(|refund| {
        [
            Cell::new(&refund.refund),
            Cell::new(&refund.payment),
            Cell::new(&refund.order),
            table::number(table::money(&refund.amount)),
            Cell::new(refund.state.as_str()),
            Cell::new(refund.cause.as_str()),
            Cell::new(refund.at),
            Cell::new(refund.error.as_deref().unwrap_or_default()),
        ]
    });
    table::list("No refunds found.\n", &header, rows, list.next_cursor.as_deref())
}

/// Returns the details of an order, a queued ticket, a refused ticket or a waitlist entry as text.
pub fn order_detail(order: &AnyOrderDetail) -> String {
    match order {
        AnyOrderDetail::Order(detail) => order_and_history(detail),
        AnyOrderDetail::Queued(queued) => format!(
            "{}, for {} of {}, requested by {}, is queued and will be decided before {}.\n",
            queued.id,
            table::units(queued.units.into()),
            queued.item,
            queued.buyer,
            queued.decide_by
        ),
        AnyOrderDetail::Refused(refused) => format!(
            "{}, for {} of {}, was refused ({}).\n",
            refused.id,
            table::units(refused.units.into()),
            refused.item,
            refused.code.as_str()
        ),
        AnyOrderDetail::Waiting(entry) => format!(
            "{}, for {} of {} in {}, has been on the waitlist since {}: {} entries before it.\n",
            entry.id,
            table::units(entry.units.into()),
            entry.item,
            entry.sale,
            entry.joined_at,
            table::grouped(entry.ahead)
        ),
    }
}

fn order_and_history(detail: &OrderDetail) -> String {
    let Order { id, sale, item, buyer, amount, state, pay_by, .. } = &detail.order;
    let mut rows = table::report();
    for (name, text) in [
        ("order", id.clone()),
        ("state", state.as_str().into()),
        ("buyer", buyer.clone()),
        ("item", format!("{} of {item} in {sale}", table::units(detail.order.units.into()))),
        ("amount", table::money(amount)),
        ("pay by", pay_by.to_string()),
    ] {
        rows.add_row([name, &text]);
    }
    for entry in &detail.history {
        let why = entry.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
        rows.add_row([entry.event.as_str(), &format!("{} by {}{why}", entry.at, entry.by)]);
    }
    for payment in &detail.payments {
        let text = format!(
            "{} {}, {}",
            payment.payment,
            table::money(&payment.amount),
            payment.state.as_str()
        );
        rows.add_row(["payment", &text]);
    }
    format!("{rows}\n")
}

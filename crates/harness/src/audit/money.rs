//! Checks money (rule I5). Each captured payment pays for exactly one order, and its amount is the
//! order's price. Each refunded payment has exactly one refund, of the same amount.

use std::collections::HashMap;

use super::findings::Findings;
use super::limits::MONEY_NOTICES_MAX;
use super::snapshot::{Order, Payment, Refund, Reversal, Snapshot};

pub(super) fn check(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let mut refunds: HashMap<&str, Vec<&Refund>> = HashMap::new();
    for refund in &snapshot.refunds {
        refunds.entry(&*refund.payment).or_default().push(refund);
    }
    // Maps an order (its grant and its number) to the captured payment that pays for the order.
    let mut paying: HashMap<(i64, i64), &Payment> = HashMap::new();
    let mut known: HashMap<&str, &Payment> = HashMap::with_capacity(snapshot.payments.len());
    for payment in &snapshot.payments {
        if known.insert(&*payment.id, payment).is_some() {
            findings.add_store_finding("I5", format!("payment {} is recorded twice", payment.id));
        }
        let own = refunds.get(&*payment.id).map_or(&[][..], Vec::as_slice);
        check_payment(snapshot, payment, own, findings);
        if payment.state == "captured"
            && let Some(order) = payment.order
            && let Some(other) = paying.insert(order, payment)
        {
            let detail = format!(
                "payments {} and {} both pay for order {}",
                other.id, payment.id, payment.order_text
            );
            findings.add_store_finding("I5", detail);
        }
    }
    for refund in snapshot.refunds.iter().filter(|refund| !known.contains_key(&*refund.payment)) {
        findings.add_store_finding(
            "I5",
            format!("refund {} names payment {}, which does not exist", refund.id, refund.payment),
        );
    }
    check_paid_orders(snapshot, &paying, findings);
    check_reversals(snapshot, &known, findings);
    add_notices(snapshot, findings);
}

fn check_payment(
    snapshot: &Snapshot,
    payment: &Payment,
    refunds: &[&Refund],
    findings: &mut Findings<'_>,
) {
    let Payment { id, state, order_text, .. } = payment;
    let order = payment.order.and_then(|at| snapshot.order_by_number(at));
    let mut find = |detail: String| match order {
        Some(order) => findings.add_item_finding("I5", order.item, detail),
        None => findings.add_store_finding("I5", detail),
    };
    if payment.order.is_some() && order.is_none_or(|order| order.id != *order_text) {
        find(format!("payment {id} names order {order_text}, but is stored with another order"));
    }
    match &**state {
        "captured" => {
            match order {
                None => {
                    find(format!("payment {id} pays for order {order_text}, which does not exist"))
                }
                Some(Order { state, .. }) if state != "paid" => {
                    find(format!(
                        "payment {id} is captured, but order {order_text} is {state:?}, not paid"
                    ));
                }
                Some(order)
                    if snapshot.price(order)
                        != Some((payment.amount_minor, &*payment.currency)) =>
                {
                    let price = snapshot
                        .price(order)
                        .map_or("an unknown amount".to_owned(), |(amount_minor, of)| {
                            format!("{amount_minor} {of}")
                        });
                    let Payment { amount_minor, currency, .. } = payment;
                    find(format!(
                        "payment {id} is {amount_minor} {currency}, but order {order_text} costs \
                         {price}"
                    ));
                }
                Some(_) => {}
            }
            if !refunds.is_empty() {
                find(format!("payment {id} pays for an order, but has a refund"));
            }
        }
        "refunded" => match refunds {
            [refund] => check_refund(snapshot, payment, refund, order, &mut find),
            [] => find(format!("payment {id} has the state refunded, but no refund")),
            _ => find(format!("payment {id} has {} refunds", refunds.len())),
        },
        "failed" if !refunds.is_empty() => find(format!("payment {id} failed, but has a refund")),
        "failed" => {}
        _ => find(format!("payment {id} has the invalid state {state:?}")),
    }
}

fn check_refund(
    snapshot: &Snapshot,
    payment: &Payment,
    refund: &Refund,
    order: Option<&Order>,
    find: &mut impl FnMut(String),
) {
    let Payment { id, amount_minor, currency, .. } = payment;
    if (refund.amount_minor, &refund.currency, &refund.provider)
        != (*amount_minor, currency, &payment.provider)
    {
        let (back, of, by) = (refund.amount_minor, &refund.currency, &refund.provider);
        find(format!(
            "payment {id} is {amount_minor} {currency} at {}, but its refund is {back} {of} at \
             {by}",
            payment.provider
        ));
    }
    let price = order.and_then(|order| snapshot.price(order));
    let is_price = price == Some((*amount_minor, &**currency));
    let fits = match &*refund.cause {
        "unknown_order" => order.is_none(),
        "mismatch" => order.is_some() && !is_price,
        "operator" => order.is_some_and(|order| order.state == "refunded"),
        "second" | "late" => order.is_some() && is_price,
        _ => false,
    };
    if !fits {
        let state = order.map_or("missing", |order| &order.state);
        let cause = &refund.cause;
        find(format!(
            "payment {id} of {amount_minor} {currency} is refunded with cause {cause:?}, which \
             does not fit its order ({state})"
        ));
    }
    if !matches!(&*refund.state, "pending" | "settled" | "failed") {
        find(format!("refund {} has the invalid state {:?}", refund.id, refund.state));
    }
}

/// Checks that an order has a captured payment if a payment provider made the order paid. An order
/// that an operator made paid needs no payment.
fn check_paid_orders(
    snapshot: &Snapshot,
    paying: &HashMap<(i64, i64), &Payment>,
    findings: &mut Findings<'_>,
) {
    for order in snapshot.orders.iter().filter(|order| order.state == "paid") {
        let at = (order.grant, order.n);
        let by_provider = snapshot
            .history(at)
            .any(|event| event.kind == "order.paid" && event.actor.starts_with("provider:"));
        if by_provider && !paying.contains_key(&at) {
            findings.add_item_finding(
                "I5",
                order.item,
                format!("order {} is paid, but no payment pays for it", order.id),
            );
        }
    }
}

/// Adds a notice for each dispute, and for each refund in the provider's console whose payment is
/// still `captured`. Such a payment still pays for an order.
fn check_reversals(
    snapshot: &Snapshot,
    known: &HashMap<&str, &Payment>,
    findings: &mut Findings<'_>,
) {
    let open = snapshot.reversals.iter().filter_map(|it| Some((it, *known.get(&*it.payment)?)));
    let open = open.filter(|(it, payment)| it.kind == "disputed" || payment.state == "captured");
    for (Reversal { payment, kind, amount_minor, currency }, of) in open.take(MONEY_NOTICES_MAX) {
        let problem = match &**kind {
            "disputed" => "is disputed by the buyer's bank",
            _ => "was refunded in the provider's console",
        };
        let detail = format!(
            "payment {payment}: {amount_minor} {currency} in minor units {problem}; its order is \
             unchanged"
        );
        findings.add_notice(kind, Some(&of.order_text), detail);
    }
}

/// Adds a notice for each refund of a payment with a wrong amount, of a second payment, and of a
/// payment for an unknown order. Also adds one for each failed refund that no operator has
/// discarded. The newest refund comes first.
fn add_notices(snapshot: &Snapshot, findings: &mut Findings<'_>) {
    let is_shown = |refund: &&Refund| {
        matches!(&*refund.cause, "mismatch" | "second" | "unknown_order")
            || refund.state == "failed" && !refund.is_discarded
    };
    for refund in snapshot.refunds.iter().rev().filter(is_shown).take(MONEY_NOTICES_MAX) {
        let (kind, problem) = match &*refund.cause {
            "mismatch" => ("mismatch", "differs from the price of its order"),
            "second" => ("second", "is a second payment for a paid order"),
            "unknown_order" => ("unknown_order", "named an unknown order"),
            _ => ("refund_failed", "did not go back to the buyer"),
        };
        let Refund { payment, amount_minor, currency, state, .. } = refund;
        let detail = format!(
            "payment {payment}: {amount_minor} {currency} in minor units {problem}; its refund is \
             {state}"
        );
        findings.add_notice(kind, Some(&refund.order_text), detail);
    }
}

//! Money (I5): each captured payment is exactly one paid order or exactly one refund, of the same amount.

use std::collections::HashMap;

use super::findings::Findings;
use super::limits::MONEY_NOTICES_MAX;
use super::rows::{Order, Payment, Refund, Reversal, Truth};

/// Checks every payment against its order and its refund, every refund against its payment, every paid order against its payment.
pub(super) fn check(truth: &Truth, findings: &mut Findings<'_>) {
    let mut refunds: HashMap<&str, Vec<&Refund>> = HashMap::new();
    for refund in &truth.refunds {
        refunds.entry(&*refund.payment).or_default().push(refund);
    }
    // Payments that stand, by the order's grant and number.
    let mut stands: HashMap<(i64, i64), &Payment> = HashMap::new();
    let mut known: HashMap<&str, &Payment> = HashMap::with_capacity(truth.payments.len());
    for payment in &truth.payments {
        if known.insert(&*payment.id, payment).is_some() {
            findings.store("I5", format!("payment {} was taken twice", payment.id));
        }
        let its = refunds.get(&*payment.id).map_or(&[][..], |its| its);
        one(truth, payment, its, findings);
        if payment.state == "captured"
            && let Some(order) = payment.order
            && let Some(other) = stands.insert(order, payment)
        {
            let detail = format!(
                "payments {} and {} both stand for order {}",
                other.id, payment.id, payment.named
            );
            findings.store("I5", detail);
        }
    }
    for refund in truth.refunds.iter().filter(|refund| !known.contains_key(&*refund.payment)) {
        findings.store(
            "I5",
            format!("refund {} is of payment {}, which is not there", refund.id, refund.payment),
        );
    }
    paid_orders(truth, &stands, findings);
    reversals(truth, &known, findings);
    notices(truth, findings);
}

fn one(truth: &Truth, payment: &Payment, refunds: &[&Refund], findings: &mut Findings<'_>) {
    let Payment { id, state, named, .. } = payment;
    let order = payment.order.and_then(|at| truth.order_at(at));
    let mut find = |detail: String| match order {
        Some(order) => findings.item("I5", order.item, detail),
        None => findings.store("I5", detail),
    };
    if payment.order.is_some() && order.is_none_or(|order| order.id != *named) {
        find(format!("payment {id} names order {named}, and stands beside another one"));
    }
    match &**state {
        "captured" => {
            match order {
                None => find(format!("payment {id} stands for order {named}, which is not there")),
                Some(Order { state, .. }) if state != "paid" => {
                    find(format!("payment {id} stands for order {named}, which is {state:?}"));
                }
                Some(order) if truth.price(order) != Some((payment.minor, &*payment.currency)) => {
                    let price = truth
                        .price(order)
                        .map_or("nothing".to_owned(), |(minor, of)| format!("{minor} {of}"));
                    let Payment { minor, currency, .. } = payment;
                    find(format!(
                        "payment {id} is {minor} {currency}, order {named} costs {price}"
                    ));
                }
                Some(_) => {}
            }
            if !refunds.is_empty() {
                find(format!("payment {id} stands, and goes back"));
            }
        }
        "refunded" => match refunds {
            [refund] => goes_back(truth, payment, refund, order, &mut find),
            [] => find(format!("payment {id} goes back, and has no refund")),
            _ => find(format!("payment {id} has {} refunds", refunds.len())),
        },
        "failed" if !refunds.is_empty() => find(format!("payment {id} failed, and goes back")),
        "failed" => {}
        _ => find(format!("payment {id} is {state:?}")),
    }
}

/// A payment that goes back, by its one refund.
fn goes_back(
    truth: &Truth,
    payment: &Payment,
    refund: &Refund,
    order: Option<&Order>,
    find: &mut impl FnMut(String),
) {
    let Payment { id, minor, currency, .. } = payment;
    if (refund.minor, &refund.currency, &refund.provider) != (*minor, currency, &payment.provider) {
        let (back, of, by) = (refund.minor, &refund.currency, &refund.provider);
        find(format!(
            "payment {id} of {minor} {currency} by {} goes back as {back} {of} by {by}",
            payment.provider
        ));
    }
    let price = order.and_then(|order| truth.price(order));
    let is_price = price == Some((*minor, &**currency));
    let fits = match &*refund.cause {
        "unknown_order" => order.is_none(),
        "mismatch" => order.is_some() && !is_price,
        "operator" => order.is_some_and(|order| order.state == "refunded"),
        "second" | "late" => order.is_some() && is_price,
        _ => false,
    };
    if !fits {
        let state = order.map_or("not there", |order| &order.state);
        let cause = &refund.cause;
        find(format!(
            "payment {id} of {minor} {currency} goes back as {cause:?}; its order is {state}"
        ));
    }
    if !matches!(&*refund.state, "pending" | "settled" | "failed") {
        find(format!("refund {} is {:?}", refund.id, refund.state));
    }
}

/// An order that a provider's message paid has its payment.
fn paid_orders(truth: &Truth, stands: &HashMap<(i64, i64), &Payment>, findings: &mut Findings<'_>) {
    for order in truth.orders.iter().filter(|order| order.state == "paid") {
        let at = (order.grant, order.n);
        let by_provider = truth
            .history(at)
            .any(|event| event.kind == "order.paid" && event.actor.starts_with("provider:"));
        if by_provider && !stands.contains_key(&at) {
            findings.item(
                "I5",
                order.item,
                format!("order {} is paid, and no payment stands for it", order.id),
            );
        }
    }
}

/// Money that went back and nobody here asked for, newest first, while its payment stands for an order or is disputed.
fn reversals(truth: &Truth, known: &HashMap<&str, &Payment>, findings: &mut Findings<'_>) {
    let open = truth.reversals.iter().filter_map(|it| Some((it, *known.get(&*it.payment)?)));
    let open = open.filter(|(it, payment)| it.kind == "disputed" || payment.state == "captured");
    for (Reversal { payment, kind, minor, currency }, of) in open.take(MONEY_NOTICES_MAX) {
        let said = match &**kind {
            "disputed" => "is disputed by the buyer's bank",
            _ => "was given back at the provider's own console",
        };
        let detail = format!(
            "payment {payment}: {minor} {currency} in minor units {said}; its order is as it was"
        );
        findings.notice(kind, Some(&of.named), detail);
    }
}

/// What others did wrong, newest first.
fn notices(truth: &Truth, findings: &mut Findings<'_>) {
    let wrong =
        |refund: &&Refund| matches!(&*refund.cause, "mismatch" | "second" | "unknown_order");
    for refund in truth.refunds.iter().rev().filter(wrong).take(MONEY_NOTICES_MAX) {
        let said = match &*refund.cause {
            "mismatch" => "is not what its order costs",
            "second" => "came for an order that was paid before",
            _ => "named no order when it came",
        };
        let Refund { payment, minor, currency, state, .. } = refund;
        let detail = format!(
            "payment {payment}, {minor} {currency} in minor units, {said}; its refund is {state}"
        );
        findings.notice(&refund.cause, Some(&refund.named), detail);
    }
}

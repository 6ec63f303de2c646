//! Computes the progress of the server's refund from all refunds that Stripe lists for the payment.
//! A person may have made some of them at Stripe.

use doorbuster_core::money::{Refund, RefundUpdate};
use serde_json::Value;

use super::api::REFUND_RECHECK_MS;
use super::event;

fn is_for_refund(made: &Value, refund: &Refund) -> bool {
    made["metadata"]["refund"].as_str() == Some(&refund.id.0)
}

pub(super) fn is_whole(made: &Value, refund: &Refund) -> bool {
    made["amount"].as_i64() == Some(refund.money.minor)
}

pub(super) fn has_arrived(made: &Value) -> bool {
    made["status"].as_str() == Some("succeeded")
}

fn is_live(made: &Value) -> bool {
    !matches!(made["status"].as_str(), Some("failed" | "canceled"))
}

pub(super) fn live_refund_amount(all: &[Value]) -> i64 {
    sum_amounts(all, is_live)
}

fn sum_amounts(all: &[Value], counts: fn(&Value) -> bool) -> i64 {
    all.iter().filter(|made| counts(made)).filter_map(|made| made["amount"].as_i64()).sum()
}

/// Returns the progress of the server's `refund`. `all` contains all refunds of the payment that
/// Stripe lists. If a person has refunded a part of the payment at Stripe, the server refunds only
/// the rest. Returns `None` if no refund in `all` counts for `refund`.
pub(super) fn refund_progress(all: &[Value], refund: &Refund) -> Option<RefundUpdate> {
    let ours = || all.iter().filter(|made| is_for_refund(made, refund));
    if sum_amounts(all, has_arrived) >= refund.money.minor {
        return Some(RefundUpdate::Settled);
    }
    if live_refund_amount(all) >= refund.money.minor
        || ours().any(|made| is_live(made) && !has_arrived(made))
    {
        return Some(RefundUpdate::Accepted { again_ms: REFUND_RECHECK_MS });
    }
    if ours().any(has_arrived) {
        return Some(RefundUpdate::CameBack(
            "a partial refund made by hand did not arrive".to_owned(),
        ));
    }
    // If Stripe lists no refund that the server made, a person may have refunded the whole payment.
    let made = ours().next().or_else(|| all.iter().find(|made| is_whole(made, refund)));
    made.map(event::refund_update)
}

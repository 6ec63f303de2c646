//! The orders that this node confirmed recently. After a failover, the node compares these orders
//! with the database.
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use doorbuster_core::{Order, OrderState, TicketId};

use crate::limits::{ACKNOWLEDGED_KEPT, ACKNOWLEDGED_MAX};

/// A bounded list of confirmed orders. Each entry has the time at which it was added. The oldest
/// entry comes first.
#[derive(Default)]
pub(super) struct AcknowledgedOrders(Mutex<VecDeque<(Instant, TicketId, OrderState)>>);

impl AcknowledgedOrders {
    /// Adds orders in their current states. Removes the oldest entries beyond [`ACKNOWLEDGED_MAX`].
    pub(super) fn add(&self, orders: &[Order]) {
        if orders.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(orders.iter().map(|order| (now, order.id, order.state)));
        let too_many = kept.len().saturating_sub(ACKNOWLEDGED_MAX);
        kept.drain(..too_many);
        while kept.front().is_some_and(|(at, ..)| now.duration_since(*at) > ACKNOWLEDGED_KEPT) {
            kept.pop_front();
        }
    }

    /// Returns each order in its newest state, even if its entry is old: only [`Self::add`] removes
    /// old entries. During an outage, no order is added, so the node forgets no order.
    pub(super) fn recent(&self) -> HashMap<TicketId, OrderState> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut states = HashMap::with_capacity(kept.len());
        for &(_, id, state) in kept.iter() {
            // Usually, the states of an order are added in their sequence. But if the answer to the
            // COMMIT of a settlement was lost, `Reserved` may be added after a later state. So
            // `Reserved` never replaces another state.
            if state == OrderState::Reserved {
                states.entry(id).or_insert(state);
            } else {
                states.insert(id, state);
            }
        }
        states
    }

    /// Forgets orders that were reported as lost, so that the next failover does not report them
    /// again. An entry that was added after `compared_at` stays, because its order may have been
    /// committed again.
    pub(super) fn forget(&self, lost: &HashSet<TicketId>, compared_at: Instant) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(at, id, _)| *at > compared_at || !lost.contains(id));
    }
}

/// Returns whether the database lacks an acknowledged order, or has only an earlier state of the
/// order.
pub(super) fn is_lost(acknowledged: OrderState, found: Option<OrderState>) -> bool {
    use OrderState::{Cancelled, Expired, Paid, Refunded, Reserved};
    match (acknowledged, found) {
        (_, None) => true,
        (Reserved, Some(_)) => false,
        (_, Some(Reserved)) => true,
        // A paid order never expires and is never cancelled. Its only later state is `Refunded`.
        (Paid, Some(found)) => matches!(found, Expired | Cancelled),
        // A refunded order has no later state.
        (Refunded, Some(found)) => found != Refunded,
        (_, Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_state_that_is_added_later_does_not_replace_a_later_state() {
        use OrderState::{Paid, Refunded, Reserved};
        let text = format!("ord_{}", "A".repeat(52));
        let id = TicketId::parse(&text).expect("a valid id");
        for (added, newest) in [
            ([Reserved, Paid, Reserved], Paid),
            ([Paid, Reserved, Refunded], Refunded),
            ([Reserved, Reserved, Reserved], Reserved),
        ] {
            let kept = added.map(|state| (Instant::now(), id, state));
            let orders = AcknowledgedOrders(Mutex::new(kept.into()));
            assert_eq!(orders.recent(), HashMap::from([(id, newest)]));
        }
    }

    #[test]
    fn an_order_is_lost_if_it_is_missing_or_went_back() {
        use OrderState::{Cancelled, Expired, Paid, Refunded, Reserved};
        for (acknowledged, found, lost) in [
            (Reserved, None, true),
            (Paid, Some(Reserved), true),
            (Expired, Some(Reserved), true),
            (Reserved, Some(Reserved), false),
            (Reserved, Some(Paid), false),
            (Paid, Some(Paid), false),
            (Paid, Some(Expired), true),
            (Paid, Some(Cancelled), true),
            (Paid, Some(Refunded), false),
            (Refunded, Some(Paid), true),
            (Refunded, Some(Refunded), false),
            (Expired, Some(Paid), false),
        ] {
            assert_eq!(is_lost(acknowledged, found), lost, "{acknowledged:?} {found:?}");
        }
    }
}

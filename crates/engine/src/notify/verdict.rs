//! Makes the event about a ticket's verdict.

use std::sync::Arc;

use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{BuyerId, ItemId, Units, Verdict};

use super::EventKind;

impl EventKind {
    /// Returns the event about a ticket's verdict. The caller publishes the event if no request
    /// waits for the verdict. If the request already holds an order, it is not refused, so the
    /// event contains the order. Returns `None` if the verdict needs no event.
    pub(crate) fn from_verdict(
        resolved: &TicketVerdict,
        item: ItemId,
        buyer: BuyerId,
        units: Units,
    ) -> Option<Self> {
        let TicketVerdict { id, verdict, order, .. } = resolved;
        match verdict {
            // A new order is published in its own event.
            Verdict::Reserved => None,
            Verdict::Order(_) => order.clone().map(|order| Self::Order(Arc::new(order))),
            Verdict::LimitReached | Verdict::KeyReused | Verdict::Unavailable => {
                Some(Self::Refused { id: *id, item, buyer, units, verdict: *verdict })
            }
        }
    }
}

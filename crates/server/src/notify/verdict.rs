//! Makes the event about a ticket's verdict.

use std::sync::Arc;

use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{BuyerId, ItemId, Units, Verdict};

use super::EventKind;

impl EventKind {
    /// Returns the event about the verdict of a ticket for which no request waits, if the verdict
    /// has an event. A request that already holds an order is not refused, so its buyer gets the
    /// order.
    pub(crate) fn from_verdict(
        resolved: &TicketVerdict,
        item: ItemId,
        buyer: BuyerId,
        units: Units,
    ) -> Option<Self> {
        let TicketVerdict { id, verdict, order, .. } = resolved;
        match verdict {
            // The order has an event of its own.
            Verdict::Reserved => None,
            Verdict::Order(_) => order.clone().map(|order| Self::Order(Arc::new(order))),
            Verdict::LimitReached | Verdict::KeyReused | Verdict::Unavailable => {
                Some(Self::Refused { id: *id, item, buyer, units, verdict: *verdict })
            }
        }
    }
}

//! The settler: takes tickets in batches, has the store resolve them, and tells whoever waits.
//!
//! Runs as one task on each node with the role. A batch is whatever gathered while the last one
//! committed, so it grows with the load by itself.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::limits::SETTLE_BATCH_MAX;
use doorbuster_core::settle::Resolved;
use doorbuster_core::{Ticket, Verdict};
use doorbuster_slots::{DeliveryRef, Taken};
use doorbuster_store::StoreError;

use crate::engine::Engine;
use crate::failpoint::{self, Point};
use crate::notify::EventKind;
use crate::trace;
use crate::waiters::Told;

/// Pause before a batch is tried again while the store is away.
const RETRY: Duration = Duration::from_millis(50);

/// Settles until the program stops. What was taken and not committed stays in its queue.
pub async fn run(engine: Arc<Engine>) {
    loop {
        let taken = match engine.slots().take(SETTLE_BATCH_MAX).await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(%error, "tickets cannot be taken");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        engine.meter().settle_batch(taken.len());
        if !trace::batch(taken.len(), settle(&engine, &taken)).await {
            return;
        }
    }
}

/// Resolves one batch, however long the store is away. False when the store has failed for good.
async fn settle(engine: &Arc<Engine>, taken: &[Taken]) -> bool {
    failpoint::pass(Point::SettleTaken);
    let tickets: Vec<Arc<Ticket>> = taken.iter().map(|t| t.delivery.ticket.clone()).collect();
    let resolved = loop {
        match engine.store().settle(tickets.clone()).await {
            Ok(resolved) => break resolved,
            Err(StoreError::Fatal(_)) => return false,
            Err(error) => {
                tracing::warn!(%error, tickets = tickets.len(), "a batch could not be settled yet");
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    failpoint::pass(Point::SettleCommitted);
    let done: Vec<DeliveryRef> = taken
        .iter()
        .map(|t| DeliveryRef { slot: t.slot, at: t.delivery.at, token: t.delivery.ticket.token })
        .collect();
    if let Err(error) = engine.slots().acknowledge(&done).await {
        tracing::warn!(%error, "settled tickets will be delivered again");
    }
    failpoint::pass(Point::SettleAcknowledged);
    for (ticket, resolved) in tickets.iter().zip(resolved) {
        tell(engine, ticket, resolved);
    }
    engine.drained().notify_waiters();
    true
}

fn tell(engine: &Arc<Engine>, ticket: &Ticket, resolved: Resolved) {
    let refused = !matches!(resolved.verdict, Verdict::Reserved);
    if refused {
        engine.control().wake(ticket.item);
    }
    let (id, verdict) = (resolved.id, resolved.verdict);
    let told = engine.waiters().tell(ticket.token, resolved);
    // Of another node's tickets that node hears by itself.
    if refused
        && ticket.node == engine.node()
        && !matches!(told, Told::Heard)
        && engine.hub().may_have_readers()
    {
        let (item, units) = (ticket.item, ticket.units);
        engine.hub().publish(EventKind::Refused {
            id,
            item,
            buyer: ticket.buyer.clone(),
            units,
            verdict,
        });
    }
}

//! The settler takes tickets in batches, lets the store decide them, and delivers the verdicts to
//! the waiting requests.
//!
//! The settler is one task on each node with the role `settle`. While one batch commits, the
//! tickets that arrive form the next batch. If several nodes settle, each of them gets only a part
//! of the tickets, and its batches would be small. So each of these nodes pauses before it takes
//! the next batch.
//!
//! The settler owns no state. It has a handle of the slots, from whose queues it takes tickets. It
//! calls the store and the memory of its [`Node`]. No other part calls the settler.
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::limits::SETTLE_BATCH_MAX;
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::settler_pace::{Batch, SettlerPace};
use doorbuster_core::{Ticket, Verdict};
use doorbuster_slots::{DequeuedTicket, Slots};
use doorbuster_steps::settlement::{self, Effect};
use doorbuster_store::StoreError;
use doorbuster_telemetry::trace;

use crate::node::Node;
use crate::notify::EventKind;
use crate::outage_log;
use crate::waiters::DeliveryOutcome;

const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Settles tickets until the program stops. Tickets that were taken but not committed stay in their
/// queue.
pub(crate) async fn run(node: Arc<Node>, slots: Slots) {
    let (mut pace, mut previous) = (SettlerPace::default(), Instant::now());
    loop {
        let taken = match slots.take(SETTLE_BATCH_MAX).await {
            Ok(taken) => taken,
            Err(error) => {
                outage_log::warn!(
                    node.outage_log(),
                    error,
                    event = "slot.take_failed",
                    "failed to take tickets from their queues; will retry"
                );
                tokio::time::sleep(RETRY_DELAY).await;
                continue;
            }
        };
        node.meter().count_settled_batch(taken.len());
        let began = Instant::now();
        if !trace::trace_batch(taken.len(), settle(&node, &slots, &taken)).await {
            return;
        }
        let batch = Batch {
            tickets: taken.len(),
            cycle: began.duration_since(previous),
            commit: began.elapsed(),
        };
        previous = began;
        let wait = pace.pause_after_batch(batch, node.live_nodes().settler_count());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

/// Settles a batch: performs the effects in the sequence of [`doorbuster_steps::settlement`].
/// Returns `false` if the store has failed permanently.
async fn settle(node: &Arc<Node>, slots: &Slots, taken: &[DequeuedTicket]) -> bool {
    failpoint::reach(Failpoint::SettleTaken);
    let tickets: Vec<Arc<Ticket>> = taken.iter().map(|t| t.delivery.ticket.clone()).collect();
    let mut resolved = Vec::new();
    for effect in settlement::effects() {
        match effect {
            Effect::Commit => match commit(node, &tickets).await {
                Some(verdicts) => resolved = verdicts,
                None => return false,
            },
            Effect::Acknowledge => acknowledge(node, slots, taken).await,
            Effect::Deliver => {
                for (ticket, resolved) in tickets.iter().zip(std::mem::take(&mut resolved)) {
                    deliver(node, ticket, resolved);
                }
            }
        }
    }
    node.control().batch_settled.notify_waiters();
    true
}

/// Settles the tickets in one transaction. If the store is unreachable, tries again until it is
/// reachable. Returns `None` if the store has failed permanently.
async fn commit(node: &Node, tickets: &[Arc<Ticket>]) -> Option<Vec<TicketVerdict>> {
    loop {
        let began = Instant::now();
        match node.store().settle(tickets.to_vec()).await {
            Ok(resolved) => {
                node.meter().record_commit(began.elapsed());
                failpoint::reach(Failpoint::SettleCommitted);
                return Some(resolved);
            }
            Err(StoreError::Fatal(_)) => return None,
            Err(error) => {
                outage_log::warn!(
                    node.outage_log(),
                    error,
                    event = "settle.batch_failed",
                    tickets = tickets.len(),
                    "failed to settle a batch; will retry"
                );
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
    }
}

async fn acknowledge(node: &Node, slots: &Slots, taken: &[DequeuedTicket]) {
    let done: Vec<_> = taken.iter().map(DequeuedTicket::delivery_ref).collect();
    if let Err(error) = slots.acknowledge(&done).await {
        outage_log::warn!(
            node.outage_log(),
            error,
            event = "settle.acknowledge_failed",
            "failed to acknowledge settled tickets; their slots deliver them again"
        );
    }
    failpoint::reach(Failpoint::SettleAcknowledged);
}

fn deliver(node: &Arc<Node>, ticket: &Ticket, resolved: TicketVerdict) {
    let refused = !matches!(resolved.verdict, Verdict::Reserved);
    if refused {
        node.control().wake(ticket.item);
    } else if resolved.fresh {
        node.catalogue().count_orders(ticket.item, 1);
    }
    // Of all nodes, only the one that issued the ticket publishes the refusal, so that it is
    // published once.
    let is_published = refused && ticket.node == node.id() && node.hub().may_have_readers();
    let event = is_published
        .then(|| (ticket.item, ticket.buyer.clone(), ticket.units))
        .and_then(|(item, buyer, units)| EventKind::from_verdict(&resolved, item, buyer, units));
    let delivery = node.deliver_verdict(ticket.token, resolved);
    if !matches!(delivery, DeliveryOutcome::Received(_)) {
        event.into_iter().for_each(|event| node.hub().publish(event));
    }
}

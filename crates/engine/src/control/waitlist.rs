//! Gives returned units to the buyers in the waitlists, and ends the waitlists of ended sales.
//!
//! The leader runs this job. It is harmless if two nodes run the job at the same time: the store
//! gives each unit once and ends each entry once. If a buyer has reached the limit, or the buyer's
//! request already holds an order, the job passes over the buyer's entry. The node to which this
//! buyer is connected then notifies the buyer.
use std::sync::Arc;

use doorbuster_core::{Phase, Verdict, WaitlistEntry, WaitlistState};
use futures_util::StreamExt;

use crate::catalogue::{ItemState, SaleState};
use crate::error::EngineError;
use crate::node::Node;
use crate::notify::EventKind;
use crate::outage_log;
use crate::scheduler::{NextRun, Work};

/// The maximum number of waitlists that this job processes at the same time.
const WAITLISTS_AT_ONCE: usize = 16;

/// Notifies the buyers who are connected to this node and whose waitlist entries another node
/// passed over. A refused ticket does not name its buyer, so this job reads the waitlist entry.
pub(super) async fn notify_passed_over(node: Arc<Node>) {
    loop {
        node.control().foreign_refusals.arrived.notified().await;
        for id in node.control().foreign_refusals.take() {
            let notified = async {
                match node.store().waitlist_position(id).await?.map(|found| found.entry) {
                    Some(entry) if entry.state == WaitlistState::PassedOver => {
                        notify_entry(&node, entry).await
                    }
                    // The ticket belongs to no waitlist entry, or the buyer left the waitlist.
                    _ => Ok(()),
                }
            };
            if let Err(error) = notified.await {
                tracing::debug!(%error, %id, "failed to publish another node's refusal; waiting pages poll by themselves");
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum WaitlistWork {
    /// Units are kept for the waitlist, so waiting entries can become orders.
    Serve,
    /// The sale has ended.
    End,
}

pub(super) async fn run(node: Arc<Node>) {
    let (mut turns, mut next) = (node.turns(Work::Waitlists), NextRun::Now);
    loop {
        turns.wait(next).await;
        let more = !node.lifecycle().is_stopping() && process_waitlists(&node).await;
        next = if more { NextRun::Now } else { NextRun::Idle };
    }
}

/// Runs at most one transaction for each waitlist. The transaction gives units to the waitlist's
/// entries, or ends entries. Returns `true` if a waitlist has more entries to process.
async fn process_waitlists(node: &Node) -> bool {
    let catalogue = node.catalogue().clone();
    let mut waitlists: Vec<(Arc<ItemState>, WaitlistWork)> = Vec::new();
    for sale in catalogue.sales() {
        waitlists
            .extend(sale.items.iter().filter_map(|item| Some((item.clone(), work(sale, item)?))));
    }
    let each = futures_util::stream::iter(waitlists).map(|(item, work)| async move {
        let done = match work {
            WaitlistWork::Serve => serve_entries(node, &item).await,
            WaitlistWork::End => end_entries(node, &item).await,
        };
        done.unwrap_or_else(|error| {
            outage_log::warn!(
                node.outage_log(),
                error,
                event = "waitlist.failed",
                item = format!("{}/{}", item.sale, item.row.name),
                work = format!("{work:?}"),
                "failed to give units to a waitlist or to end it; will retry"
            );
            false
        })
    });
    each.buffer_unordered(WAITLISTS_AT_ONCE).fold(false, async |any, more| any | more).await
}

fn work(sale: &SaleState, item: &ItemState) -> Option<WaitlistWork> {
    let counts = item.gauge.counts();
    match sale.row.phase {
        Phase::Open if !sale.is_draining() && counts.kept > 0 => Some(WaitlistWork::Serve),
        Phase::Closed if counts.waiting > 0 => Some(WaitlistWork::End),
        _ => None,
    }
}

async fn serve_entries(node: &Node, item: &ItemState) -> Result<bool, EngineError> {
    let served = node.store().serve_waitlist(item.row.id).await?;
    node.catalogue().count_orders(item.row.id, served.orders.len() as u64);
    node.meter().waitlist_served.add(served.orders.len() as u64);
    node.meter().waitlist_passed_over.add(served.passed_over.len() as u64);
    for entry in served.passed_over {
        notify_entry(node, entry).await?;
    }
    Ok(served.more)
}

async fn end_entries(node: &Node, item: &ItemState) -> Result<bool, EngineError> {
    let ended = node.store().end_waitlist(item.row.id).await?;
    node.meter().waitlist_closed.add(ended.entries.len() as u64);
    ended.entries.into_iter().for_each(|entry| notify_entry_ended(node, entry));
    Ok(ended.more)
}

fn notify_entry_ended(node: &Node, entry: WaitlistEntry) {
    let WaitlistEntry { id, item, buyer, .. } = entry;
    node.hub().publish(EventKind::WaitlistEnded { id, item, buyer });
}

/// Publishes the result of an entry that was passed over.
async fn notify_entry(node: &Node, entry: WaitlistEntry) -> Result<(), EngineError> {
    if !node.hub().may_have_readers() {
        return Ok(());
    }
    let Some(resolved) = node.store().verdict(entry.id).await? else { return Ok(()) };
    match (resolved.order, resolved.verdict) {
        (Some(order), _) => node.hub().publish(EventKind::Order(Arc::new(order))),
        // This verdict means that the sale ended. An entry that is passed over while the sale is
        // open gets another verdict, such as `LimitReached`.
        (None, Verdict::Unavailable) => notify_entry_ended(node, entry),
        (None, verdict) => {
            let WaitlistEntry { id, item, buyer, .. } = entry;
            node.hub().publish(EventKind::Refused {
                id,
                item,
                buyer,
                units: doorbuster_core::Units::ONE,
                verdict,
            });
        }
    }
    Ok(())
}

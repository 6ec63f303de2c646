//! Selects the slots whose queues this node reads. A slot's queue has the tickets that wait for
//! their verdicts.
//!
//! A node reads a limited number of queues. The queues of open and paused sales are selected first.
//! The queues of slots that have tickets but no grant come last. The sale of such a slot has ended,
//! or the item's spread no longer uses the slot. The leader alone knows such slots and reads their
//! queues.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::limits::SLOTS_SERVED_MAX;
use doorbuster_core::{Millis, Phase, SlotKey};
use doorbuster_slots::Slots;
use doorbuster_store::SaleRow;

use crate::catalogue::SaleState;
use crate::node::Node;

const SELECTION_INTERVAL: Duration = Duration::from_secs(1);
/// How long before a sale opens the node begins to read the sale's queues.
const BEFORE_OPENING_MS: i64 = 60_000;
/// For how long after a sale's end the node still reads the sale's queues. A slot that has not yet
/// learned of the end may still issue tickets. The node then returns these tickets.
const AFTER_END_MS: i64 = 60_000;

pub(super) async fn run(node: Arc<Node>, slots: Slots) {
    loop {
        drop(
            tokio::time::timeout(SELECTION_INTERVAL, node.control().queues_changed.notified())
                .await,
        );
        select_queues(&node, &slots);
    }
}

/// Returns the rank of a sale. The queues of the sale with the lowest rank are selected first.
/// Returns `None` if the sale cannot have tickets.
fn priority(row: &SaleRow, now: Millis) -> Option<i64> {
    match row.phase {
        Phase::Open | Phase::Paused => Some(0),
        Phase::Closed => row.closed_at.filter(|at| at.plus(AFTER_END_MS) > now).map(|_| 1),
        Phase::Scheduled => {
            let wait = row.starts_at.map_or(0, |at| (at.0 - now.0).max(0));
            (wait < BEFORE_OPENING_MS).then_some(2 + wait)
        }
        Phase::Draft => None,
    }
}

fn sale_window(row: &SaleRow, now: Millis) -> (Millis, Millis) {
    let begins = row.starts_at.filter(|_| row.phase == Phase::Scheduled).unwrap_or(now);
    (begins, row.ends_at.unwrap_or(Millis(i64::MAX)))
}

/// Selects the queues that this node must read, and starts to read them.
pub(crate) fn select_queues(node: &Node, slots: &Slots) {
    let (catalogue, now) = (node.catalogue(), node.now());
    let mut sales: Vec<(i64, &Arc<SaleState>)> =
        catalogue.sales().filter_map(|sale| Some((priority(&sale.row, now)?, sale))).collect();
    sales.sort_by_key(|(priority, sale)| (*priority, sale.row.created_at));
    let items = sales.iter().flat_map(|(_, sale)| &sale.items);
    let reached: Vec<SlotKey> = items.flat_map(|item| item.reached_slots()).collect();
    let mut selected = node.live_nodes().settled_of(reached);
    if node.this_node().roles.settle && node.control().leads() {
        let unretired = node.control().unretired();
        let known: HashSet<SlotKey> = selected.iter().copied().collect();
        let room = SLOTS_SERVED_MAX.saturating_sub(selected.len());
        selected.extend(unretired.into_iter().filter(|slot| !known.contains(slot)).take(room));
    }
    if let Err(error) = slots.serve(&selected) {
        tracing::error!(
            %error,
            event = "slot.unsettled",
            "this node cannot settle the tickets of some slots; these tickets are returned"
        );
    }
}

/// Returns how many queues all nodes together must read at the same time while this sale runs. The
/// result is `own` (the number of the sale's own slots) plus the slots of all sales that overlap
/// with this sale in time. `row` is the sale's row after a planned change. Returns 0 if this
/// deployment has no queues.
#[must_use]
pub fn concurrent_slots(node: &Node, row: &SaleRow, own: usize) -> usize {
    if node.layout().is_node_local() {
        return 0;
    }
    let now = node.now();
    let (begins, ends) = sale_window(row, now);
    let meets = |other: &SaleRow| {
        let is_on = matches!(other.phase, Phase::Scheduled | Phase::Open | Phase::Paused);
        let (others_begin, others_end) = sale_window(other, now);
        is_on && other.id != row.id && others_begin < ends && begins < others_end
    };
    let catalogue = node.catalogue();
    let others = catalogue.sales().filter(|other| meets(&other.row)).flat_map(|other| &other.items);
    own + others.map(|item| item.slots.len()).sum::<usize>()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn row(phase: Phase, starts_at: i64, closed_at: Option<i64>) -> SaleRow {
        SaleRow {
            id: "spring".into(),
            title: "Spring".into(),
            phase,
            starts_at: Some(Millis(starts_at)),
            ends_at: None,
            front_door: "{}".into(),
            page: String::new(),
            version: 1,
            created_at: Millis(0),
            opened_at: None,
            closed_at: closed_at.map(Millis),
            draining_until: None,
            items: Vec::new(),
        }
    }

    #[test]
    fn open_sales_are_read_before_sales_that_end_or_start() {
        let now = Millis(1_000_000);
        let turns = [
            row(Phase::Open, 0, None),
            row(Phase::Paused, 0, None),
            row(Phase::Closed, 0, Some(now.0 - AFTER_END_MS + 1)),
            row(Phase::Scheduled, now.0 - 5, None),
            row(Phase::Scheduled, now.0 + BEFORE_OPENING_MS - 1, None),
        ]
        .map(|row| priority(&row, now));
        assert!(turns.is_sorted() && turns.iter().all(Option::is_some), "{turns:?}");
        for unread in [
            row(Phase::Draft, 0, None),
            row(Phase::Closed, 0, Some(now.0 - AFTER_END_MS)),
            row(Phase::Scheduled, now.0 + BEFORE_OPENING_MS, None),
        ] {
            assert_eq!(priority(&unread, now), None, "{unread:?}");
        }
    }
}

//! Names the slots whose queues this node reads: those of every sale that may have tickets. Runs when a sale changes, and every second.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::{Phase, SlotKey};

use crate::catalogue::SaleState;
use crate::engine::Engine;

const EVERY: Duration = Duration::from_secs(1);
/// How long after its end a sale's queues are read: what was cut by a slot that missed the end is returned then.
const AFTER_END_MS: i64 = 60_000;

/// Names them until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        drop(tokio::time::timeout(EVERY, engine.control().served_changed.notified()).await);
        engine.serve();
    }
}

impl Engine {
    /// Reads the queues of every sale that may have tickets.
    pub(crate) fn serve(&self) {
        let catalogue = self.catalogue();
        let may_have_tickets = |sale: &&Arc<SaleState>| match sale.row.phase {
            Phase::Draft => false,
            Phase::Scheduled | Phase::Open | Phase::Paused => true,
            Phase::Closed => sale.row.closed_at.is_some_and(|at| at.plus(AFTER_END_MS) > self.now()),
        };
        let items = catalogue.sales().filter(may_have_tickets).flat_map(|sale| &sale.items);
        let slots: Vec<SlotKey> = items.flat_map(|item| item.slots.iter().copied()).collect();
        if let Err(error) = self.slots().serve(&slots) {
            tracing::error!(%error, "not every slot's tickets can be settled by this node");
        }
    }
}

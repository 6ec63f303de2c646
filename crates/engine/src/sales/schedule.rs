//! Opens and closes sales by the store's clock.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::Millis;
use doorbuster_core::sale::TimedStep;
use tokio::task::JoinSet;

use super::SaleControl;
use crate::catalogue::SaleState;
use crate::outage_log;
use crate::scheduler::{NextRun, Work};

/// Pause after the opening or closing of a sale failed.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Opens and closes sales until the program stops.
pub(super) async fn run(sale_control: Arc<SaleControl>) {
    let (mut under_way, mut steps) = (HashSet::new(), JoinSet::new());
    let (mut turns, mut run) = (sale_control.node.turns(Work::Phases), NextRun::Now);
    loop {
        turns.wait(run).await;
        while let Some(ended) = steps.try_join_next() {
            under_way.remove(&ended.unwrap_or_default());
        }
        let sales: Vec<_> = sale_control.node.catalogue().sales().cloned().collect();
        let now = sale_control.node.store().monotonic_now();
        let mut next: Option<Millis> = None;
        for sale in sales {
            let row = &sale.row;
            let step = TimedStep::next(row.phase, row.starts_at, row.ends_at, now);
            let Some(step) = step else { continue };
            if step.at > now {
                next = Some(next.map_or(step.at, |next| next.min(step.at)));
            } else if under_way.insert(sale.row.id.clone()) {
                // A drain takes time, and other sales must open without waiting for the drain.
                steps.spawn(take_step(sale_control.clone(), sale, step));
            }
        }
        run = next.map_or(NextRun::Idle, NextRun::At);
    }
}

/// Opens or closes the sale, and returns the sale's id. If this fails, logs the failure, and the
/// next check repeats the step.
async fn take_step(
    sale_control: Arc<SaleControl>,
    sale: Arc<SaleState>,
    step: TimedStep,
) -> String {
    if let Err(error) = sale_control.take_timed_step(&sale.row.id, step).await {
        outage_log::warn!(
            sale_control.node.outage_log(),
            error,
            event = "sale.phase_failed",
            sale = sale.row.id,
            step = step.step.as_str(),
            "failed to change a sale's phase; will retry"
        );
        tokio::time::sleep(RETRY_DELAY).await;
    }
    sale_control.node.control().wake_timed_jobs();
    sale.row.id.clone()
}

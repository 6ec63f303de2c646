//! Opens and closes sales by the store's clock. Sleeps until the next start or end of a sale.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::Phase;
use doorbuster_core::sale::PhaseStep;

use tokio::task::JoinSet;

use crate::catalogue::SaleState;
use crate::engine::Engine;
use crate::outages;

/// Longest sleep. The sleep is bounded because the clock may be adjusted during the sleep.
const SLEEP_MAX: Duration = Duration::from_millis(500);
/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(100);

/// Opens and closes sales until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let (mut under_way, mut steps) = (HashSet::new(), JoinSet::new());
    loop {
        while let Some(ended) = steps.try_join_next() {
            under_way.remove(&ended.unwrap_or_default());
        }
        let sales: Vec<_> = engine.catalogue().sales().cloned().collect();
        let now = engine.store().monotonic_now();
        let mut wait = SLEEP_MAX;
        for sale in sales {
            let Some((step, at)) = next_step(&sale).filter(|_| engine.control().leads()) else {
                continue;
            };
            if at > now {
                wait = wait.min(Duration::from_millis((at.0 - now.0).unsigned_abs()));
            } else if under_way.insert(sale.row.id.clone()) {
                // A drain takes time, and other sales must open without waiting for it.
                steps.spawn(take_step(engine.clone(), sale, step));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = engine.control().times_changed.notified() => {}
        }
    }
}

/// Takes one step and returns the sale's id. Logs a failed step, and the next check repeats it.
async fn take_step(engine: Arc<Engine>, sale: Arc<SaleState>, step: PhaseStep) -> String {
    if let Err(error) = engine.step_sale(&sale.row.id, step).await {
        outages::warn!(
            engine.outages(),
            error,
            event = "sale.phase_failed",
            sale = sale.row.id,
            step = step.as_str(),
            "failed to change a sale's phase; will retry"
        );
        tokio::time::sleep(RETRY).await;
    }
    engine.control().wake_timed_jobs();
    sale.row.id.clone()
}

/// Returns the next step by the clock, and the time at which it is due.
fn next_step(sale: &SaleState) -> Option<(PhaseStep, doorbuster_core::Millis)> {
    match sale.row.phase {
        Phase::Scheduled => sale.row.starts_at.map(|at| (PhaseStep::Open, at)),
        Phase::Open | Phase::Paused => sale.row.ends_at.map(|at| (PhaseStep::Close, at)),
        Phase::Draft | Phase::Closed => None,
    }
}

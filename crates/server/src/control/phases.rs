//! Opens and closes sales by the store's clock. Sleeps until the next instant that matters.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::Phase;
use doorbuster_core::sale::Step;

use crate::catalogue::SaleState;
use crate::engine::Engine;

/// Longest sleep: the clock may be pulled meanwhile.
const LOOK_AT_LEAST: Duration = Duration::from_millis(500);
/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(100);

/// Steps sales until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    loop {
        let sales: Vec<_> = engine.catalogue().sales().cloned().collect();
        let now = engine.now();
        let mut wait = LOOK_AT_LEAST;
        for sale in &sales {
            let Some((step, at)) = next_step(sale) else { continue };
            if at > now {
                wait = wait.min(Duration::from_millis((at.0 - now.0).unsigned_abs()));
            } else if let Err(error) = engine.step_sale(&sale.row.id, step).await {
                tracing::warn!(%error, sale = sale.row.id, step = step.as_str(), "a phase could not be changed yet");
                wait = wait.min(RETRY);
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = engine.control().times_changed.notified() => {}
        }
    }
}

/// The step that the clock will ask for next, and when.
fn next_step(sale: &SaleState) -> Option<(Step, doorbuster_core::Millis)> {
    match sale.row.phase {
        Phase::Scheduled => sale.row.starts_at.map(|at| (Step::Open, at)),
        Phase::Open | Phase::Paused => sale.row.ends_at.map(|at| (Step::Close, at)),
        Phase::Draft | Phase::Closed => None,
    }
}

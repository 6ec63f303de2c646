//! Opens and closes sales by the store's clock.
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{Millis, Phase};
use doorbuster_store::SaleRow;

use tokio::task::JoinSet;

use crate::catalogue::SaleState;
use crate::engine::Engine;
use crate::outage_log;
use crate::scheduler::{NextRun, Work};

/// Pause after the opening or closing of a sale failed.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// Opens and closes sales until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let (mut under_way, mut steps) = (HashSet::new(), JoinSet::new());
    let (mut turns, mut run) = (engine.node.turns(Work::Phases), NextRun::Now);
    loop {
        turns.wait(run).await;
        while let Some(ended) = steps.try_join_next() {
            under_way.remove(&ended.unwrap_or_default());
        }
        let sales: Vec<_> = engine.node.catalogue().sales().cloned().collect();
        let now = engine.node.store().monotonic_now();
        let mut next: Option<Millis> = None;
        for sale in sales {
            let Some((step, at)) = next_step(&sale.row, now) else { continue };
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
            } else if under_way.insert(sale.row.id.clone()) {
                // A drain takes time, and other sales must open without waiting for the drain.
                steps.spawn(take_step(engine.clone(), sale, step));
            }
        }
        run = next.map_or(NextRun::Idle, NextRun::At);
    }
}

/// Opens or closes the sale, and returns the sale's id. If this fails, logs the failure, and the
/// next check repeats the step.
async fn take_step(engine: Arc<Engine>, sale: Arc<SaleState>, step: PhaseStep) -> String {
    if let Err(error) = engine.step_sale(&sale.row.id, step).await {
        outage_log::warn!(
            engine.node.outage_log(),
            error,
            event = "sale.phase_failed",
            sale = sale.row.id,
            step = step.as_str(),
            "failed to change a sale's phase; will retry"
        );
        tokio::time::sleep(RETRY_DELAY).await;
    }
    engine.node.control().wake_timed_jobs();
    sale.row.id.clone()
}

/// Returns the phase change that the sale's times require next, and the time at which it is due. If
/// no node ran between a sale's start and its end, the sale closes without opening.
fn next_step(row: &SaleRow, now: Millis) -> Option<(PhaseStep, Millis)> {
    match row.phase {
        Phase::Scheduled => {
            let end = row.ends_at.filter(|end| *end <= now);
            let start = row.starts_at?;
            Some(end.map_or((PhaseStep::Open, start), |end| (PhaseStep::Close, end)))
        }
        Phase::Open | Phase::Paused => row.ends_at.map(|at| (PhaseStep::Close, at)),
        Phase::Draft | Phase::Closed => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::queue_selection::tests::row;

    #[test]
    fn a_sale_whose_end_has_passed_does_not_open() {
        let next = |phase, now| {
            let row = SaleRow { ends_at: Some(Millis(20)), ..row(phase, 10, None) };
            next_step(&row, Millis(now))
        };
        let (open, close) = ((PhaseStep::Open, Millis(10)), (PhaseStep::Close, Millis(20)));
        assert_eq!(next(Phase::Scheduled, 5), Some(open));
        assert_eq!(next(Phase::Scheduled, 19), Some(open));
        assert_eq!(next(Phase::Scheduled, 20), Some(close));
        assert_eq!(next(Phase::Open, 19), Some(close));
        assert_eq!(next(Phase::Closed, 25), None);
    }
}

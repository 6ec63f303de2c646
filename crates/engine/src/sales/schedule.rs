//! Opens and closes sales by the store's clock.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::Millis;
use doorbuster_core::sale::TimedStep;
use tokio::task::{Id, JoinSet};

use super::SaleControl;
use crate::catalogue::SaleState;
use crate::outage_log;
use crate::scheduler::{NextRun, Work};

const RETRY_DELAY: Duration = Duration::from_millis(100);

pub(super) async fn run(sale_control: Arc<SaleControl>) {
    let (mut under_way, mut steps) = (HashMap::new(), JoinSet::new());
    let (mut turns, mut run) = (sale_control.node.turns(Work::Phases), NextRun::Now);
    loop {
        turns.wait(run).await;
        remove_ended(&mut under_way, &mut steps);
        let sales: Vec<_> = sale_control.node.catalogue().sales().cloned().collect();
        let now = sale_control.node.store().monotonic_now();
        let mut next: Option<Millis> = None;
        for sale in sales {
            let row = &sale.row;
            let step = TimedStep::next(row.phase, row.starts_at, row.ends_at, now);
            let Some(step) = step else { continue };
            if !step.is_due(now) {
                next = Some(next.map_or(step.at, |next| next.min(step.at)));
            } else if !under_way.contains_key(&sale.row.id) {
                // The step runs in its own task, because a close waits for the drain of the slots,
                // and other sales must open in the meantime.
                let id = sale.row.id.clone();
                let task = steps.spawn(take_step(sale_control.clone(), sale, step));
                under_way.insert(id, task.id());
            }
        }
        run = next.map_or(NextRun::Idle, NextRun::At);
    }
}

/// Removes the sales whose steps have ended or panicked.
fn remove_ended(under_way: &mut HashMap<String, Id>, steps: &mut JoinSet<String>) {
    while let Some(ended) = steps.try_join_next() {
        match ended {
            Ok(sale) => drop(under_way.remove(&sale)),
            Err(error) => under_way.retain(|_, task| *task != error.id()),
        }
    }
}

/// Takes the step, and returns the sale's id. If the step fails, the job's next check tries it
/// again.
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

#[cfg(test)]
mod tests {
    use doorbuster_config::Roles;
    use doorbuster_core::sale::PhaseStep;
    use doorbuster_core::{Phase, Stock};
    use doorbuster_store::{PatchOutcome, SalePatch};
    use doorbuster_testkit::TempDir;

    use super::*;
    use crate::start::EngineParts;
    use crate::tests::{draft, engine_with, step};

    async fn set_times(engine: &EngineParts, starts_at: Option<Millis>, ends_at: Option<Millis>) {
        let patch: SalePatch = Box::new(move |sale| {
            (sale.starts_at, sale.ends_at) = (starts_at, ends_at);
            Ok(())
        });
        let patched = engine.sales.patch_sale("spring", None, patch).await;
        assert!(matches!(patched, Ok(PatchOutcome::Done(_))), "{patched:?}");
    }

    /// Returns the sale's next timed step, which must be due now.
    fn due_step(engine: &EngineParts) -> (Arc<SaleState>, TimedStep) {
        let sale = engine.node.catalogue().sale("spring").cloned().expect("created");
        let now = engine.node.store().monotonic_now();
        let row = &sale.row;
        let step = TimedStep::next(row.phase, row.starts_at, row.ends_at, now);
        let step = step.filter(|step| step.at <= now).expect("a step is due");
        (sale, step)
    }

    #[tokio::test]
    async fn a_step_that_panics_does_not_block_its_sale() {
        let mut steps = JoinSet::new();
        let panicking = steps.spawn(async { panic!("this panic is part of the test") });
        let ending = steps.spawn(async { "ending".to_owned() });
        let running = steps.spawn(std::future::pending());
        let mut under_way = HashMap::from([
            ("panicking".to_owned(), panicking.id()),
            ("ending".to_owned(), ending.id()),
            ("running".to_owned(), running.id()),
        ]);
        while !panicking.is_finished() || !ending.is_finished() {
            tokio::task::yield_now().await;
        }
        remove_ended(&mut under_way, &mut steps);
        assert_eq!(under_way.into_keys().collect::<Vec<_>>(), ["running"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_due_step_changes_nothing_after_an_operator_has_withdrawn_it() {
        let dir = TempDir::new();
        // Without the role `control`, the engine's own job takes no steps, so that only this test
        // takes them.
        let engine = engine_with(&dir, Roles { control: false, ..Roles::ALL }).await;
        let phase = || engine.node.catalogue().sale("spring").expect("created").row.phase;
        draft(&engine, Stock::Counted(1), 1, 900_000).await;
        let past = Some(engine.node.store().monotonic_now());
        set_times(&engine, past, None).await;
        step(&engine, PhaseStep::Schedule).await;
        let (sale, opening) = due_step(&engine);
        step(&engine, PhaseStep::Unschedule).await;
        assert_eq!(take_step(engine.sales.clone(), sale, opening).await, "spring");
        assert_eq!(phase(), Phase::Draft);
        step(&engine, PhaseStep::Open).await;
        set_times(&engine, None, past).await;
        let (sale, closing) = due_step(&engine);
        set_times(&engine, None, None).await;
        take_step(engine.sales.clone(), sale, closing).await;
        assert_eq!(phase(), Phase::Open);
        set_times(&engine, None, past).await;
        let (sale, closing) = due_step(&engine);
        take_step(engine.sales.clone(), sale, closing).await;
        assert_eq!(phase(), Phase::Closed, "a step that is still needed must be taken");
        engine.stock.stop_node().await;
    }
}

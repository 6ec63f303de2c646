//! Runs lists of operations, or the lists of many seeds on several threads, and reports the
//! results.
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use doorbuster_core::rules::{Rule, remove};

use crate::checker::{Coverage, Finding};
use crate::op::Case;
use crate::profile;
use crate::world::World;

/// The number of seeds that a thread takes from the plan at a time.
const CHUNK: u64 = 64;

/// The seeds to run.
#[derive(Clone, Copy, Debug)]
pub struct SimPlan {
    /// The first seed.
    pub first_seed: u64,
    /// The number of seeds.
    pub seeds: u64,
    /// The number of threads.
    pub threads: usize,
    /// The rule that is removed for these runs, if any.
    pub without: Option<Rule>,
    /// Whether to stop at the first finding.
    pub stop_at_first: bool,
}

/// A seed with a finding.
#[derive(Clone, Debug)]
pub struct FailingSeed {
    /// The seed.
    pub seed: u64,
    /// The finding.
    pub finding: Finding,
}

/// The result of running many seeds.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The number of seeds that were run.
    pub seeds: u64,
    /// The wall time.
    pub took: Duration,
    /// Seeds with findings, lowest first.
    pub broken: Vec<FailingSeed>,
    /// The names of the cases that happened in the runs, and how often each happened.
    pub reached: Coverage,
}

impl Report {
    /// Returns how many seeds were run per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.seeds as f64 / self.took.as_secs_f64().max(1e-9)
    }
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Suppresses the panic output of threads on which a panic becomes a finding.
fn quiet_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
}

/// Runs one list of operations. Returns the list's finding, if any. A panic in the rules also
/// counts as a finding.
#[must_use]
pub fn run_case(case: &Case) -> Option<Finding> {
    run_counting(case, &mut Coverage::default())
}

fn run_counting(case: &Case, reached: &mut Coverage) -> Option<Finding> {
    quiet_panics();
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(&case.setup);
        let finding = world.run(&case.ops);
        for (what, times) in &world.checker.reached {
            *reached.entry(what).or_default() += times;
        }
        finding
    }));
    QUIET.set(false);
    result.unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref().copied());
        Some(Finding { what: "panic", detail: message.unwrap_or("no message").into() })
    })
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64) -> Option<Finding> {
    run_case(&profile::case(seed))
}

/// Runs many seeds.
#[must_use]
pub fn run(plan: SimPlan) -> Report {
    let start = Instant::now();
    let end = plan.first_seed.saturating_add(plan.seeds);
    let next = AtomicU64::new(plan.first_seed);
    let work = || {
        let mut report = Report::default();
        remove(plan.without);
        loop {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            if from >= end {
                break;
            }
            for seed in from..end.min(from + CHUNK) {
                report.seeds += 1;
                if let Some(finding) = run_counting(&profile::case(seed), &mut report.reached) {
                    report.broken.push(FailingSeed { seed, finding });
                    if plan.stop_at_first {
                        next.store(end, Ordering::Relaxed);
                        break;
                    }
                }
            }
        }
        remove(None);
        report
    };
    let mut all = Report::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads.max(1)).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let report = thread.join().expect("panics in the rules are caught");
            all.seeds += report.seeds;
            all.broken.extend(report.broken);
            for (what, times) in report.reached {
                *all.reached.entry(what).or_default() += times;
            }
        }
    });
    all.broken.sort_by_key(|b| b.seed);
    all.took = start.elapsed();
    all
}

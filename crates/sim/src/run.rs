//! Runs seeds and reports.
use std::cell::Cell;
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::judge::Finding;
use crate::op::Case;
use crate::profile;
use crate::world::World;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs one list. `None`: nothing that must never be. A panic in the rules is a finding too.
#[must_use]
pub fn run_case(case: &Case) -> Option<Finding> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let result = std::panic::catch_unwind(|| World::new(&case.setup).run(&case.ops));
    QUIET.set(false);
    result.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        Some(Finding { what: "panic", detail: said.unwrap_or("no message").into() })
    })
}

/// Runs one seed.
#[must_use]
pub fn run_seed(seed: u64) -> Option<Finding> {
    run_case(&profile::case(seed))
}

/// A seed that broke a promise.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// What was broken.
    pub finding: Finding,
}

/// What a run of many seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seeds run.
    pub seeds: u64,
    /// Wall time.
    pub took: Duration,
    /// Seeds that broke a promise, lowest first.
    pub broken: Vec<Broken>,
}

/// Runs the seeds from `first` on.
#[must_use]
pub fn seeds(first: u64, count: u64) -> Report {
    let start = Instant::now();
    let mut report = Report::default();
    for seed in first..first.saturating_add(count) {
        report.seeds += 1;
        if let Some(finding) = run_seed(seed) {
            report.broken.push(Broken { seed, finding });
        }
    }
    report.took = start.elapsed();
    report
}

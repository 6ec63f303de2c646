//! Tests of runs whose processes fail. The servers are real.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use super::*;
use crate::checker;
use crate::driver::Answers;
use crate::result::{RunKey, RunResult};

fn options(program: PathBuf, strategies: Vec<&'static str>) -> RunOptions {
    RunOptions {
        program,
        strategies,
        buyers: 4,
        stock: 2,
        units: 1,
        levels: vec![1],
        faults: vec![Fault::None],
        seed: 1,
        seeds: 1,
        command: String::new(),
        stop: Arc::default(),
    }
}

#[test]
fn a_worker_that_does_not_start_fails_its_own_run_with_its_reason() {
    let dir = WorkDir::create().expect("a directory");
    let program = dir.path().join("program");
    std::fs::write(&program, "#!/bin/sh\nread specification\necho planted >&2\nexit 1\n")
        .expect("a writable directory");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("our file");
    let options = options(program, vec!["unit-rows", "redis-lua"]);
    let mut runs = 0;
    let report = run(&options, |_| runs += 1).expect("PostgreSQL and Redis start");
    let failed: Vec<&str> = report.failures.iter().map(|one| one.strategy.as_str()).collect();
    assert_eq!((runs, failed), (2, vec!["unit-rows", "redis-lua"]));
    assert!(report.failures.iter().all(|one| one.error.contains("planted")), "{report:?}");
    assert!(!report.agrees() && !report.interrupted);
}

#[test]
fn a_stopped_run_without_http_has_no_error_and_counts_as_missing() {
    let options = options(PathBuf::new(), vec!["doorbuster-embedded"]);
    let entry = crate::registry::find("doorbuster-embedded").expect("a strategy");
    let one = OneStrategy { options: &options, entry, fault: Fault::None };
    let run = RunKey { level: 1, seed: 1, fault: Fault::None, applies: true };
    let outcome = |one: &OneStrategy<'_>| {
        let findings = checker::check_answers(0, &[], &[]);
        let mut result = RunResult::new(one.entry, &run, 0, &Answers::default(), findings);
        one.add_run_without_http(&mut result, Err(anyhow::anyhow!("planted")));
        (result.without_http_error.is_some(), one.lacks_run_without_http(&result))
    };
    assert_eq!(outcome(&one), (true, false));
    options.stop.store(true, Ordering::Relaxed);
    assert_eq!(outcome(&one), (false, true));
    let with_fault = OneStrategy { options: &options, entry, fault: Fault::Crash };
    assert_eq!(outcome(&with_fault), (false, false), "this run is not repeated without HTTP");
}

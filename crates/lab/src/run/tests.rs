//! Tests of runs whose processes fail. The servers are real.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_worker_that_does_not_start_fails_its_own_run_with_its_reason() {
    let dir = WorkDir::create().expect("a directory");
    let program = dir.path().join("program");
    std::fs::write(&program, "#!/bin/sh\nread specification\necho planted >&2\nexit 1\n")
        .expect("a writable directory");
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("our file");
    let options = RunOptions {
        program,
        strategies: vec!["unit-rows", "redis-lua"],
        buyers: 4,
        stock: 2,
        units: 1,
        levels: vec![1],
        faults: vec![Fault::None],
        seed: 1,
        seeds: 1,
        command: String::new(),
        stop: Arc::default(),
    };
    let mut runs = 0;
    let report = run(&options, |_| runs += 1).expect("PostgreSQL and Redis start");
    let failed: Vec<&str> = report.failures.iter().map(|one| one.strategy.as_str()).collect();
    assert_eq!((runs, failed), (2, vec!["unit-rows", "redis-lua"]));
    assert!(report.failures.iter().all(|one| one.error.contains("planted")), "{report:?}");
    assert!(!report.agrees() && !report.interrupted);
}

//! A short soak run. `cargo xtask soak` runs the same load for hours.

use std::path::Path;
use std::time::Duration;

use doorbuster_harness::soak::{self, SoakPlan};

use crate::several::require_servers;
use crate::test_server::TempDir;

const FOR: Duration = Duration::from_secs(30);

#[test]
fn a_short_soak_run_sells_with_restarts_and_failing_webhooks_and_nothing_grows() {
    require_servers();
    let temp_dir = TempDir::new();
    let program = Path::new(env!("CARGO_BIN_EXE_doorbuster"));
    let mut plan = SoakPlan::new(program, &temp_dir.join("soak"), FOR);
    plan.buyers = 60;
    let report = soak::run(&plan, |_| {}).unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.ok(), "{}", report.to_text());
    assert!(report.sales >= 1 && report.orders >= 30, "{}", report.to_text());
    assert!(report.rolls >= 1, "{}", report.to_text());
    let [refused, accepted] = report.events;
    assert!(refused > 0 && accepted > 0, "{}", report.to_text());
    assert!(report.judgements.len() > 10, "{}", report.to_text());
}

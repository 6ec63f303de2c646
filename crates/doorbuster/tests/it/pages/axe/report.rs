//! Tests the accessibility of the lab's reports, which the browser opens from the disk.

use std::collections::BTreeMap;
use std::path::Path;

use doorbuster_lab::{Claim, Fault, LatencyMs, Machine, RunFailure, RunReport, RunResult, Verdict};

use super::super::driver::Browser;
use super::super::tab::Tab;
use super::{inspect, tab};
use crate::test_server::{TempDir, program, run};

/// Returns the line style (colour and dash pattern) of each chosen strategy in the plots.
const KEYS: &str = "[...document.querySelectorAll('#chosen .key path')]
    .map(key => key.style.stroke + ' ' + key.getAttribute('stroke-dasharray'))";

async fn load(tab: &Tab<'_>, out: &Path) {
    for name in ["report.html", "report.json", "report.md"] {
        assert!(out.join(name).exists(), "{name}");
    }
    tab.load(&format!("file://{}", out.join("report.html").display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_the_lab_is_usable_by_everyone() {
    let temp_dir = TempDir::new();
    let out = temp_dir.join("report");
    let ways = "unsafe-update,conditional-update,redis-lock-unsafe,redis-lua";
    let ran = run(program(&temp_dir)
        .args(["lab", "run", "--strategies", ways, "--buyers", "200", "--stock", "20"])
        .args(["--levels", "1,16", "--seed", "7", "--json", "--out"])
        .arg(&out));
    ran.stdout_of_success();
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        load(&tab, &out).await;
        tab.says("h1", "Every promise held.").await;
        tab.says(".verdict p", "No strategy broke its promise.").await;
        // Both plots must be drawn, and must be drawn again after another strategy is chosen.
        tab.until("document.querySelectorAll('canvas').length === 2").await;
        tab.click("#chosen label:last-child input").await;
        tab.until("document.querySelectorAll('canvas').length === 2").await;
        inspect(&tab, "lab-report").await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_report_of_an_incident_and_of_a_headline_are_usable_by_everyone() {
    let temp_dir = TempDir::new();
    let [incident, headline] = ["incident", "headline"].map(|name| temp_dir.join(name));
    let variant = ["lab", "incident", "--variant", "redis-lock", "--seed", "1", "--json", "--out"];
    run(program(&temp_dir).args(variant).arg(&incident)).stdout_of_success();
    let rate = ["lab", "headline", "--rate", "500", "--secs", "2", "--json", "--out"];
    run(program(&temp_dir).args(rate).arg(&headline)).stdout_of_success();
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        load(&tab, &incident).await;
        tab.says("h1", "The incident happened as described.").await;
        // The drawing must mark the work that continues after the lock has ended.
        tab.until("document.querySelectorAll('rect.late').length > 0").await;
        inspect(&tab, "lab-incident").await;
        load(&tab, &headline).await;
        tab.says("h1", "The checks passed").await;
        inspect(&tab, "lab-headline").await;
    })
    .await;
}

fn held(strategy: &str) -> RunResult {
    RunResult {
        strategy: strategy.to_owned(),
        level: 16,
        faults: Fault::None,
        seed: 7,
        applies: true,
        buyers: 200,
        started: 200,
        stopped_early: false,
        throughput_per_second: 1_000.0,
        latency_ms: LatencyMs { p50: 1.0, p99: 2.0, max: 3.0 },
        driver_busy: 0.95,
        answers: BTreeMap::from([("sold", 20), ("sold_out", 180), ("no_answer", 0)]),
        stock: 20,
        sold: 20,
        oversold: 0,
        unsold: 0,
        duplicate_orders: 0,
        lost_orders: 0,
        untold_orders: 0,
        unexpected_orders: 0,
        errors: 0,
        verdict: Verdict::Held,
        agrees: true,
        claim: Claim::Safe,
        suits: "A test",
        first_offender: None,
        first_error: None,
        without_http: None,
        without_http_error: None,
    }
}

/// Returns the report of an interrupted run, with a result for each way in which a run can go
/// wrong.
fn failing_report() -> RunReport {
    let lost = RunResult {
        verdict: Verdict::Lost,
        agrees: false,
        lost_orders: 3,
        first_offender: Some("buyer 5 was told \"sold\" but has no matching order".to_owned()),
        ..held("unit-rows")
    };
    let undersold = RunResult { verdict: Verdict::Undersold, unsold: 4, ..held("redis-incrby") };
    let unfinished = RunResult { started: 90, stopped_early: true, sold: 9, ..held("redis-lock") };
    let unaffected = RunResult { faults: Fault::Slow, applies: false, ..held("redis-lua") };
    let more = ["pessimistic-lock", "staging-table", "optimistic-version", "redis-lua-queue"];
    let results = [lost, undersold, unfinished, unaffected].into_iter().chain(more.map(held));
    let failure = RunFailure {
        strategy: "combined".to_owned(),
        level: 16,
        faults: Fault::Crash,
        seed: 7,
        error: "a worker did not start".to_owned(),
    };
    RunReport {
        machine: Machine {
            processor: "a processor".to_owned(),
            cores: 2,
            memory_mib: 4_096,
            system: "Linux".to_owned(),
            servers: vec!["PostgreSQL".to_owned()],
        },
        seed: 7,
        command: "doorbuster lab run --seed 7".to_owned(),
        buyers: 200,
        stock: 20,
        units: 1,
        levels: vec![16],
        settings: Vec::new(),
        seconds: 1.0,
        results: results.collect(),
        failures: vec![failure],
        interrupted: true,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_with_broken_promises_is_usable_by_everyone() {
    let temp_dir = TempDir::new();
    let out = temp_dir.join("report");
    doorbuster_lab::report::prepare(&out).expect("a writable directory");
    doorbuster_lab::report::write_run(&out, &failing_report(), None).expect("a report");
    Browser::with_browser(async |browser| {
        let tab = tab(browser).await;
        load(&tab, &out).await;
        tab.says("h1", "A promise was broken.").await;
        tab.says(".verdict p", "One strategy broke its promise: unit-rows.").await;
        for words in ["lost, not as promised", "held, not finished", "a worker did not start"] {
            tab.says("main", words).await;
        }
        // Each of the seven strategies that ran without a fault has its own line style.
        let distinct = format!("new Set({KEYS}).size === 7 && {KEYS}.length === 7");
        tab.until(&distinct).await;
        // The test removes a strategy and adds it again with the keyboard.
        tab.eval("document.querySelector('#chosen input').focus()").await;
        tab.keys(" ").await;
        tab.until(&format!("{KEYS}.length === 6")).await;
        tab.keys(" ").await;
        tab.until(&distinct).await;
        inspect(&tab, "lab-report-failing").await;
    })
    .await;
}

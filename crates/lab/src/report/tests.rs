//! Tests the report's texts with invented results.

use std::collections::BTreeMap;

use super::*;
use crate::checker;
use crate::driver::Answers;
use crate::fault::Fault;
use crate::registry;
use crate::result::{DirectRunResult, LatencyMs, Machine, RunFailure};

const LATENCY: LatencyMs = LatencyMs { p50: 1.0, p99: 2.0, max: 3.0 };

/// Returns a result with the verdict `Held`.
pub(super) fn result(strategy: &str) -> RunResult {
    let entry = registry::find(strategy).expect("a strategy");
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
        latency_ms: LATENCY,
        driver_busy: 0.5,
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
        claim: entry.claim,
        suits: entry.suits,
        first_offender: None,
        first_error: None,
        without_http: None,
        without_http_error: None,
    }
}

pub(super) fn run(results: Vec<RunResult>) -> RunReport {
    RunReport {
        machine: Machine {
            processor: "a processor".to_owned(),
            cores: 2,
            memory_mib: 4096,
            system: "Linux".to_owned(),
            servers: vec!["PostgreSQL 15".to_owned()],
        },
        seed: 7,
        command: "doorbuster lab run --seed 7".to_owned(),
        buyers: 200,
        stock: 20,
        units: 1,
        levels: vec![16],
        settings: Vec::new(),
        seconds: 1.0,
        results,
        failures: Vec::new(),
        interrupted: false,
    }
}

/// Returns the result of an unsafe strategy that oversold. Such a strategy promises nothing, so the
/// result breaks no promise.
fn oversold() -> RunResult {
    let verdict = Verdict::Oversold;
    RunResult { verdict, oversold: 5, sold: 25, ..result("unsafe-update") }
}

#[test]
fn a_strategy_that_promises_nothing_breaks_no_promise() {
    let run = run(vec![oversold(), result("conditional-update")]);
    let text = summary(&run);
    assert!(text.starts_with("Of 2 strategies, 1 held in every run, 1 oversold. "), "{text}");
    assert!(text.contains("No strategy broke its promise."), "{text}");
    assert!(html::render_run(&run, None).contains("<h1>Every promise held.</h1>"));
}

#[test]
fn a_broken_promise_is_named_in_the_summary_and_in_the_heading() {
    let broken = RunResult { agrees: false, verdict: Verdict::Lost, ..result("unit-rows") };
    let run = run(vec![oversold(), broken]);
    let text = summary(&run);
    assert!(text.contains("1 oversold, and 1 failed in another way."), "{text}");
    assert!(text.contains("One strategy broke its promise: unit-rows."), "{text}");
    assert!(html::render_run(&run, None).contains("<h1>A promise was broken.</h1>"));
    assert!(markdown::render_run(&run).contains("lost, not as promised"));
}

#[test]
fn a_broken_promise_without_http_counts() {
    let direct = DirectRunResult {
        throughput_per_second: 1.0,
        latency_ms: LATENCY,
        sold: 21,
        unfinished: false,
        verdict: Verdict::Oversold,
    };
    let result = RunResult { without_http: Some(direct), ..result("doorbuster-embedded") };
    let run = run(vec![result]);
    assert!(!run.agrees());
    let text = summary(&run);
    assert!(text.starts_with("Of 1 strategy, "), "{text}");
    assert!(text.contains("One strategy broke its promise: doorbuster-embedded."), "{text}");
    let text = markdown::render_run(&run);
    assert!(text.contains("| `doorbuster-embedded` | 16 | 7 | none | held |"), "{text}");
    assert!(text.contains("| oversold, not as promised |"), "{text}");
}

#[test]
fn a_run_that_did_not_finish_did_not_hold_and_is_not_the_fastest() {
    let unfinished = RunResult {
        stopped_early: true,
        sold: 19,
        throughput_per_second: 9_000.0,
        ..result("doorbuster-cluster")
    };
    let text = summary(&run(vec![unfinished, result("conditional-update")]));
    assert!(text.starts_with("Of 2 strategies, 1 held in every run, 0 oversold. "), "{text}");
    assert!(text.contains("1 did not finish in time: doorbuster-cluster."), "{text}");
    assert!(text.contains("The fastest safe strategy was conditional-update "), "{text}");
}

#[test]
fn a_run_without_http_that_did_not_finish_says_so() {
    let findings = checker::check_answers(20, &[], &[]);
    let answers = Answers { buyers: 200, ..Answers::default() };
    let direct = DirectRunResult::new(&answers, 20, &findings);
    assert_eq!(direct.verdict_text(), "held, not finished");
    let result = RunResult { without_http: Some(direct), ..result("doorbuster-embedded") };
    let run = run(vec![result]);
    assert!(html::render_run(&run, None).contains("held, not finished"));
    assert!(markdown::render_run(&run).contains("| held, not finished |"));
}

#[test]
fn a_run_that_failed_or_was_interrupted_does_not_agree() {
    let failure = RunFailure {
        strategy: "redis-lua".to_owned(),
        level: 1,
        faults: Fault::Crash,
        seed: 7,
        error: "a worker did not start".to_owned(),
    };
    let failed = RunReport { failures: vec![failure], ..run(vec![result("unit-rows")]) };
    assert!(!failed.agrees());
    assert!(summary(&failed).contains("1 run failed"));
    let page = html::render_run(&failed, None);
    assert!(page.contains("<h1>Some runs failed.</h1>") && page.contains("did not start"));
    assert!(markdown::render_run(&failed).contains("did not start"));
    let interrupted = RunReport { interrupted: true, ..run(vec![result("unit-rows")]) };
    assert!(!interrupted.agrees());
    assert!(html::render_run(&interrupted, None).contains("<h1>The run was interrupted.</h1>"));
}

//! `lab`: every strategy at a small size, on real servers, with sums that the test calculates in
//! another way.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::test_server::{TempDir, program, run, signal, until, wait};

/// The number of seeds with which the safe strategies run. `DOORBUSTER_LAB_SEEDS` sets another
/// number.
const SEEDS: usize = 3;

/// Runs the lab with these arguments. Returns the exit code and the JSON object.
#[track_caller]
fn lab(arguments: &[&str]) -> (Option<i32>, Value) {
    let temp_dir = TempDir::new();
    let ran = run(program(&temp_dir).arg("lab").args(arguments).arg("--json"));
    assert!(!ran.out().is_empty(), "{arguments:?}: {}", ran.err());
    (ran.code(), ran.json())
}

/// The ids of the strategies with this claim.
fn claiming(claim: &str) -> Vec<String> {
    let (_, list) = lab(&["list"]);
    let all = list["strategies"].as_array().expect("a list").iter();
    let ids = all.filter(|strategy| strategy["claim"] == claim);
    ids.map(|strategy| strategy["id"].as_str().expect("a text").to_owned()).collect()
}

fn number(result: &Value, member: &str) -> i64 {
    result[member].as_i64().unwrap_or_else(|| panic!("{member} is a number: {result}"))
}

/// Checks that the counts of a result add up.
fn check_sums(result: &Value) {
    let (stock, sold) = (number(result, "stock"), number(result, "sold"));
    assert_eq!(number(result, "oversold"), (sold - stock).max(0), "{result}");
    assert!(number(result, "unsold") <= (stock - sold).max(0), "{result}");
    let answers = ["sold", "sold_out", "no_answer"].map(|kind| number(&result["answers"], kind));
    assert_eq!(answers.iter().sum::<i64>(), number(result, "started"), "{result}");
    let all_started = number(result, "started") == number(result, "buyers");
    assert_eq!(result["stopped_early"], !all_started, "{result}");
    let busy = result["driver_busy"].as_f64().expect("a number");
    assert!(busy > 0.0 && busy <= 1.05, "{result}");
    let p = |name: &str| result["latency_ms"][name].as_f64().expect("a number");
    assert!(p("p50") <= p("p99") && p("p99") <= p("max"), "{result}");
}

#[test]
fn the_list_has_every_strategy_with_its_claim() {
    let counts = ["safe", "unsafe", "safe_without_faults"].map(|claim| claiming(claim).len());
    assert_eq!(counts, [12, 4, 8]);
}

#[test]
fn wrong_arguments_end_with_2() {
    let temp_dir = TempDir::new();
    let file = temp_dir.join("file");
    std::fs::write(&file, "").expect("a writable directory");
    let file = file.to_str().expect("a path in UTF-8");
    for arguments in [
        &["run", "--strategies", "no-such-way"][..],
        &["run", "--levels", "0"],
        &["run", "--faults", "flood"],
        &["run", "--seed", "18446744073709551615"],
        &["run", "--out", file],
        &["incident", "--variant", "unit-rows"],
        &["incident", "--out", file],
        &["headline", "--rate", "1000000", "--secs", "600"],
        &["headline", "--out", file],
    ] {
        let ran = run(program(&temp_dir).arg("lab").args(arguments));
        assert_eq!(ran.code(), Some(2), "{arguments:?}: {}", ran.err());
    }
}

#[test]
fn a_repeated_argument_runs_once() {
    let ways = ["--strategies", "redis-lua,unit-rows,redis-lua", "--levels", "4,4"];
    let size = ["--faults", "none,none", "--buyers", "40", "--stock", "9", "--seed", "1"];
    let (code, report) = lab(&[&["run"], &ways[..], &size[..]].concat());
    let results = report["results"].as_array().expect("a list");
    let ids: Vec<&Value> = results.iter().map(|result| &result["strategy"]).collect();
    assert_eq!(ids, ["redis-lua", "unit-rows"]);
    results.iter().for_each(check_sums);
    assert_eq!(
        (code, &report["failures"], &report["interrupted"]),
        (Some(0), &json!([]), &json!(false))
    );
}

#[test]
fn a_fault_that_cannot_affect_a_strategy_does_not_apply() {
    let ways = ["--strategies", "redis-lua,conditional-update", "--faults", "slow,restart"];
    let size = ["--buyers", "80", "--stock", "30", "--levels", "16", "--seed", "2"];
    let (code, report) = lab(&[&["run"], &ways[..], &size[..]].concat());
    assert_eq!(code, Some(0), "{report}");
    for result in report["results"].as_array().expect("a list") {
        let applies = match (result["strategy"].as_str(), result["faults"].as_str()) {
            (Some("redis-lua"), Some(fault)) => fault == "restart",
            (_, fault) => fault == Some("slow"),
        };
        assert_eq!(result["applies"], applies, "{result}");
        check_sums(result);
    }
}

#[test]
fn a_run_that_ends_before_all_buyers_have_started_says_so() {
    let size = ["--buyers", "200000", "--stock", "50000", "--levels", "4", "--seed", "1"];
    let (_, report) = lab(&[&["run", "--strategies", "redis-lock"], &size[..]].concat());
    let result = &report["results"][0];
    check_sums(result);
    assert_eq!(result["stopped_early"], true, "{result}");
    assert!(number(result, "sold") < 50_000, "{result}");
}

#[test]
fn an_interrupted_run_prints_its_results_and_leaves_nothing_behind() {
    let temp_dir = TempDir::new();
    let ways = ["lab", "run", "--strategies", "redis-lua,unsafe-update", "--levels", "1"];
    let mut child = program(&temp_dir)
        .args(ways)
        .args(["--buyers", "1000000", "--stock", "1000000", "--seed", "1", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let logs = || temp_dir.entries().into_iter().map(|dir| dir.join("workers.log"));
    until("the first run has workers", || logs().find(|log| log.exists()));
    signal(&child, "INT");
    let code = wait(&mut child);
    let output = child.wait_with_output().expect("our child");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!((code, &report["interrupted"]), (Some(1), &json!(true)), "{report}");
    assert_eq!(report["results"], json!([]), "an unfinished run has no result");
    let left = temp_dir.entries();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_strategy_keeps_its_claim_without_faults() {
    let size = ["--buyers", "60", "--stock", "21", "--units", "2", "--levels", "1,8"];
    let (code, report) = lab(&[&["run", "--seed", "5"], &size[..]].concat());
    let results = report["results"].as_array().expect("a list");
    assert_eq!(results.len(), 24 * 2);
    for result in results {
        check_sums(result);
        let is_unsafe = result["claim"] == "unsafe";
        assert!(is_unsafe || result["verdict"] == "held", "{result}");
        if result["strategy"] == "doorbuster-embedded" {
            let direct = &result["without_http"];
            assert_eq!((&direct["verdict"], number(direct, "sold")), (&"held".into(), 20));
        }
        // Of 21 units, 10 buyers get 2 each.
        assert!(is_unsafe || number(result, "sold") == 20, "{result}");
    }
    assert_eq!(code, Some(0));
}

#[test]
fn safe_strategies_never_oversell_and_unsafe_ones_do() {
    let seeds = std::env::var("DOORBUSTER_LAB_SEEDS").ok().and_then(|text| text.parse().ok());
    let seeds: usize = seeds.unwrap_or(SEEDS);
    let safe = claiming("safe");
    let (ids, count) = (safe.join(","), seeds.to_string());
    let size = ["--buyers", "120", "--stock", "40", "--levels", "32"];
    let seeded = ["--seed", "1", "--seeds", &count];
    let (code, report) = lab(&[&["run", "--strategies", &ids], &size[..], &seeded[..]].concat());
    let results = report["results"].as_array().expect("a list");
    assert_eq!(results.len(), safe.len() * seeds);
    for result in results {
        check_sums(result);
        assert_eq!((number(result, "oversold"), number(result, "sold")), (0, 40), "{result}");
    }
    assert_eq!(code, Some(0));
    let racing = "unsafe-update,check-then-update,redis-check-then-set";
    let size = ["--buyers", "2000", "--stock", "200", "--levels", "64", "--seed", "7"];
    let (_, report) = lab(&[&["run", "--strategies", racing], &size[..]].concat());
    for result in report["results"].as_array().expect("a list") {
        check_sums(result);
        assert_eq!(result["verdict"], "oversold", "{result}");
        assert!(result["first_offender"].is_string(), "{result}");
    }
}

/// Runs these strategies with this fault.
fn with_fault(ways: &str, fault: &str) -> (Option<i32>, Value) {
    let size = ["--buyers", "120", "--stock", "60", "--levels", "16", "--seed", "3"];
    lab(&[&["run", "--strategies", ways, "--faults", fault], &size[..]].concat())
}

#[test]
fn no_fault_breaks_a_safe_strategy() {
    let ways = claiming("safe").join(",");
    // The runs mostly wait for buyers, so the faults run at the same time.
    std::thread::scope(|scope| {
        for fault in ["crash", "slow", "restart"] {
            let ways = &ways;
            scope.spawn(move || {
                let (code, report) = with_fault(ways, fault);
                assert_eq!(code, Some(0), "{fault}: {report}");
                report["results"].as_array().expect("a list").iter().for_each(check_sums);
            });
        }
    });
}

#[test]
fn a_restart_of_redis_breaks_a_script_in_redis() {
    let (code, report) = with_fault("redis-lua", "restart");
    assert_eq!(code, Some(0), "{report}");
    let verdict = report["results"][0]["verdict"].as_str();
    assert!(matches!(verdict, Some("lost" | "oversold" | "undersold")), "{report}");
}

#[test]
fn the_incident_happens_and_the_safer_ways_hold() {
    let begun = std::time::Instant::now();
    let (code, report) = lab(&["incident", "--variant", "redis-lock-unsafe", "--seed", "1"]);
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert_eq!(code, Some(0), "{report}");
    for seed in ["2", "3"] {
        let (code, report) = lab(&["incident", "--seed", seed]);
        assert_eq!(code, Some(0), "{report}");
        let variants = report["variants"].as_array().expect("a list");
        let oversold = |id: &str| {
            let found = variants.iter().find(|variant| variant["strategy"] == id);
            number(found.expect("it ran"), "oversold")
        };
        for id in ["redis-lock-fenced", "redis-lua", "doorbuster-embedded"] {
            assert_eq!(oversold(id), 0, "{id}");
        }
        // The lock without renewal ends during the work. The renewal works unless the machine
        // pauses the process for longer than the lock lasts.
        let (unsafe_lock, lock) = (oversold("redis-lock-unsafe"), oversold("redis-lock"));
        assert!(unsafe_lock > 0 && lock > 0, "{unsafe_lock} {lock}");
        assert!(oversold("redis-lock-renewed") < lock, "{report}");
        assert!(variants[0]["timeline"].as_array().is_some_and(|story| story.len() > 50));
    }
}

#[test]
fn a_small_headline_holds() {
    let (code, report) = lab(&["headline", "--rate", "500", "--secs", "2"]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["ok"], true, "{report}");
    let (orders, reserved) = (number(&report, "orders"), number(&report, "reserved"));
    assert!(orders == reserved && orders > 0, "{report}");
    assert_eq!((number(&report, "oversold"), number(&report, "lost_answers")), (0, 0));
    assert_eq!(report["audit"]["ok"], true);
    assert_eq!(report["findings"], json!([]));
    assert!(number(&report["machine"], "cores") > 0, "{report}");
}

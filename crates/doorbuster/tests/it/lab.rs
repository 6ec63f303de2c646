//! Tests the command `lab`: runs every strategy at a small size, on real servers. The tests
//! calculate the expected sums themselves.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::test_server::{TempDir, program, run, signal, until, wait};

/// The number of seeds with which the safe strategies run. `cargo xtask lab` runs more seeds.
const SEEDS: usize = 3;

/// Runs a command of `lab`. Returns its exit code and the JSON that it prints.
#[track_caller]
fn lab(arguments: &[&str]) -> (Option<i32>, Value) {
    let temp_dir = TempDir::new();
    let ran = run(program(&temp_dir).arg("lab").args(arguments).arg("--json"));
    assert!(!ran.out().is_empty(), "{arguments:?}: {}", ran.err());
    (ran.code(), ran.json())
}

fn claiming(claim: &str) -> Vec<String> {
    let (_, list) = lab(&["list"]);
    let all = list["strategies"].as_array().expect("a list").iter();
    let ids = all.filter(|strategy| strategy["claim"] == claim);
    ids.map(|strategy| strategy["id"].as_str().expect("a text").to_owned()).collect()
}

fn number(result: &Value, member: &str) -> i64 {
    result[member].as_i64().unwrap_or_else(|| panic!("{member} is not a number: {result}"))
}

fn check_sums(result: &Value) {
    let (stock, sold) = (number(result, "stock"), number(result, "sold"));
    assert_eq!(number(result, "oversold"), (sold - stock).max(0), "{result}");
    assert!(number(result, "unsold") <= (stock - sold).max(0), "{result}");
    let kinds = ["sold", "sold_out", "refused", "no_answer"];
    let answers = kinds.map(|kind| number(&result["answers"], kind));
    assert_eq!(answers.iter().sum::<i64>(), number(result, "started"), "{result}");
    let all_started = number(result, "started") == number(result, "buyers");
    assert_eq!(result["stopped_early"], !all_started, "{result}");
    let busy = result["driver_busy"].as_f64().expect("a number");
    assert!(busy > 0.0 && busy <= 1.05, "{result}");
    let p = |name: &str| result["latency_ms"][name].as_f64().expect("a number");
    assert!(p("p50") <= p("p99") && p("p99") <= p("max"), "{result}");
}

/// Every strategy with its family and its claim, in the order of `lab list`.
const LISTED: &str = "\
unsafe-update database unsafe
check-then-update database unsafe
pessimistic-lock database safe
conditional-update database safe
optimistic-version database safe
staging-table queue safe
single-consumer-queue queue safe
unit-rows database safe
redis-check-then-set redis unsafe
redis-incrby redis safe_without_faults
redis-lock-unsafe redis unsafe
redis-lock redis safe_without_faults
redis-lock-fenced redis safe
redis-lua redis safe_without_faults
redis-lua-queue combined safe_without_faults
redis-lua-outbox combined safe_without_faults
lock-and-cache combined safe
redis-then-database combined safe_without_faults
partitioned-redis redis safe_without_faults
sub-domains combined safe_without_faults
combined combined safe
doorbuster-embedded doorbuster safe
doorbuster-postgres doorbuster safe
doorbuster-cluster doorbuster safe
";

#[test]
fn the_list_has_every_strategy_with_its_family_its_claim_and_its_source() {
    let (_, list) = lab(&["list"]);
    let text = |strategy: &Value, member: &str| strategy[member].as_str().unwrap_or("").to_owned();
    let mut listed = String::new();
    for strategy in list["strategies"].as_array().expect("a list") {
        let words = ["id", "family", "claim"].map(|member| text(strategy, member));
        listed += &format!("{}\n", words.join(" "));
        assert!(!text(strategy, "title").is_empty(), "{strategy}");
        assert!(!text(strategy, "source").is_empty(), "{strategy}");
    }
    assert_eq!(listed, LISTED);
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
    let settings = report["settings"].to_string();
    for part in ["max_wal_size = ", "appendonly", "doorbuster-embedded: ", "doorbuster-cluster: "] {
        assert!(settings.contains(part), "{part} is not in {settings}");
    }
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
    let output = child.wait_with_output().expect("a child process");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!((code, &report["interrupted"]), (Some(1), &json!(true)), "{report}");
    assert_eq!(report["results"], json!([]), "an unfinished run must have no result");
    let left = temp_dir.entries();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_interrupted_run_reports_the_results_of_whole_runs() {
    let temp_dir = TempDir::new();
    let out = TempDir::new();
    let dir = out.join("report");
    // The command makes so many short runs that it has not finished when the test interrupts it.
    let ways = ["lab", "run", "--strategies", "unit-rows", "--levels", "4", "--seeds", "1000"];
    let mut child = program(&temp_dir)
        .args(ways)
        .args(["--buyers", "20", "--stock", "8", "--seed", "1", "--json", "--out"])
        .arg(&dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut begun = std::collections::BTreeSet::new();
    until("the third run has begun", || {
        // At the start of each run, the log of its workers is written anew. So each new
        // modification time of the log is the start of another run.
        for dir in temp_dir.entries() {
            let log = std::fs::metadata(dir.join("workers.log"));
            begun.extend(log.and_then(|log| log.modified()).ok());
        }
        (begun.len() >= 3).then_some(())
    });
    signal(&child, "INT");
    let code = wait(&mut child);
    let output = child.wait_with_output().expect("a child process");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!((code, &report["interrupted"]), (Some(1), &json!(true)), "{report}");
    let results = report["results"].as_array().expect("a list");
    assert!((1..1_000).contains(&results.len()), "{report}");
    for result in results {
        check_sums(result);
        assert_eq!((result["verdict"].as_str(), number(result, "sold")), (Some("held"), 8));
    }
    let file = std::fs::read_to_string(dir.join("report.json")).expect("a report");
    assert_eq!(serde_json::from_str::<Value>(&file).expect("JSON"), report);
    assert!(dir.join("report.html").exists() && dir.join("report.md").exists());
    assert!(temp_dir.entries().is_empty(), "{:?}", temp_dir.entries());
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
        // Each buyer wants two units. Of the 21 units, 10 buyers get two units each, and one unit
        // is left.
        assert!(is_unsafe || number(result, "sold") == 20, "{result}");
    }
    assert_eq!(code, Some(0));
}

#[test]
fn safe_strategies_never_oversell_and_unsafe_ones_do() {
    let safe = claiming("safe");
    let (ids, count) = (safe.join(","), SEEDS.to_string());
    let size = ["--buyers", "120", "--stock", "40", "--levels", "32"];
    let seeded = ["--seed", "1", "--seeds", &count];
    let (code, report) = lab(&[&["run", "--strategies", &ids], &size[..], &seeded[..]].concat());
    let results = report["results"].as_array().expect("a list");
    assert_eq!(results.len(), safe.len() * SEEDS);
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

fn with_fault(ways: &str, fault: &str) -> (Option<i32>, Value) {
    let size = ["--buyers", "120", "--stock", "60", "--levels", "16", "--seed", "3"];
    lab(&[&["run", "--strategies", ways, "--faults", fault], &size[..]].concat())
}

/// Returns whether a strategy uses a database. The fault `slow` affects these strategies and no
/// others.
fn uses_database(id: &str) -> bool {
    let in_redis = ["redis-check-then-set", "redis-incrby", "redis-lua", "partitioned-redis"];
    id != "doorbuster-embedded" && !in_redis.contains(&id)
}

#[test]
fn every_strategy_keeps_its_claim_with_each_fault() {
    let groups = ["safe", "safe_without_faults,unsafe"]
        .map(|claims| claims.split(',').flat_map(claiming).collect::<Vec<_>>());
    // The runs for all faults take place at the same time, because they mostly wait.
    std::thread::scope(|scope| {
        for fault in ["crash", "slow", "restart"] {
            for group in &groups {
                scope.spawn(move || {
                    // This strategy is left out for `crash`: after a crash, its lock may never end,
                    // and the run would take minutes.
                    let ends = |id: &&String| fault != "crash" || *id != "redis-lock-unsafe";
                    let ways: Vec<String> = group.iter().filter(ends).cloned().collect();
                    let (code, report) = with_fault(&ways.join(","), fault);
                    assert_eq!(code, Some(0), "{fault}: {report}");
                    assert_eq!(report["failures"], json!([]), "{fault}");
                    let results = report["results"].as_array().expect("a list");
                    assert_eq!(results.len(), ways.len(), "{fault}: {report}");
                    for result in results {
                        check_sums(result);
                        let id = result["strategy"].as_str().expect("a text");
                        let is_slow = fault != "slow" || uses_database(id);
                        assert!(fault == "restart" || result["applies"] == is_slow, "{result}");
                        // These strategies survive a crash: `redis-lua` records each booking in
                        // Redis, and `redis-lua-outbox` writes a row into a table before its script
                        // deducts the units in Redis.
                        let survives = ["redis-lua", "redis-lua-outbox"].contains(&id);
                        let held = result["verdict"] == "held";
                        assert!(fault != "crash" || !survives || held, "{result}");
                    }
                });
            }
        }
    });
}

#[test]
fn a_restart_of_redis_breaks_a_script_in_redis() {
    // In the run with seed 1, Redis has the data of a snapshot after its restart. In the run with
    // seed 2, Redis is empty after its restart.
    let size = ["--buyers", "120", "--stock", "60", "--levels", "16"];
    let seeded = ["--faults", "restart", "--seed", "1", "--seeds", "2"];
    let (code, report) = lab(&[&["run", "--strategies", "redis-lua"], &size[..], &seeded].concat());
    assert_eq!(code, Some(0), "{report}");
    let results = report["results"].as_array().expect("a list");
    let is_empty: Vec<bool> = results.iter().map(|result| number(result, "sold") == 0).collect();
    assert_eq!(is_empty, [false, true], "{report}");
    for result in results {
        check_sums(result);
        let verdict = result["verdict"].as_str();
        assert!(matches!(verdict, Some("lost" | "oversold" | "undersold")), "{report}");
    }
}

#[test]
fn the_incident_happens_and_the_safer_ways_hold() {
    let begun = std::time::Instant::now();
    let (code, report) = lab(&["incident", "--variant", "redis-lock-unsafe", "--seed", "1"]);
    assert!(begun.elapsed().as_secs() < 20, "too slow: {:?}", begun.elapsed());
    assert_eq!(code, Some(0), "{report}");
    for seed in ["2", "3"] {
        let (code, report) = lab(&["incident", "--seed", seed]);
        assert_eq!(code, Some(0), "{report}");
        let variants = report["variants"].as_array().expect("a list");
        let variant = |id: &str| {
            let found = variants.iter().find(|variant| variant["strategy"] == id);
            found.expect("the strategy ran")
        };
        let oversold = |id: &str| number(variant(id), "oversold");
        for id in ["redis-lock-fenced", "redis-lua", "doorbuster-embedded"] {
            assert_eq!((oversold(id), &variant(id)["verdict"]), (0, &"held".into()), "{id}");
        }
        assert_eq!(variant("redis-lock-unsafe")["verdict"], "oversold");
        // The lock of `redis-lock` ends during the work, because it is not renewed. The lock of
        // `redis-lock-renewed` ends early only if the process is paused for longer than the lock
        // lasts.
        let (unsafe_lock, lock) = (oversold("redis-lock-unsafe"), oversold("redis-lock"));
        assert!(unsafe_lock > 0 && lock > 0, "both locks must oversell: {unsafe_lock}, {lock}");
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

//! `lab`: every strategy at a small size, on real servers, with sums that the test calculates in
//! another way.

use serde_json::Value;

use crate::test_server::{TempDir, program, run};

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
    let sum: i64 =
        result["answers"].as_object().expect("an object").values().filter_map(Value::as_i64).sum();
    assert!(sum > 0, "{result}");
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
    for arguments in [
        ["lab", "run", "--strategies", "no-such-way"],
        ["lab", "run", "--levels", "0"],
        ["lab", "run", "--faults", "flood"],
        ["lab", "incident", "--variant", "unit-rows"],
    ] {
        let ran = run(program(&TempDir::new()).args(arguments));
        assert_eq!(ran.code(), Some(2), "{arguments:?}: {}", ran.err());
    }
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

#[test]
fn faults_do_not_break_a_safe_strategy_and_a_restart_breaks_redis() {
    let ways = "conditional-update,redis-lock-fenced,doorbuster-embedded,redis-lua";
    let size = ["--buyers", "200", "--stock", "60", "--levels", "16", "--seed", "3"];
    let (code, report) =
        lab(&[&["run", "--strategies", ways, "--faults", "crash,restart"], &size[..]].concat());
    assert_eq!(code, Some(0), "{report}");
    let results = report["results"].as_array().expect("a list");
    let lua = results.iter().find(|r| r["strategy"] == "redis-lua" && r["faults"] == "restart");
    let verdict = lua.expect("it ran")["verdict"].as_str();
    assert!(matches!(verdict, Some("lost" | "oversold" | "undersold")), "{report}");
}

#[test]
fn the_incident_happens_and_the_safer_ways_hold() {
    let begun = std::time::Instant::now();
    let (code, report) = lab(&["incident", "--seed", "7"]);
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    assert_eq!(code, Some(0), "{report}");
    let variants = report["variants"].as_array().expect("a list");
    let oversold = |id: &str| {
        let found = variants.iter().find(|variant| variant["strategy"] == id);
        number(found.expect("it ran"), "oversold")
    };
    assert!(oversold("redis-lock-unsafe") > 0);
    for id in ["redis-lock-fenced", "redis-lua", "doorbuster-embedded"] {
        assert_eq!(oversold(id), 0, "{id}");
    }
    assert!(variants[0]["timeline"].as_array().is_some_and(|story| story.len() > 50));
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
}

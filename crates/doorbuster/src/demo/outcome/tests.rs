//! Tests the outcomes of demos: outcomes whose results match, and each kind of mismatch.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::summary;
use super::{DemoOutcome, ServerMetrics};
use crate::table::grouped;

/// Returns the outcome of a demo without mismatches.
fn good(buyers: u32, units: u32, stock: u32) -> DemoOutcome {
    let orders = u64::from(buyers.min(stock / units));
    let (sold, refused) = (orders * u64::from(units), u64::from(buyers) - orders);
    let left = u64::from(stock) - sold;
    let mut answers = json!({});
    for (kind, count) in [("reserved", orders), ("sold_out", refused)] {
        if count > 0 {
            answers[kind] = json!(count);
        }
    }
    let latency = json!({"p50": 1.0, "p99": 2.0, "max": 3.0});
    let storm = json!({
        "url": "http://127.0.0.1:1", "sale": "demo", "item": "phone", "buyers": buyers,
        "units_each": units,
        "answers": answers, "lost_answers": 0, "replayed": 0, "queued": 0, "told_by_event": 0,
        "told_by_poll": 0,
        "retries": 0, "overloaded_retries": 0, "rate_limited_retries": 0, "server_error_retries": 0,
        "connection_errors": 0, "faults": {}, "requests": buyers, "elapsed_ms": 250,
        "answers_per_second": 40_000.0,
        "latency_ms": latency, "reserved_latency_ms": latency, "connections": 512, "workers": 1,
        "generator_cores": 0.5,
        "seed": 7,
        "first_sent_at": "2026-11-20T10:00:00Z"
    });
    let row = json!({
        "item": "phone", "total": stock, "pool": 0, "in_slots": left, "held": sold, "paid": 0
    });
    let mut item = row.clone();
    item["sale"] = json!("demo");
    let audit = json!({
        "ok": true, "checked_at": "2026-11-20T10:00:01.000Z", "repairs": 0, "findings": [],
        "notices": [],
        "items": [item], "orders_checked": orders, "answers_checked": buyers
    });
    DemoOutcome {
        buyers,
        units,
        stock,
        storm: serde_json::from_value(storm).expect("a storm's report"),
        row: serde_json::from_value(row).expect("a row of stock"),
        audit: serde_json::from_value(audit).expect("an auditor's report"),
        used: ServerMetrics { tickets_settled: orders, cpu_seconds: 0.1 },
        stopped: Ok(()),
    }
}

#[test]
fn a_demo_without_mismatches_ends_with_its_verdict() {
    let check = |buyers, units, stock, line: &str| {
        let outcome = good(buyers, units, stock);
        assert_eq!(outcome.mismatches(), [""; 0], "{buyers} buyers, {units} each, of {stock}");
        assert!(outcome.report().ok);
        let text = summary::render(&outcome, &outcome.report(), &outcome.mismatches());
        assert!(text.trim_end().ends_with(line), "{text}");
        // In `good`, the servers used 0.1 s of processor time. So the number of answers for one
        // core and one second is ten times the number of buyers.
        let per_core = format!("{} answers a second per core", grouped(u64::from(buyers) * 10));
        assert!(text.contains(&per_core), "{text}");
    };
    check(
        10_000,
        10,
        100,
        "10 orders of 10 each. 100 of 100 units sold. Nothing oversold, nothing lost.",
    );
    check(
        10_000,
        10,
        101,
        "10 orders of 10 each. 100 of 101 units sold, 1 left. Nothing oversold, nothing lost.",
    );
    check(
        1,
        3,
        100,
        "1 order of 3 each. 3 of 100 units sold, 97 left. Nothing oversold, nothing lost.",
    );
    check(5, 10, 0, "0 orders of 10 each. 0 of 0 units sold. Nothing oversold, nothing lost.");
    check(
        100_000,
        1,
        1_000_000,
        "100,000 orders of 1 each. 100,000 of 1,000,000 units sold, 900,000 left. Nothing \
         oversold, nothing lost.",
    );
    check(
        3,
        1_000_000,
        1_000_000_000,
        "3 orders of 1,000,000 each. 3,000,000 of 1,000,000,000 units sold, 997,000,000 left. \
         Nothing oversold, nothing lost.",
    );
}

/// Changes one value of a good outcome, and checks that a reported mismatch contains `words`.
#[track_caller]
fn wrong(words: &str, spoil: impl FnOnce(&mut DemoOutcome)) {
    let mut outcome = good(10_000, 10, 100);
    spoil(&mut outcome);
    let faults = outcome.mismatches();
    assert!(faults.iter().any(|fault| fault.contains(words)), "{words}: {faults:?}");
    assert!(!outcome.report().ok);
    assert!(
        summary::render(&outcome, &outcome.report(), &faults)
            .contains("The results do not match.\n")
    );
}

fn set(counts: &mut BTreeMap<String, u64>, kind: &str, count: u64) {
    counts.insert(kind.into(), count);
}

#[test]
fn each_mismatch_is_reported() {
    wrong("reserved answers: 11 instead of 10", |outcome| {
        set(&mut outcome.storm.answers, "reserved", 11)
    });
    wrong("final answers: 9,999 instead of 10,000", |outcome| {
        set(&mut outcome.storm.answers, "sold_out", 9_989)
    });
    wrong("answers lost: 1 instead of 0", |outcome| outcome.storm.lost_answers = 1);
    wrong("buyers: 9,999", |outcome| outcome.storm.buyers = 9_999);
    wrong("unexpected answers: limit_reached", |outcome| {
        set(&mut outcome.storm.answers, "limit_reached", 1)
    });
    wrong("unexpected answers: http_500", |outcome| set(&mut outcome.storm.faults, "http_500", 1));
    wrong("orders: 11 instead of 10", |outcome| outcome.audit.orders_checked = 11);
    wrong("units sold: 110 instead of 100", |outcome| outcome.audit.audit.items[0].held = 110);
    wrong("sum of the sold and the unsold units: 99 instead of 100", |outcome| {
        outcome.audit.audit.items[0].held = 99
    });
    wrong("units left according to the server: 1 instead of 0", |outcome| {
        outcome.row.pool = Some(1)
    });
    wrong("units sold according to the server: 90 instead of 100", |outcome| outcome.row.held = 90);
    wrong("checked by the audit: 9,999 instead of 10,000", |outcome| {
        outcome.audit.answers_checked = 9_999
    });
    wrong("slots restarted with a new epoch: 1 instead of 0", |outcome| {
        outcome.audit.audit.repairs = 1
    });
    wrong("10,000 requests reached the store for 10 orders", |outcome| {
        outcome.used.tickets_settled = 10_000
    });
    wrong("9 requests reached the store", |outcome| outcome.used.tickets_settled = 9);
    wrong("did not stop", |outcome| outcome.stopped = Err("the server did not stop".into()));
    wrong("audit finding I2: 3 units are missing", |outcome| {
        let finding =
            json!({"rule": "I2", "sale": "demo", "item": "phone", "detail": "3 units are missing"});
        outcome.audit.audit.findings.push(serde_json::from_value(finding).expect("a finding"));
    });
}

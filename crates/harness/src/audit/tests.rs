//! Tests of the auditor. Each test damages a consistent store in one way, and the auditor must
//! report the broken rule.

mod clock;
mod fixture;
mod location;
mod money;
mod postgres;
mod promises;
mod stock;
mod waitlist;

use std::time::Instant;

use super::{AuditError, AuditReport, StoreLocation, run};
use fixture::{OPENED, StoreFixture, order_id_of, ticket};
use promises::line;

fn audit(fixture: &StoreFixture) -> AuditReport {
    run(&StoreLocation::Sqlite(fixture.path()), None).expect("the audit runs")
}

fn found(report: &AuditReport) -> Vec<(&str, &str)> {
    report.audit.findings.iter().map(|finding| (&*finding.rule, &*finding.detail)).collect()
}

/// Runs `sql`, which damages a consistent store. The auditor must report `rule` with a text that
/// contains `words`.
#[track_caller]
fn breaks(sql: &str, rule: &str, words: &str) {
    let fixture = StoreFixture::consistent();
    fixture.run(sql);
    let report = audit(&fixture);
    assert!(!report.audit.ok);
    let found = found(&report);
    assert!(
        found.iter().any(|(its_rule, detail)| *its_rule == rule && detail.contains(words)),
        "no finding of rule {rule} contains {words:?}: {found:#?}"
    );
}

#[test]
fn a_consistent_store_has_no_finding_and_its_report_locates_every_unit() {
    let report = audit(&StoreFixture::consistent());
    assert_eq!(found(&report), []);
    let notices: Vec<_> =
        report.audit.notices.iter().map(|notice| (&*notice.kind, notice.order.clone())).collect();
    assert_eq!(notices, [("mismatch", Some(order_id_of("ann")))]);
    assert_eq!((report.audit.ok, report.audit.repairs, report.orders_checked), (true, 0, 7));
    let json = serde_json::to_value(&report).expect("plain values");
    assert_eq!(
        json["items"],
        serde_json::json!([
            {
                "sale": "spring", "item": "phone", "total": 100, "pool": 42, "in_slots": 33,
                "held": 10, "paid": 15,
            },
            {
                "sale": "spring", "item": "pen", "total": null, "pool": null, "in_slots": null,
                "held": 3, "paid": 0,
            },
        ])
    );
    assert!(json["checked_at"].as_str().is_some_and(|at| at.ends_with('Z')));
}

#[test]
fn the_rows_of_the_fixture_satisfy_the_constraints_of_the_schema() {
    assert_eq!(found(&audit(&StoreFixture::strict().with_consistent_rows())), []);
}

#[test]
fn the_auditor_reads_one_snapshot_while_another_connection_writes() {
    let fixture = StoreFixture::consistent();
    fixture
        .run("PRAGMA journal_mode = WAL; UPDATE item SET title = 'still in the log' WHERE id = 1");
    fixture.run("BEGIN IMMEDIATE; UPDATE item SET pool = 0");
    assert_eq!(found(&audit(&fixture)), [], "uncommitted changes must not be read");
    fixture.run("COMMIT");
    assert!(!audit(&fixture).audit.ok, "committed changes in the WAL must be read");
    fixture.run("UPDATE item SET pool = 42 WHERE id = 1");
    let (store, _dir) = fixture.closed();
    let report = run(&store, None).expect("the store can be read while no server has it open");
    assert_eq!(found(&report), []);
}

#[test]
fn a_ticket_without_exactly_one_valid_verdict_is_found() {
    breaks(
        "UPDATE resolution SET n = 3 WHERE n = 2 AND grant_id = 12",
        "I8",
        "number 3 of grant 12 has two verdicts",
    );
    breaks(
        "UPDATE orders SET n = 1 WHERE id = '{cat}'",
        "I8",
        "number 1 of grant 12 has two verdicts",
    );
    breaks(
        "UPDATE resolution SET n = 8 WHERE n = 7",
        "I8",
        "7 resolved tickets up to number 7, but the store has 7 up to number 8",
    );
    breaks(
        "UPDATE slot_grant SET resolved = 6 WHERE id = 12",
        "I8",
        "grant 12 counts 6 resolved tickets",
    );
    breaks(
        "UPDATE slot_grant SET max_n = 1 WHERE id = 21",
        "I8",
        "grant 21 counts 0 resolved tickets up to number 1",
    );
    breaks(
        "UPDATE resolution SET ticket = '{cat}' WHERE n = 7",
        "I8",
        "became an order and was also returned",
    );
    breaks("UPDATE resolution SET ticket = '{12:2}' WHERE n = 7", "I8", "was returned twice");
    breaks(
        "UPDATE resolution SET grant_id = 99 WHERE n = 7",
        "I8",
        "grant 99, which does not exist",
    );
    breaks(
        "UPDATE resolution SET verdict = 'sold' WHERE n = 7",
        "I8",
        "has the invalid verdict sold",
    );
    breaks(
        "UPDATE resolution SET order_id = NULL WHERE verdict = 'order'",
        "I8",
        "has the invalid verdict order with order none",
    );
    breaks(
        "UPDATE resolution SET order_id = 'ord_x' WHERE verdict = 'order'",
        "I3",
        "names order ord_x, which does not exist",
    );
    breaks("UPDATE resolution SET ticket = 'x' WHERE n = 7", "I8", "ticket x has an invalid id");
    breaks(
        "DELETE FROM resolution WHERE n IS NULL",
        "I8",
        "is a dead letter, but was not returned",
    );
}

#[test]
fn an_id_that_contradicts_its_order_is_found() {
    breaks(
        "UPDATE orders SET id = 'ord_x' WHERE id = '{ann}'",
        "I8",
        "order ord_x has an invalid id",
    );
    breaks("UPDATE orders SET id = '{bob}' WHERE id = '{ann}'", "I8", "two orders have the id");
    breaks(
        "UPDATE orders SET units = 9 WHERE id = '{ann}'",
        "I8",
        "its id says grant 11, number 1 and 10 units",
    );
    let late = format!(
        "UPDATE orders SET reserved_at = {0}, pay_by = {0} + 900000 WHERE id = '{{ann}}'",
        OPENED + 10_001
    );
    breaks(&late, "I8", "was reserved 1 ms after its decide_by");
}

#[test]
fn an_order_with_impossible_values_is_found() {
    breaks(
        "UPDATE orders SET buyer = 'bob', request_key = 'k-bob' WHERE id = '{ann}'",
        "I8",
        "bob's request \"k-bob\" has two orders",
    );
    breaks(
        "UPDATE orders SET item_id = 9 WHERE id = '{ann}'",
        "I2",
        "names item 9, which does not exist",
    );
    breaks(
        "UPDATE orders SET grant_id = 31 WHERE id = '{ann}'",
        "I2",
        "settled under grant 31, which does not belong to item",
    );
    let sooner = "UPDATE orders SET pay_by = pay_by - 1 WHERE id = '{ann}';
                  UPDATE event SET pay_by = pay_by - 1 WHERE grant_id = 11 AND n = 1";
    breaks(sooner, "order", "is not 900000 ms");
    breaks("UPDATE orders SET units = 0 WHERE id = '{ann}'", "order", "has 0 units");
    breaks("UPDATE orders SET state = 'lost' WHERE id = '{ann}'", "order", "is lost");
    breaks("UPDATE orders SET paid_at = NULL WHERE id = '{bob}'", "order", "is paid, paid never");
    breaks("UPDATE orders SET ended_at = reserved_at WHERE id = '{ann}'", "order", "is reserved");
    breaks(
        "UPDATE orders SET ended_at = pay_by - 3 WHERE id = '{gus}'",
        "order",
        "expired 3 ms before its payment window ended",
    );
}

#[test]
fn an_order_outside_of_its_sale_is_found() {
    breaks(
        "UPDATE sale SET opened_at = opened_at + 1001",
        "phase",
        "was reserved 1 ms before the sale opened",
    );
    breaks(
        "UPDATE sale SET opened_at = NULL, phase = 'draft'",
        "phase",
        "never opened (phase \"draft\")",
    );
    breaks(
        "UPDATE sale SET closed_at = opened_at + 998, phase = 'closed'",
        "phase",
        "was reserved 2 ms after the sale closed",
    );
}

#[test]
fn an_exceeded_limit_and_a_wrong_quota_are_found() {
    breaks(
        "UPDATE item SET limit_per_buyer = 9 WHERE id = 1",
        "I4",
        "ann holds 10 units, but the limit is 9",
    );
    breaks(
        "UPDATE orders SET buyer = 'ann' WHERE id = '{bob}'",
        "I4",
        "ann holds 20 units, but the limit is 10",
    );
    breaks(
        "UPDATE quota SET used = 9 WHERE buyer = 'ann'",
        "I4",
        "ann's quota is 9, but the active orders have 10",
    );
    breaks(
        "UPDATE quota SET used = 10 WHERE buyer = 'cat'",
        "I4",
        "cat's quota is 10, but the active orders have 0",
    );
    breaks(
        "DELETE FROM quota WHERE buyer = 'bob'",
        "I4",
        "bob has orders (10 active units), but no quota row",
    );
    breaks(
        "INSERT INTO quota VALUES ('zoe', 1, 2)",
        "I4",
        "zoe's quota is 2, but the active orders have 0",
    );
}

#[test]
fn repairs_are_counted_and_a_clock_that_went_back_gives_a_notice() {
    let fixture = StoreFixture::consistent();
    fixture.run("UPDATE slot_grant SET closed_cause = 'number_reused' WHERE id = 11");
    fixture.run("UPDATE orders SET ended_at = reserved_at - 1 WHERE id = '{cat}'");
    fixture.run(
        "UPDATE orders SET reserved_at = reserved_at - 5000, pay_by = pay_by - 5000
         WHERE id = '{eve}'",
    );
    fixture.run("UPDATE event SET at = at - 5000, pay_by = pay_by - 5000 WHERE grant_id = 31");
    fixture.run(
        "UPDATE event SET ended_at = (SELECT ended_at FROM orders WHERE id = '{cat}')
         WHERE type = 'order.cancelled' AND n = 3",
    );
    let report = audit(&fixture);
    assert_eq!(found(&report), []);
    assert_eq!((report.audit.ok, report.audit.repairs), (true, 1));
    let orders: Vec<_> =
        report.audit.notices.iter().map(|notice| (&*notice.kind, notice.order.clone())).collect();
    let expected = [("clock", "cat"), ("clock", "eve"), ("mismatch", "ann")];
    assert_eq!(orders, expected.map(|(kind, name)| (kind, Some(order_id_of(name)))));
}

#[test]
fn an_unreadable_store_or_answers_file_is_an_error_and_not_a_clean_report() {
    let fixture = StoreFixture::consistent();
    let store = StoreLocation::Sqlite(fixture.path());
    let garbage = fixture.answers("{\"buyer\":1}\n");
    let Err(AuditError::Answers { reason, .. }) = run(&store, Some(&garbage)) else {
        panic!("the audit must fail, because it cannot parse the answers file")
    };
    assert!(reason.contains("line 1"), "{reason}");
    assert!(matches!(
        run(&store, Some(&fixture.path().join("x"))),
        Err(AuditError::Answers { .. })
    ));
    let reason = store_error(&StoreLocation::Sqlite("/nowhere/store.db".into()));
    assert!(reason.contains("does not exist"), "{reason}");
    fixture.run("PRAGMA application_id = 1");
    let reason = store_error(&store);
    assert!(reason.contains("not a store"), "{reason}");
    fixture.run("PRAGMA application_id = 1147302477; DROP TABLE quota");
    let reason = store_error(&store);
    assert!(reason.contains("quota"), "{reason}");
}

#[track_caller]
fn store_error(store: &StoreLocation) -> String {
    match run(store, None) {
        Err(AuditError::Store { reason, .. }) => reason,
        other => panic!("the store must not be readable: {other:?}"),
    }
}

#[test]
fn more_than_twenty_findings_of_one_rule_are_counted() {
    let fixture = StoreFixture::consistent();
    for number in 0..50 {
        fixture.run(&format!("INSERT INTO quota VALUES ('zoe-{number}', 1, 2)"));
    }
    let report = audit(&fixture);
    assert_eq!(report.audit.findings.len(), 21);
    assert_eq!(report.audit.findings[20].detail, "and 30 more findings of this rule");
}

/// Returns a store with `count` orders of different buyers, and the answers to these buyers.
fn big(count: i64) -> (StoreFixture, String) {
    let fixture = StoreFixture::strict();
    fixture.run(&format!(
        "INSERT INTO sale (id, title, phase, front_door, version, created_at, opened_at)
         VALUES ('spring', 'Spring', 'open', '{{}}', 1, 0, {OPENED});
         INSERT INTO item (id, sale_id, name, title, description, price_minor, currency,
                           limit_per_buyer, hold_ms, initial_total, total, pool, ended, paid)
         VALUES (1, 'spring', 'phone', '', '', 1, 'CNY', 1, 1000, {count}, {count}, 0, 0, 0);
         INSERT INTO slot_grant (id, item_id, slot, epoch, granted, settled, counted, open, acked,
                                 max_n, resolved, feed_len, closed_cause, opened_at, closed_at)
         VALUES (1, 1, 0, 1, {count}, {count}, 1, 1, 1, {count}, {count}, 0, NULL, 0, NULL);"
    ));
    let mut answers = String::new();
    fixture.run("BEGIN");
    let sql = "INSERT INTO orders (id, buyer, request_key, item_id, units, state, grant_id, n,
                                   reserved_at, pay_by)
               VALUES (?1, ?2, ?3, 1, 1, 'reserved', 1, ?4, ?5, ?5 + 1000)";
    for n in 1..=count {
        let (id, buyer) = (ticket(1, n, 1), format!("buyer-{n}"));
        let mut insert = fixture.db.prepare_cached(sql).expect("the schema has orders");
        insert.execute((&id, &buyer, format!("k-{buyer}"), n, OPENED)).expect("a free id");
        answers += &line(&buyer, 1, 201, "", &id, "reserved");
    }
    fixture.run(
        "INSERT INTO event (type, grant_id, n, at, actor, pay_by)
         SELECT 'order.reserved', 1, n, reserved_at, 'buyer', pay_by FROM orders;
         INSERT INTO quota SELECT buyer, 1, 1 FROM orders; COMMIT",
    );
    (fixture, answers)
}

mod windows {
    use super::*;

    #[test]
    fn a_hundred_thousand_orders_are_audited_in_seconds() {
        // A debug build is several times slower, so it audits fewer orders. A check whose time is
        // not linear would exceed the time limit even with fewer orders.
        let count = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
        let (fixture, answers) = big(count);
        let answers = fixture.answers(&answers);
        let started = Instant::now();
        let report =
            run(&StoreLocation::Sqlite(fixture.path()), Some(&answers)).expect("the audit runs");
        let took = started.elapsed();
        assert_eq!(found(&report), []);
        assert_eq!((report.orders_checked, report.answers_checked), (count as u64, count as u64));
        assert!(took.as_secs() < if cfg!(debug_assertions) { 4 } else { 2 }, "took {took:?}");
        println!("audited in {took:?}");
    }
}

//! The auditor against stores that are broken on purpose, one rule at a time, and against one that
//! is not.

mod fixture;
mod money;
mod postgres;
mod promises;
mod waitlist;

use std::time::Instant;

use super::{AuditError, AuditReport, StoreLocation, run};
use fixture::{OPENED, StoreFixture, order_id_of, ticket};
use promises::line;

fn audit(fixture: &StoreFixture) -> AuditReport {
    run(&StoreLocation::Sqlite(fixture.path()), None).expect("the audit takes place")
}

fn found(report: &AuditReport) -> Vec<(&str, &str)> {
    report.audit.findings.iter().map(|finding| (&*finding.rule, &*finding.detail)).collect()
}

/// Breaks a good store by `sql`; the auditor must find `rule` with these `words`.
#[track_caller]
fn breaks(sql: &str, rule: &str, words: &str) {
    let fixture = StoreFixture::consistent();
    fixture.run(sql);
    let report = audit(&fixture);
    assert!(!report.audit.ok);
    let found = found(&report);
    assert!(
        found.iter().any(|(its_rule, detail)| *its_rule == rule && detail.contains(words)),
        "no {rule} with {words:?} in {found:#?}"
    );
}

#[test]
fn a_store_that_adds_up_has_no_finding_and_says_where_every_unit_is() {
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
            {"sale": "spring", "item": "phone", "total": 100, "pool": 42, "in_slots": 33, "held": 10, "paid": 15},
            {"sale": "spring", "item": "pen", "total": null, "pool": null, "in_slots": null, "held": 3, "paid": 0},
        ])
    );
    assert!(json["checked_at"].as_str().is_some_and(|at| at.ends_with('Z')));
}

#[test]
fn the_store_that_these_tests_break_is_one_that_the_program_could_have_written() {
    assert_eq!(found(&audit(&StoreFixture::strict().with_consistent_rows())), []);
}

#[test]
fn the_auditor_reads_one_snapshot_beside_a_program_that_writes() {
    let fixture = StoreFixture::consistent();
    fixture
        .run("PRAGMA journal_mode = WAL; UPDATE item SET title = 'still in the log' WHERE id = 1");
    fixture.run("BEGIN IMMEDIATE; UPDATE item SET pool = 0");
    assert_eq!(found(&audit(&fixture)), [], "what is not committed is not the truth");
    fixture.run("COMMIT");
    assert!(!audit(&fixture).audit.ok, "what is committed is, though it only stands in the log");
    fixture.run("UPDATE item SET pool = 42 WHERE id = 1");
    let (store, _dir) = fixture.closed();
    let report = run(&store, None).expect("a store that nobody has open");
    assert_eq!(found(&report), []);
}

#[test]
fn units_that_do_not_add_up_are_found() {
    breaks(
        "UPDATE item SET pool = 41 WHERE id = 1",
        "I2",
        "total 100 is not pool 41 + in slots 33 + held 10 + paid 15",
    );
    breaks("UPDATE item SET pool = -1 WHERE id = 1", "I2", "pool is -1");
    breaks("UPDATE item SET paid = 14 WHERE id = 1", "I2", "paid says 14, paid orders have 15");
    breaks("UPDATE item SET ended = 18 WHERE id = 1", "I2", "ended says 18, ended orders have 19");
    breaks(
        "UPDATE item SET total = 20, pool = 0 WHERE id = 1",
        "I1",
        "oversold by 5: 25 units sold of 20",
    );
    breaks(
        "UPDATE item SET initial_total = NULL WHERE id = 1",
        "I2",
        "counted and unlimited at once",
    );
    breaks("UPDATE item SET pool = 1 WHERE id = 2", "I2", "unlimited, with 1 units in the pool");
    breaks("DELETE FROM sale", "I2", "its sale \"spring\" does not exist");
}

#[test]
fn a_total_that_is_not_its_ledger_is_found() {
    breaks(
        "UPDATE adjustment SET units = 21 WHERE seq = 1",
        "I2",
        "adjustment 1 says total 110, the ledger adds up to 111",
    );
    breaks(
        "DELETE FROM adjustment WHERE seq = 2",
        "I2",
        "total 100 is not 90 and its adjustments, which make 110",
    );
    breaks("UPDATE adjustment SET item_id = 2", "I2", "unlimited, and its total was adjusted");
}

#[test]
fn grants_that_gave_more_than_they_had_are_found() {
    breaks(
        "UPDATE slot_grant SET granted = 28 WHERE id = 12",
        "I1",
        "grant 12 settled 29 of 28 granted",
    );
    breaks(
        "UPDATE slot_grant SET settled = 28 WHERE id = 12",
        "I2",
        "grant 12 settled 28, its orders have 29",
    );
    breaks(
        "UPDATE slot_grant SET granted = 5 WHERE id = 31",
        "I2",
        "grant 31 of unlimited stock was granted 5",
    );
    breaks(
        "UPDATE slot_grant SET counted = 0 WHERE id = 21",
        "I2",
        "differ on whether stock is counted",
    );
    breaks("UPDATE slot_grant SET item_id = 7 WHERE id = 21", "I2", "item 7, which does not exist");
    breaks(
        "UPDATE feed SET units = 90 WHERE grant_id = 12 AND seq = 1",
        "I2",
        "grant 12 has 54, but its feed gave 92",
    );
}

#[test]
fn grants_that_are_open_and_closed_wrongly_are_found() {
    breaks(
        "UPDATE slot_grant SET open = 1, closed_at = NULL, closed_cause = NULL WHERE id = 11",
        "I2",
        "has an open grant of epoch 1 beside one of epoch 2",
    );
    breaks(
        "UPDATE slot_grant SET open = 1, closed_at = NULL, closed_cause = NULL WHERE id = 11",
        "I2",
        "total 100 is not",
    );
    breaks(
        "UPDATE slot_grant SET closed_cause = NULL WHERE id = 11",
        "I2",
        "neither open nor closed",
    );
    breaks("UPDATE slot_grant SET epoch = 2 WHERE id = 11", "I2", "two grants of epoch 2");
    breaks(
        "UPDATE slot_grant SET open = 0, closed_at = 1, closed_cause = 'ended' WHERE id = 12",
        "I2",
        "total 100 is not",
    );
    breaks(
        "UPDATE slot_grant SET open = 0, closed_at = 1, closed_cause = 'ended' WHERE id = 21",
        "I2",
        "recall 3 is pending on grant 21",
    );
}

#[test]
fn recalls_that_took_what_was_not_there_are_found() {
    breaks("UPDATE recall SET taken = 6 WHERE id = 1", "I2", "recall 1 took 6 of 5");
    breaks("UPDATE recall SET taken = 1 WHERE id = 3", "I2", "recall 3 is not done and took 1");
    breaks(
        "UPDATE recall SET grant_id = 5 WHERE id = 1",
        "I2",
        "takes from grant 5, which does not exist",
    );
    breaks(
        "UPDATE recall SET target_grant = 31 WHERE id = 2",
        "I2",
        "gives to grant 31, which is not one of its item",
    );
    breaks(
        "UPDATE recall SET taken = 1 WHERE id = 2",
        "I2",
        "recalls meant 1 units for grant 12, its feed brought 2",
    );
    breaks(
        "UPDATE recall SET done = 0 WHERE id = 2",
        "I2",
        "recalls meant 0 units for grant 12, its feed brought 2",
    );
}

#[test]
fn a_feed_with_a_gap_or_a_wrong_row_is_found() {
    breaks(
        "DELETE FROM feed WHERE grant_id = 12 AND seq = 10",
        "I6",
        "the feed of grant 12 has 9 rows, its grant says 10",
    );
    breaks(
        "UPDATE feed SET seq = 11 WHERE grant_id = 12 AND seq = 10",
        "I6",
        "has 11 where 10 belongs",
    );
    breaks(
        "UPDATE feed SET grant_id = 5 WHERE seq = 1",
        "I6",
        "a feed of grant 5, which does not exist",
    );
    breaks("UPDATE feed SET units = 0 WHERE seq = 1", "I6", "\"refill\" of 0 units");
    breaks(
        "UPDATE feed SET quota_delta = -4 WHERE seq = 2",
        "I6",
        "\"returned\" of 5 units and -4",
    );
    breaks("UPDATE feed SET units = 10 WHERE seq = 3", "I6", "\"order_ended\" of 10 units");
    breaks(
        "UPDATE feed SET quota_delta = -5 WHERE seq = 5",
        "I6",
        "\"order_revived\" of 0 units and -5",
    );
    breaks("UPDATE feed SET cause = 'gift' WHERE seq = 1", "I6", "\"gift\"");
    breaks("UPDATE feed SET buyer = NULL WHERE seq = 3", "I6", "\"order_ended\"");
}

#[test]
fn credits_that_are_missing_doubled_or_for_nothing_are_found() {
    breaks(
        "UPDATE feed SET ticket = '{12:2}' WHERE seq = 9",
        "I6",
        "was given back twice under grant 12",
    );
    breaks(
        "UPDATE feed SET ticket = '{12:2}' WHERE seq = 9",
        "I6",
        "was returned, but never given back to grant 12",
    );
    breaks("UPDATE feed SET ticket = '{11:2}' WHERE seq = 2", "I6", "but never returned there");
    breaks("UPDATE feed SET ticket = '{bob}' WHERE seq = 2", "I6", "but never returned there");
    breaks(
        "UPDATE feed SET quota_delta = -9 WHERE seq = 3",
        "I6",
        "was given back 1 too little of cat's limit",
    );
    breaks(
        "UPDATE feed SET buyer = 'bob' WHERE seq = 8",
        "I6",
        "was given back 4 too much of bob's limit",
    );
}

#[test]
fn a_ticket_with_two_verdicts_or_none_is_found() {
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
        "7 tickets resolved up to number 7; there are 7 up to 8",
    );
    breaks(
        "UPDATE slot_grant SET resolved = 6 WHERE id = 12",
        "I8",
        "grant 12 says 6 tickets resolved",
    );
    breaks(
        "UPDATE slot_grant SET max_n = 1 WHERE id = 21",
        "I8",
        "grant 21 says 0 tickets resolved up to number 1",
    );
    breaks("UPDATE resolution SET ticket = '{cat}' WHERE n = 7", "I8", "was consumed and returned");
    breaks("UPDATE resolution SET ticket = '{12:2}' WHERE n = 7", "I8", "was returned twice");
    breaks(
        "UPDATE resolution SET grant_id = 99 WHERE n = 7",
        "I8",
        "grant 99, which does not exist",
    );
    breaks("UPDATE resolution SET verdict = 'sold' WHERE n = 7", "I8", "has the verdict sold");
    breaks(
        "UPDATE resolution SET order_id = NULL WHERE verdict = 'order'",
        "I8",
        "has the verdict order for the order none",
    );
    breaks(
        "UPDATE resolution SET order_id = 'ord_x' WHERE verdict = 'order'",
        "I3",
        "told of order ord_x, which is not there",
    );
    breaks(
        "UPDATE resolution SET ticket = 'x' WHERE n = 7",
        "I8",
        "ticket x has an id that is none",
    );
    breaks(
        "DELETE FROM resolution WHERE n IS NULL",
        "I8",
        "is a dead letter, but was not returned",
    );
}

#[test]
fn an_id_that_tells_another_story_than_its_order_is_found() {
    breaks(
        "UPDATE orders SET id = 'ord_x' WHERE id = '{ann}'",
        "I8",
        "order ord_x has an id that is none",
    );
    breaks("UPDATE orders SET id = '{bob}' WHERE id = '{ann}'", "I8", "two orders have the id");
    breaks("UPDATE orders SET units = 9 WHERE id = '{ann}'", "I8", "its id says 11, 1, 10");
    let late = format!(
        "UPDATE orders SET reserved_at = {0}, pay_by = {0} + 900000 WHERE id = '{{ann}}'",
        OPENED + 10_001
    );
    breaks(&late, "I8", "was made 1 ms after its verdict was due");
}

#[test]
fn an_order_that_cannot_be_is_found() {
    breaks(
        "UPDATE orders SET buyer = 'bob', request_key = 'k-bob' WHERE id = '{ann}'",
        "I8",
        "bob's request \"k-bob\" has two orders",
    );
    breaks(
        "UPDATE orders SET item_id = 9 WHERE id = '{ann}'",
        "I2",
        "is of item 9, which does not exist",
    );
    breaks(
        "UPDATE orders SET grant_id = 31 WHERE id = '{ann}'",
        "I2",
        "settled under grant 31, which is not one of its item",
    );
    let sooner = "UPDATE orders SET pay_by = pay_by - 1 WHERE id = '{ann}'; UPDATE event SET pay_by = pay_by - 1 WHERE grant_id = 11 AND n = 1";
    breaks(sooner, "order", "is not the 900000 ms");
    breaks("UPDATE orders SET units = 0 WHERE id = '{ann}'", "order", "is of 0 units");
    breaks("UPDATE orders SET state = 'lost' WHERE id = '{ann}'", "order", "is lost");
    breaks("UPDATE orders SET paid_at = NULL WHERE id = '{bob}'", "order", "is paid, paid never");
    breaks("UPDATE orders SET ended_at = reserved_at WHERE id = '{ann}'", "order", "is reserved");
    breaks(
        "UPDATE orders SET ended_at = pay_by - 3 WHERE id = '{gus}'",
        "order",
        "expired 3 ms before it had to be paid",
    );
}

#[test]
fn a_sale_outside_its_time_is_found() {
    breaks(
        "UPDATE sale SET opened_at = opened_at + 1001",
        "phase",
        "was made 1 ms before the sale opened",
    );
    breaks(
        "UPDATE sale SET opened_at = NULL, phase = 'draft'",
        "phase",
        "never opened (phase \"draft\")",
    );
    breaks(
        "UPDATE sale SET closed_at = opened_at + 998, phase = 'closed'",
        "phase",
        "was made 2 ms after the sale closed",
    );
}

#[test]
fn a_limit_that_was_passed_or_miscounted_is_found() {
    breaks(
        "UPDATE item SET limit_per_buyer = 9 WHERE id = 1",
        "I4",
        "ann holds 10 units, the limit is 9",
    );
    breaks(
        "UPDATE orders SET buyer = 'ann' WHERE id = '{bob}'",
        "I4",
        "ann holds 20 units, the limit is 10",
    );
    breaks(
        "UPDATE quota SET used = 9 WHERE buyer = 'ann'",
        "I4",
        "ann's share says 9, active orders have 10",
    );
    breaks(
        "UPDATE quota SET used = 10 WHERE buyer = 'cat'",
        "I4",
        "cat's share says 10, active orders have 0",
    );
    breaks(
        "DELETE FROM quota WHERE buyer = 'bob'",
        "I4",
        "bob has orders (10 units now), but no share",
    );
    breaks(
        "INSERT INTO quota VALUES ('zoe', 1, 2)",
        "I4",
        "zoe's share says 2, active orders have 0",
    );
}

#[test]
fn repairs_are_counted_and_a_clock_that_went_back_is_a_notice() {
    let fixture = StoreFixture::consistent();
    fixture.run("UPDATE slot_grant SET closed_cause = 'number_reused' WHERE id = 11");
    fixture.run("UPDATE orders SET ended_at = reserved_at - 1 WHERE id = '{cat}'");
    fixture.run("UPDATE orders SET reserved_at = reserved_at - 5000, pay_by = pay_by - 5000 WHERE id = '{eve}'");
    fixture.run("UPDATE event SET at = at - 5000, pay_by = pay_by - 5000 WHERE grant_id = 31");
    fixture.run("UPDATE event SET ended_at = (SELECT ended_at FROM orders WHERE id = '{cat}') WHERE type = 'order.cancelled' AND n = 3");
    let report = audit(&fixture);
    assert_eq!(found(&report), []);
    assert_eq!((report.audit.ok, report.audit.repairs), (true, 1));
    let orders: Vec<_> =
        report.audit.notices.iter().map(|notice| (&*notice.kind, notice.order.clone())).collect();
    let expected = [("clock", "cat"), ("clock", "eve"), ("mismatch", "ann")];
    assert_eq!(orders, expected.map(|(kind, name)| (kind, Some(order_id_of(name)))));
}

#[test]
fn what_is_no_store_or_no_answer_is_an_error_and_not_a_clean_report() {
    let fixture = StoreFixture::consistent();
    let store = StoreLocation::Sqlite(fixture.path());
    let garbage = fixture.answers("{\"buyer\":1}\n");
    assert!(
        matches!(run(&store, Some(&garbage)), Err(AuditError::Answers { reason, .. }) if reason.contains("line 1"))
    );
    assert!(matches!(
        run(&store, Some(&fixture.path().join("x"))),
        Err(AuditError::Answers { .. })
    ));
    assert!(matches!(
        run(&StoreLocation::Sqlite("/nowhere/store.db".into()), None),
        Err(AuditError::StoreLocation { .. })
    ));
    fixture.run("PRAGMA application_id = 1");
    assert!(
        matches!(run(&store, None), Err(AuditError::StoreLocation { reason, .. }) if reason.contains("not a store"))
    );
    fixture.run("PRAGMA application_id = 1147302477; DROP TABLE quota");
    assert!(
        matches!(run(&store, None), Err(AuditError::StoreLocation { reason, .. }) if reason.contains("quota"))
    );
}

#[test]
fn a_store_is_named_by_file_by_directory_or_by_address() {
    let fixture = StoreFixture::consistent();
    let (file, dir) = (fixture.path(), fixture.path().parent().expect("its directory").to_owned());
    let (file_text, dir_text) = (file.display().to_string(), dir.display().to_string());
    let found = |text: &str| StoreLocation::parse(text).map_err(|error| error.to_string());
    for text in
        [&file_text, &dir_text, &format!("sqlite:{file_text}"), &format!("sqlite://{dir_text}")]
    {
        assert_eq!(found(text), Ok(StoreLocation::Sqlite(file.clone())), "{text}");
    }
    assert!(found("mysql://host/db").is_err_and(|error| error.contains("mysql is not a store")));
    std::fs::write(dir.join("other.db"), "no database").expect("a scratch file");
    assert_eq!(
        found(&dir_text),
        Ok(StoreLocation::Sqlite(file.clone())),
        "what is no store is passed over"
    );
    std::fs::copy(&file, dir.join("copy.db")).expect("a scratch file");
    assert!(found(&dir_text).is_err_and(|error| error.contains("several stores")));
    std::fs::create_dir(dir.join("empty")).expect("a scratch directory");
    assert!(found(&format!("{dir_text}/empty")).is_err_and(|error| error.contains("no store")));
}

#[test]
fn many_findings_of_one_rule_are_twenty_and_a_number() {
    let fixture = StoreFixture::consistent();
    for number in 0..50 {
        fixture.run(&format!("INSERT INTO quota VALUES ('zoe-{number}', 1, 2)"));
    }
    let report = audit(&fixture);
    assert_eq!(report.audit.findings.len(), 21);
    assert_eq!(report.audit.findings[20].detail, "and 30 more of this rule");
}

/// A store of `count` orders of one unit, by as many buyers; made in one statement each.
fn big(count: i64) -> (StoreFixture, String) {
    let fixture = StoreFixture::strict();
    fixture.run(&format!(
        "INSERT INTO sale (id, title, phase, front_door, version, created_at, opened_at)
         VALUES ('spring', 'Spring', 'open', '{{}}', 1, 0, {OPENED});
         INSERT INTO item (id, sale_id, name, title, description, price_minor, currency, limit_per_buyer, hold_ms,
                           initial_total, total, pool, ended, paid)
         VALUES (1, 'spring', 'phone', '', '', 1, 'CNY', 1, 1000, {count}, {count}, 0, 0, 0);
         INSERT INTO slot_grant (id, item_id, slot, epoch, granted, settled, counted, open, acked, max_n, resolved,
                                 feed_len, closed_cause, opened_at, closed_at)
         VALUES (1, 1, 0, 1, {count}, {count}, 1, 1, 1, {count}, {count}, 0, NULL, 0, NULL);"
    ));
    let mut answers = String::new();
    fixture.run("BEGIN");
    let sql = "INSERT INTO orders (id, buyer, request_key, item_id, units, state, grant_id, n, reserved_at, pay_by)
               VALUES (?1, ?2, ?3, 1, 1, 'reserved', 1, ?4, ?5, ?5 + 1000)";
    for n in 1..=count {
        let (id, buyer) = (ticket(1, n, 1), format!("buyer-{n}"));
        let mut insert = fixture.db.prepare_cached(sql).expect("the schema has orders");
        insert.execute((&id, &buyer, format!("k-{buyer}"), n, OPENED)).expect("a free id");
        answers += &line(&buyer, 1, 201, "", &id, "reserved");
    }
    fixture.run(
        "INSERT INTO event (type, grant_id, n, at, actor, pay_by) SELECT 'order.reserved', 1, n, reserved_at, 'buyer', pay_by FROM orders;
         INSERT INTO quota SELECT buyer, 1, 1 FROM orders; COMMIT",
    );
    (fixture, answers)
}

#[test]
fn a_hundred_thousand_orders_are_audited_in_seconds() {
    // An unoptimised build, several times slower, gets a fifth of the orders; its bound still
    // notices a check that is not linear.
    let count = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
    let (fixture, answers) = big(count);
    let answers = fixture.answers(&answers);
    let started = Instant::now();
    let report =
        run(&StoreLocation::Sqlite(fixture.path()), Some(&answers)).expect("the audit takes place");
    let took = started.elapsed();
    assert_eq!(found(&report), []);
    assert_eq!((report.orders_checked, report.answers_checked), (count as u64, count as u64));
    assert!(took.as_secs() < if cfg!(debug_assertions) { 4 } else { 2 }, "took {took:?}");
    println!("audited in {took:?}");
}

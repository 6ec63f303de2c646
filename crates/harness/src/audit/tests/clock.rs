//! Tests orders whose times are outside of the time in which their sale was open, because a clock
//! went back.

use super::super::{AuditReport, run};
use super::fixture::StoreFixture;
use super::postgres::PostgresCopy;
use super::{audit, found};

/// Each statement changes the times of the sale, so that the orders' times are before its opening
/// or after its closing.
const OUTSIDE: [&str; 2] = [
    "UPDATE sale SET opened_at = opened_at + 1001",
    "UPDATE sale SET opened_at = opened_at - 1000, closed_at = opened_at + 998, phase = 'closed'",
];

/// Returns SQL for an opening event before the orders' events, and a closing event after them.
/// These show that the orders were stored while the sale was open. `overriding` has the SQL words
/// that make PostgreSQL accept a given event number.
fn events(overriding: &str) -> String {
    let insert = |number: i64, kind: &str, at: &str| {
        format!(
            "INSERT INTO event (seq, type, sale_id, at, actor) {overriding}
             SELECT {number}, '{kind}', id, {at}, 'engine' FROM sale WHERE {at} IS NOT NULL;"
        )
    };
    insert(-1, "sale.opened", "opened_at") + &insert(1_000, "sale.closed", "closed_at")
}

#[track_caller]
fn assert_only_a_notice(report: &AuditReport, what: &str) {
    let has_phase = report.audit.findings.iter().any(|finding| finding.rule == "phase");
    let clock = report.audit.notices.iter().any(|notice| {
        notice.kind == "clock" && notice.detail.starts_with("7 orders have a time outside")
    });
    assert!(!has_phase && clock, "{what}: {report:#?}");
}

#[test]
fn an_order_that_was_stored_during_its_sale_gives_only_a_notice() {
    for sql in OUTSIDE {
        let fixture = StoreFixture::consistent();
        fixture.run(sql);
        assert!(found(&audit(&fixture)).iter().any(|(rule, _)| *rule == "phase"), "{sql}");
        fixture.run(&events(""));
        assert_only_a_notice(&audit(&fixture), sql);
    }
}

#[test]
fn a_sale_that_closed_before_it_opened_gives_only_a_notice() {
    let fixture = StoreFixture::consistent();
    fixture.run(OUTSIDE[0]);
    fixture.run("UPDATE sale SET closed_at = opened_at - 1, phase = 'closed'");
    assert_only_a_notice(&audit(&fixture), "a sale that closed before it opened");
}

#[test]
fn postgresql_gives_the_same_notice() {
    let fixture = StoreFixture::strict().with_consistent_rows();
    for sql in OUTSIDE {
        let twin = PostgresCopy::copy_of(&fixture);
        twin.run(sql);
        twin.run(&events("OVERRIDING SYSTEM VALUE"));
        assert_only_a_notice(&run(&twin.store, None).expect("a report"), sql);
    }
}

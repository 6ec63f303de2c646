//! Money and histories that were bent, one rule at a time.

use super::fixture::StoreFixture;
use super::{audit, breaks, found};

#[test]
fn a_payment_that_stands_for_no_paid_order_is_found() {
    breaks("UPDATE payment SET n = 99 WHERE id = 'pay_bob'", "I5", "which is not there");
    breaks(
        "UPDATE payment SET order_id = '{ann}', grant_id = 11 WHERE id = 'pay_bob'",
        "I5",
        "which is \"reserved\"",
    );
    breaks(
        "UPDATE payment SET order_id = '{cat}' WHERE id = 'pay_bob'",
        "I5",
        "stands beside another one",
    );
    breaks(
        "UPDATE payment SET amount_minor = 101 WHERE id = 'pay_bob'",
        "I5",
        "is 101 CNY, order ",
    );
    breaks("UPDATE payment SET currency = 'EUR' WHERE id = 'pay_bob'", "I5", "is 100 EUR, order ");
    breaks("UPDATE item SET price_minor = 11 WHERE id = 1", "I5", "costs 110 CNY");
    breaks("UPDATE payment SET state = 'lost' WHERE id = 'pay_bob'", "I5", "is \"lost\"");
}

#[test]
fn an_order_that_is_paid_twice_or_not_at_all_is_found() {
    let again = "INSERT INTO payment SELECT seq + 9, 'pay_9', provider, order_id, grant_id, n, amount_minor, currency, state, at
                 FROM payment WHERE id = 'pay_bob'";
    breaks(again, "I5", "payments pay_bob and pay_9 both stand");
    breaks(
        "INSERT INTO payment SELECT * FROM payment WHERE id = 'pay_bob'",
        "I5",
        "payment pay_bob was taken twice",
    );
    breaks(
        "DELETE FROM payment WHERE id = 'pay_bob'",
        "I5",
        "is paid, and no payment stands for it",
    );
    breaks(
        "UPDATE payment SET state = 'failed' WHERE id = 'pay_dan'",
        "I5",
        "is paid, and no payment stands for it",
    );
}

#[test]
fn money_that_goes_back_wrongly_is_found() {
    breaks(
        "DELETE FROM refund WHERE id = 'ref_rob'",
        "I5",
        "payment pay_rob goes back, and has no refund",
    );
    let twice = "INSERT INTO refund SELECT seq + 9, 'ref_9', payment_id, provider, order_id, amount_minor, currency, cause, state, accepted, tries,
                                           next_at, error, at, settled_at, discarded FROM refund WHERE id = 'ref_rob'";
    breaks(twice, "I5", "payment pay_rob has 2 refunds");
    breaks(
        "UPDATE refund SET amount_minor = 39 WHERE id = 'ref_rob'",
        "I5",
        "of 40 CNY by bank goes back as 39 CNY",
    );
    breaks(
        "UPDATE refund SET provider = 'other' WHERE id = 'ref_rob'",
        "I5",
        "goes back as 40 CNY by other",
    );
    breaks(
        "UPDATE refund SET payment_id = 'pay_x' WHERE id = 'ref_rob'",
        "I5",
        "of payment pay_x, which is not there",
    );
    breaks(
        "UPDATE refund SET payment_id = 'pay_bob' WHERE id = 'ref_rob'",
        "I5",
        "payment pay_bob stands, and goes back",
    );
    breaks(
        "UPDATE refund SET payment_id = 'pay_eve' WHERE id = 'ref_rob'",
        "I5",
        "payment pay_eve failed, and goes back",
    );
    breaks(
        "UPDATE refund SET cause = 'operator' WHERE id = 'ref_ann'",
        "I5",
        "goes back as \"operator\"; its order is reserved",
    );
    breaks(
        "UPDATE refund SET cause = 'unknown_order' WHERE id = 'ref_ann'",
        "I5",
        "goes back as \"unknown_order\"",
    );
    breaks("UPDATE refund SET cause = 'late' WHERE id = 'ref_ann'", "I5", "goes back as \"late\"");
    breaks(
        "UPDATE refund SET state = 'gone' WHERE id = 'ref_ann'",
        "I5",
        "refund ref_ann is \"gone\"",
    );
}

#[test]
fn money_that_went_back_by_itself_is_a_notice_while_somebody_should_look() {
    let fixture = StoreFixture::consistent();
    fixture.run(
        "INSERT INTO reversal VALUES ('pay_bob', 'returned', 60, 'CNY', 1, 7), ('pay_bob', 'disputed', 30, 'CNY', 1, 8),
                                     ('pay_dan', 'disputed', 20, 'CNY', 1, 9), ('pay_rob', 'returned', 40, 'CNY', 1, 9)",
    );
    // Its own rows are believed, where a payment has any; what an earlier program noted stands
    // until then.
    fixture.run(
        "INSERT INTO dispute VALUES ('pay_bob', 'dp_1', 100, 'CNY', 1, 5, 8), ('pay_bob', 'dp_2', \
         40, 'CNY', 0, 5, 8)",
    );
    let report = audit(&fixture);
    assert_eq!(
        report.audit.notices.iter().filter(|notice| notice.kind == "disputed").count(),
        2,
        "{report:?}"
    );
    fixture.run("INSERT INTO dispute VALUES ('pay_dan', 'dp_3', 20, 'CNY', 0, 5, 8)");
    let report = audit(&fixture);
    assert_eq!(found(&report), []);
    let notices: Vec<_> =
        report.audit.notices.iter().map(|notice| (&*notice.kind, &*notice.detail)).collect();
    let bob = |said: &str| format!("payment pay_bob: {said}; its order is as it was");
    assert_eq!(
        notices[..2],
        [
            ("disputed", &*bob("100 CNY in minor units is disputed by the buyer's bank")),
            (
                "returned",
                &*bob("60 CNY in minor units was given back at the provider's own console")
            ),
        ]
    );
    assert_eq!(
        notices.len(),
        3,
        "what came to nothing, and what was refunded since, is none: {notices:?}"
    );
}

#[test]
fn a_history_that_cannot_be_is_found() {
    let of = |name: &str, sql: &str| {
        sql.replace(
            '@',
            &format!("(grant_id, n) = (SELECT grant_id, n FROM orders WHERE id = '{{{name}}}')"),
        )
    };
    let check = |name: &str, sql: &str, words: &str| breaks(&of(name, sql), "history", words);
    check(
        "bob",
        "DELETE FROM event WHERE @ AND type = 'order.reserved'",
        "went from nothing to paid",
    );
    check("bob", "DELETE FROM event WHERE @", "is \"paid\", and nothing is told of it");
    check(
        "bob",
        "DELETE FROM event WHERE @ AND type = 'order.paid'",
        "its last event says \"reserved\"",
    );
    check(
        "rob",
        "DELETE FROM event WHERE @ AND type = 'order.paid'",
        "went from reserved to refunded",
    );
    check(
        "dan",
        "UPDATE event SET type = 'order.refunded' WHERE @ AND type = 'order.cancelled'",
        "went from refunded to paid",
    );
    check(
        "cat",
        "UPDATE event SET type = 'order.expired' WHERE @ AND type = 'order.cancelled'",
        "its last event says \"expired\"",
    );
    check(
        "cat",
        "UPDATE event SET type = 'order.reserved' WHERE @",
        "went from reserved to reserved",
    );
    check(
        "gus",
        "UPDATE event SET ended_at = ended_at + 1 WHERE @ AND type = 'order.expired'",
        "its last event says: pay by ",
    );
    check(
        "ann",
        "UPDATE event SET pay_by = pay_by + 1 WHERE @ AND type = 'order.reserved'",
        "its last event says: pay by ",
    );
    breaks(
        "UPDATE event SET n = 77 WHERE type = 'order.expired'",
        "history",
        "is of an order that is not there",
    );
    breaks(
        "DELETE FROM event WHERE type = 'payment.refunded'",
        "history",
        "1 payments go back by themselves, 0 of them",
    );
}

#[test]
fn more_time_and_a_late_payment_are_no_finding_and_old_orders_are_a_notice() {
    let fixture = StoreFixture::consistent();
    fixture.run(
        "UPDATE orders SET pay_by = pay_by + 60000 WHERE id = '{ann}';
         INSERT INTO event (seq, type, grant_id, n, at, actor, pay_by)
         SELECT 900, 'order.extended', grant_id, n, reserved_at + 9, 'operator:key', pay_by FROM orders WHERE id = '{ann}'",
    );
    assert_eq!(found(&audit(&fixture)), []);
    fixture.run("DELETE FROM event WHERE type LIKE 'order.%' AND seq <> 900");
    let report = audit(&fixture);
    assert_eq!(found(&report), []);
    let kinds: Vec<_> = report.audit.notices.iter().map(|notice| &*notice.kind).collect();
    assert_eq!(kinds, ["history", "mismatch"]);
    assert!(report.audit.notices[0].detail.starts_with("7 orders"), "{:?}", report.audit.notices);
}

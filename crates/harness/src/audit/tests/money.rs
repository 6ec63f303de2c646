//! Tests that the auditor finds damaged payments, refunds and histories.

use super::fixture::StoreFixture;
use super::{audit, breaks, found};

#[test]
fn a_payment_that_does_not_pay_for_its_order_is_found() {
    breaks("UPDATE payment SET n = 99 WHERE id = 'pay_bob'", "I5", "which does not exist");
    breaks(
        "UPDATE payment SET order_id = '{ann}', grant_id = 11 WHERE id = 'pay_bob'",
        "I5",
        "is \"reserved\", not paid",
    );
    breaks(
        "UPDATE payment SET order_id = '{cat}' WHERE id = 'pay_bob'",
        "I5",
        "but is stored with another order",
    );
    breaks(
        "UPDATE payment SET amount_minor = 101 WHERE id = 'pay_bob'",
        "I5",
        "is 101 CNY, but order ",
    );
    breaks(
        "UPDATE payment SET currency = 'EUR' WHERE id = 'pay_bob'",
        "I5",
        "is 100 EUR, but order ",
    );
    breaks("UPDATE item SET price_minor = 11 WHERE id = 1", "I5", "costs 110 CNY");
    breaks(
        "UPDATE payment SET state = 'lost' WHERE id = 'pay_bob'",
        "I5",
        "has the invalid state \"lost\"",
    );
}

#[test]
fn an_order_with_two_payments_or_none_is_found() {
    let again = "INSERT INTO payment
                 SELECT seq + 9, 'pay_9', provider, order_id, grant_id, n, amount_minor, currency,
                        state, at
                 FROM payment WHERE id = 'pay_bob'";
    breaks(again, "I5", "payments pay_bob and pay_9 both pay for order");
    breaks(
        "INSERT INTO payment SELECT * FROM payment WHERE id = 'pay_bob'",
        "I5",
        "payment pay_bob is recorded twice",
    );
    breaks("DELETE FROM payment WHERE id = 'pay_bob'", "I5", "is paid, but no payment pays for it");
    breaks(
        "UPDATE payment SET state = 'failed' WHERE id = 'pay_dan'",
        "I5",
        "is paid, but no payment pays for it",
    );
}

#[test]
fn a_wrong_refund_is_found() {
    breaks(
        "DELETE FROM refund WHERE id = 'ref_rob'",
        "I5",
        "payment pay_rob has the state refunded, but no refund",
    );
    let twice = "INSERT INTO refund
                 SELECT seq + 9, 'ref_9', payment_id, provider, order_id, amount_minor, currency,
                        cause, state, accepted, tries, next_at, error, at, settled_at, discarded
                 FROM refund WHERE id = 'ref_rob'";
    breaks(twice, "I5", "payment pay_rob has 2 refunds");
    breaks(
        "UPDATE refund SET amount_minor = 39 WHERE id = 'ref_rob'",
        "I5",
        "is 40 CNY at bank, but its refund is 39 CNY",
    );
    breaks(
        "UPDATE refund SET provider = 'other' WHERE id = 'ref_rob'",
        "I5",
        "but its refund is 40 CNY at other",
    );
    breaks(
        "UPDATE refund SET payment_id = 'pay_x' WHERE id = 'ref_rob'",
        "I5",
        "names payment pay_x, which does not exist",
    );
    breaks(
        "UPDATE refund SET payment_id = 'pay_bob' WHERE id = 'ref_rob'",
        "I5",
        "payment pay_bob pays for an order, but has a refund",
    );
    breaks(
        "UPDATE refund SET payment_id = 'pay_eve' WHERE id = 'ref_rob'",
        "I5",
        "payment pay_eve failed, but has a refund",
    );
    breaks(
        "UPDATE refund SET cause = 'operator' WHERE id = 'ref_ann'",
        "I5",
        "cause \"operator\", which does not fit its order (reserved)",
    );
    breaks(
        "UPDATE refund SET cause = 'unknown_order' WHERE id = 'ref_ann'",
        "I5",
        "cause \"unknown_order\"",
    );
    breaks("UPDATE refund SET cause = 'late' WHERE id = 'ref_ann'", "I5", "cause \"late\"");
    breaks(
        "UPDATE refund SET state = 'gone' WHERE id = 'ref_ann'",
        "I5",
        "refund ref_ann has the invalid state \"gone\"",
    );
}

#[test]
fn a_dispute_or_a_return_is_a_notice_while_an_operator_must_decide() {
    let fixture = StoreFixture::consistent();
    fixture.run(
        "INSERT INTO reversal
         VALUES ('pay_bob', 'returned', 60, 'CNY', 1, 7), ('pay_bob', 'disputed', 30, 'CNY', 1, 8),
                ('pay_dan', 'disputed', 20, 'CNY', 1, 9), ('pay_rob', 'returned', 40, 'CNY', 1, 9)",
    );
    // If a payment has a row in the table `dispute`, the payment's dispute in `reversal` does not
    // count.
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
    let bob = |problem: &str| format!("payment pay_bob: {problem}; its order is unchanged");
    assert_eq!(
        notices[..2],
        [
            ("disputed", &*bob("100 CNY in minor units is disputed by the buyer's bank")),
            ("returned", &*bob("60 CNY in minor units was refunded in the provider's console")),
        ]
    );
    assert_eq!(
        notices.len(),
        3,
        "a won dispute and a refunded payment must give no notice: {notices:?}"
    );
}

#[test]
fn a_failed_refund_is_a_notice_until_an_operator_discards_it() {
    let fixture = StoreFixture::consistent();
    let kinds = || {
        let report = audit(&fixture);
        assert_eq!(found(&report), []);
        report.audit.notices.into_iter().map(|notice| notice.kind).collect::<Vec<_>>()
    };
    fixture.run("UPDATE refund SET state = 'failed' WHERE id = 'ref_rob'");
    assert_eq!(kinds(), ["mismatch", "refund_failed"]);
    fixture.run("UPDATE refund SET discarded = 'paid by hand' WHERE id = 'ref_rob'");
    assert_eq!(kinds(), ["mismatch"]);
}

#[test]
fn an_impossible_history_is_found() {
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
        "must not change from nothing to paid",
    );
    check("bob", "DELETE FROM event WHERE @", "is \"paid\", but has no event");
    check(
        "bob",
        "DELETE FROM event WHERE @ AND type = 'order.paid'",
        "its last event says \"reserved\"",
    );
    check(
        "rob",
        "DELETE FROM event WHERE @ AND type = 'order.paid'",
        "must not change from reserved to refunded",
    );
    check(
        "dan",
        "UPDATE event SET type = 'order.refunded' WHERE @ AND type = 'order.cancelled'",
        "must not change from refunded to paid",
    );
    check(
        "cat",
        "UPDATE event SET type = 'order.expired' WHERE @ AND type = 'order.cancelled'",
        "its last event says \"expired\"",
    );
    check(
        "cat",
        "UPDATE event SET type = 'order.reserved' WHERE @",
        "must not change from reserved to reserved",
    );
    check(
        "gus",
        "UPDATE event SET ended_at = ended_at + 1 WHERE @ AND type = 'order.expired'",
        "its last event says: payment due ",
    );
    check(
        "ann",
        "UPDATE event SET pay_by = pay_by + 1 WHERE @ AND type = 'order.reserved'",
        "its last event says: payment due ",
    );
    breaks(
        "UPDATE event SET n = 77 WHERE type = 'order.expired'",
        "history",
        "names an order that does not exist",
    );
    breaks(
        "DELETE FROM event WHERE type = 'payment.refunded'",
        "history",
        "there are 1 automatic refunds of known orders, but 0 payment.refunded events",
    );
    breaks(
        "UPDATE event SET grant_id = NULL, n = NULL WHERE type = 'payment.refunded'",
        "history",
        "there are 0 automatic refunds of unknown orders, but 1 payment.refunded events",
    );
}

#[test]
fn a_refund_of_an_unknown_order_stays_correct_without_its_old_event() {
    let fixture = StoreFixture::consistent();
    fixture.run(
        "INSERT INTO payment (seq, id, provider, order_id, amount_minor, currency, state, at)
         VALUES (900, 'pay_x', 'bank', 'ord_x', 10, 'CNY', 'refunded', 6);
         INSERT INTO refund (seq, id, payment_id, provider, order_id, amount_minor, currency, cause,
                             state, accepted, tries, next_at, at, settled_at)
         VALUES (900, 'ref_x', 'pay_x', 'bank', 'ord_x', 10, 'CNY', 'unknown_order', 'settled', 1,
                 0, 9, 9, 10);
         INSERT INTO event (seq, type, at, actor, data)
         VALUES (900, 'payment.refunded', 6, 'provider:bank', '{}')",
    );
    assert_eq!(found(&audit(&fixture)), []);
    fixture.run("DELETE FROM event WHERE grant_id IS NULL");
    assert_eq!(found(&audit(&fixture)), []);
}

#[test]
fn an_extension_and_a_late_payment_give_no_finding_and_old_orders_give_a_notice() {
    let fixture = StoreFixture::consistent();
    fixture.run(
        "UPDATE orders SET pay_by = pay_by + 60000 WHERE id = '{ann}';
         INSERT INTO event (seq, type, grant_id, n, at, actor, pay_by)
         SELECT 900, 'order.extended', grant_id, n, reserved_at + 9, 'operator:key', pay_by
         FROM orders WHERE id = '{ann}'",
    );
    assert_eq!(found(&audit(&fixture)), []);
    fixture.run("DELETE FROM event WHERE type LIKE 'order.%' AND seq <> 900");
    let report = audit(&fixture);
    assert_eq!(found(&report), []);
    let kinds: Vec<_> = report.audit.notices.iter().map(|notice| &*notice.kind).collect();
    assert_eq!(kinds, ["history", "mismatch"]);
    assert!(report.audit.notices[0].detail.starts_with("7 orders"), "{:?}", report.audit.notices);
}

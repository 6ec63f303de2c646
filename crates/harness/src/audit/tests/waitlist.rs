//! Tests that the auditor finds damaged waitlists.

use super::fixture::{OPENED, StoreFixture, waitlist_entry_id};
use super::{audit, found};

/// Adds a waitlist for the item `phone`. Its four entries are in the states served, left, passed
/// over and waiting. In the SQL, `{p1}` to `{p4}` stand for their ids.
pub(super) fn with_waitlist(fixture: StoreFixture) -> StoreFixture {
    let at = OPENED + 50_000;
    fixture.run(&with_entry_ids(&format!(
        "INSERT INTO slot_grant (id, item_id, slot, epoch, granted, settled, counted, open, acked,
                                 max_n, resolved, feed_len, closed_cause, opened_at, closed_at)
         VALUES (51, 1, 2147483647, 1, 1, 1, 1, 0, 0, 4, 3, 0, 'waitlist', {at}, {at});
         INSERT INTO waitlist (item_id, n, id, buyer, request_key, state, joined_at, ended_at)
         VALUES (1, 1, '{{p1}}', 'lea', 'k-lea', 'served', {at}, {at} + 900000),
                (1, 2, '{{p2}}', 'max', 'k-max', 'left', {at}, {at} + 5),
                (1, 3, '{{p3}}', 'ida', 'k-ida', 'passed_over', {at}, {at} + 900000),
                (1, 4, '{{p4}}', 'kim', 'k-kim', 'waiting', {at}, NULL);
         INSERT INTO resolution (ticket, grant_id, n, verdict, order_id)
         VALUES ('{{p2}}', 51, 2, 'unavailable', NULL), ('{{p3}}', 51, 3, 'limit_reached', NULL);
         INSERT INTO orders (seq, id, buyer, request_key, item_id, units, state, grant_id, n,
                             reserved_at, pay_by, ask_ms)
         VALUES (99, '{{p1}}', 'lea', 'k-lea', 1, 1, 'reserved', 51, 1, {at} + 900000,
                 {at} + 1200000, 0);
         INSERT INTO event (seq, type, grant_id, n, at, actor, pay_by)
         VALUES (99, 'order.reserved', 51, 1, {at} + 900000, 'engine', {at} + 1200000);
         INSERT INTO quota (buyer, item_id, used) VALUES ('lea', 1, 1);
         UPDATE item SET pool = pool - 1, waiting = 1 WHERE id = 1;"
    )));
    fixture
}

fn with_entry_ids(sql: &str) -> String {
    (1..=4)
        .fold(sql.to_owned(), |sql, n| sql.replace(&format!("{{p{n}}}"), &waitlist_entry_id(51, n)))
}

#[track_caller]
fn breaks(sql: &str, rule: &str, words: &str) {
    let fixture = with_waitlist(StoreFixture::consistent());
    fixture.run(&with_entry_ids(sql));
    let report = audit(&fixture);
    let found = found(&report);
    let is_it = |(its, detail): &(&str, &str)| *its == rule && detail.contains(words);
    assert!(found.iter().any(is_it), "no finding of rule {rule} contains {words:?}: {found:#?}");
}

#[test]
fn a_consistent_waitlist_gives_no_finding_and_no_repair() {
    for fixture in [
        with_waitlist(StoreFixture::consistent()),
        with_waitlist(StoreFixture::strict().with_consistent_rows()),
    ] {
        let report = audit(&fixture);
        assert_eq!(found(&report), []);
        assert_eq!((report.audit.repairs, report.orders_checked), (0, 8));
    }
}

#[test]
fn entries_with_wrong_counts_or_ids_are_found() {
    breaks(
        "UPDATE item SET waiting = 2 WHERE id = 1",
        "waitlist",
        "the waiting counter is 2, but 1 entries wait",
    );
    breaks(
        "UPDATE waitlist SET item_id = 2 WHERE n = 4",
        "waitlist",
        "is in a waitlist that has no grant",
    );
    breaks(
        "UPDATE waitlist SET item_id = 9 WHERE n = 4",
        "waitlist",
        "1 entries wait for item 9, which does not exist",
    );
    breaks(
        "UPDATE waitlist SET buyer = 'kim', state = 'waiting', ended_at = NULL WHERE n = 2",
        "waitlist",
        "second waiting entry",
    );
    breaks(
        "UPDATE waitlist SET n = 5 WHERE n = 4",
        "waitlist",
        "is number 5 of grant 51, but its id says number 4 of grant 51, 1 units",
    );
    breaks("UPDATE waitlist SET id = 'ord_x' WHERE n = 4", "waitlist", "has an invalid id");
    breaks(
        "UPDATE slot_grant SET max_n = 3 WHERE id = 51",
        "I8",
        "3 resolved tickets up to number 3",
    );
}

#[test]
fn an_entry_that_did_not_end_exactly_once_is_found() {
    breaks("UPDATE waitlist SET state = 'served' WHERE n = 2", "waitlist", "is served and ended ");
    breaks("UPDATE waitlist SET state = 'left' WHERE n = 1", "waitlist", "is left and ended ");
    breaks(
        "UPDATE waitlist SET state = 'left', ended_at = 9 WHERE n = 4",
        "waitlist",
        "its refusal none",
    );
    breaks("UPDATE waitlist SET ended_at = NULL WHERE n = 3", "waitlist", "ended never");
    breaks("UPDATE waitlist SET state = 'lost' WHERE n = 4", "waitlist", "is lost");
    breaks("DELETE FROM resolution WHERE n = 3 AND grant_id = 51", "waitlist", "its refusal none");
    breaks(
        "DELETE FROM waitlist WHERE n = 1",
        "waitlist",
        "has a waitlist grant, but no waitlist entry",
    );
    breaks("DELETE FROM waitlist WHERE n = 2", "waitlist", "was returned under waitlist grant 51");
    breaks(
        "UPDATE waitlist SET request_key = 'k-other' WHERE n = 1",
        "waitlist",
        "has request key k-other, but its order has k-lea",
    );
}

#[test]
fn an_entry_that_was_erased_before_its_order_gives_no_finding() {
    let fixture = with_waitlist(StoreFixture::consistent());
    fixture.run("UPDATE waitlist SET buyer = 'erased:0a', request_key = 'erased:0b' WHERE n = 1");
    assert_eq!(found(&audit(&fixture)), []);
}

#[test]
fn an_entry_that_was_served_before_an_earlier_one_is_found() {
    let back = "UPDATE waitlist SET state = 'waiting', ended_at = NULL WHERE n = 2;
                DELETE FROM resolution WHERE n = 2 AND grant_id = 51;
                UPDATE item SET waiting = 2 WHERE id = 1";
    breaks(back, "waitlist", "but a later entry is passed_over");
}

#[test]
fn an_open_waitlist_grant_and_a_long_payment_window_are_found() {
    breaks("UPDATE slot_grant SET feed_len = 1 WHERE id = 51", "waitlist", "feed length 1");
    breaks("UPDATE slot_grant SET granted = 2 WHERE id = 51", "waitlist", "settled 1 of 2");
    breaks(
        "UPDATE slot_grant SET closed_cause = 'rolled' WHERE id = 51",
        "waitlist",
        "close cause rolled",
    );
    let second =
        "INSERT INTO slot_grant (id, item_id, slot, epoch, granted, settled, counted, open,
                                          acked, max_n, resolved, feed_len, closed_cause,
                                          opened_at, closed_at)
                  SELECT 52, item_id, slot, epoch + 1, 0, 0, counted, open, 0, 0, 0, 0,
                         closed_cause, opened_at, closed_at
                  FROM slot_grant WHERE id = 51";
    breaks(second, "waitlist", "two waitlist grants, 51 and 52");
    let longer = "UPDATE orders SET pay_by = pay_by + 1 WHERE grant_id = 51;
                  UPDATE event SET pay_by = pay_by + 1 WHERE grant_id = 51";
    breaks(longer, "order", "is not 300000 ms");
}

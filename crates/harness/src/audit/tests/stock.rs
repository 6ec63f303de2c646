//! Tests that the auditor finds damaged stock, grants, recalls and feeds.

use super::breaks;

#[test]
fn units_that_do_not_add_up_are_found() {
    breaks(
        "UPDATE item SET pool = 41 WHERE id = 1",
        "I2",
        "total 100 is not pool 41 + in slots 33 + held 10 + paid 15",
    );
    breaks("UPDATE item SET pool = -1 WHERE id = 1", "I2", "pool is negative: -1");
    breaks(
        "UPDATE item SET paid = 14 WHERE id = 1",
        "I2",
        "the paid counter is 14, but paid orders have 15",
    );
    breaks(
        "UPDATE item SET ended = 18 WHERE id = 1",
        "I2",
        "the item counts 18 units of ended orders, but its ended orders have 19",
    );
    breaks(
        "UPDATE item SET total = 20, pool = 0 WHERE id = 1",
        "I1",
        "oversold by 5: 25 units sold of 20",
    );
    breaks("UPDATE item SET initial_total = NULL WHERE id = 1", "I2", "item's two totals is set");
    breaks(
        "UPDATE item SET pool = 1 WHERE id = 2",
        "I2",
        "the item is unlimited, but its pool has 1 units",
    );
    breaks("DELETE FROM sale", "I2", "the item's sale \"spring\" does not exist");
}

#[test]
fn a_total_that_differs_from_its_adjustments_is_found() {
    breaks(
        "UPDATE adjustment SET units = 21 WHERE seq = 1",
        "I2",
        "adjustment 1 gives total 110; the total must be 111, and at least 0",
    );
    breaks(
        "DELETE FROM adjustment WHERE seq = 2",
        "I2",
        "total 100 is not 110, the initial total 90 plus its adjustments",
    );
    breaks(
        "UPDATE adjustment SET item_id = 2",
        "I2",
        "the item is unlimited, but its total was adjusted",
    );
}

#[test]
fn grants_with_wrong_units_are_found() {
    breaks(
        "UPDATE slot_grant SET granted = 28 WHERE id = 12",
        "I1",
        "grant 12 settled 29 units, but has only 28",
    );
    breaks(
        "UPDATE slot_grant SET settled = 28 WHERE id = 12",
        "I2",
        "grant 12 settled 28 units, but its orders have 29",
    );
    breaks(
        "UPDATE slot_grant SET granted = 5 WHERE id = 31",
        "I2",
        "grant 31 of an unlimited item has 5 units",
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
        "grant 12 has 54 units: too few, because its feed added 92",
    );
}

#[test]
fn grants_that_are_wrongly_open_or_closed_are_found() {
    breaks(
        "UPDATE slot_grant SET open = 1, closed_at = NULL, closed_cause = NULL WHERE id = 11",
        "I2",
        "has an open grant of epoch 1 and a grant of epoch 2",
    );
    breaks(
        "UPDATE slot_grant SET open = 1, closed_at = NULL, closed_cause = NULL WHERE id = 11",
        "I2",
        "total 100 is not",
    );
    breaks(
        "UPDATE slot_grant SET closed_cause = NULL WHERE id = 11",
        "I2",
        "must be open, or closed with",
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
fn recalls_with_wrong_units_or_grants_are_found() {
    breaks(
        "UPDATE recall SET taken = 6 WHERE id = 1",
        "I2",
        "recall 1 took 6 units, but only 5 were requested",
    );
    breaks(
        "UPDATE recall SET taken = 1 WHERE id = 3",
        "I2",
        "recall 3 is not done, but took 1 units",
    );
    breaks(
        "UPDATE recall SET grant_id = 5 WHERE id = 1",
        "I2",
        "takes units from grant 5, which does not exist",
    );
    breaks(
        "UPDATE recall SET target_grant = 31 WHERE id = 2",
        "I2",
        "gives units to grant 31, which does not belong to item",
    );
    breaks(
        "UPDATE recall SET taken = 1 WHERE id = 2",
        "I2",
        "finished recalls must add 1 units to grant 12, but the grant's feed adds 2 units",
    );
    breaks(
        "UPDATE recall SET done = 0 WHERE id = 2",
        "I2",
        "finished recalls must add 0 units to grant 12, but the grant's feed adds 2 units",
    );
}

#[test]
fn a_feed_with_a_gap_or_a_wrong_row_is_found() {
    breaks(
        "DELETE FROM feed WHERE grant_id = 12 AND seq = 10",
        "I6",
        "the feed of grant 12 has 9 rows, but the grant counts 10",
    );
    breaks(
        "UPDATE feed SET seq = 11 WHERE grant_id = 12 AND seq = 10",
        "I6",
        "has row 11 where row 10 belongs",
    );
    breaks(
        "UPDATE feed SET grant_id = 5 WHERE seq = 1",
        "I6",
        "there are feed rows of grant 5, which does not exist",
    );
    breaks("UPDATE feed SET units = 0 WHERE seq = 1", "I6", "\"refill\", 0 units");
    breaks(
        "UPDATE feed SET quota_delta = -4 WHERE seq = 2",
        "I6",
        "\"returned\", 5 units, quota change -4",
    );
    breaks("UPDATE feed SET units = 10 WHERE seq = 3", "I6", "\"order_ended\", 10 units");
    breaks(
        "UPDATE feed SET quota_delta = -5 WHERE seq = 5",
        "I6",
        "\"order_revived\", 0 units, quota change -5",
    );
    breaks("UPDATE feed SET cause = 'gift' WHERE seq = 1", "I6", "\"gift\"");
    breaks("UPDATE feed SET buyer = NULL WHERE seq = 3", "I6", "\"order_ended\"");
}

#[test]
fn missing_repeated_and_invalid_credits_are_found() {
    breaks(
        "UPDATE feed SET ticket = '{12:2}' WHERE seq = 9",
        "I6",
        "is credited twice to grant 12",
    );
    breaks(
        "UPDATE feed SET ticket = '{12:2}' WHERE seq = 9",
        "I6",
        "was returned, but grant 12 has no credit for it",
    );
    breaks(
        "UPDATE feed SET ticket = '{11:2}' WHERE seq = 2",
        "I6",
        "but was not returned under this grant",
    );
    breaks(
        "UPDATE feed SET ticket = '{bob}' WHERE seq = 2",
        "I6",
        "but was not returned under this grant",
    );
    breaks(
        "UPDATE feed SET quota_delta = -9 WHERE seq = 3",
        "I6",
        "returns 1 units too few to the quota of cat",
    );
    breaks(
        "UPDATE feed SET buyer = 'bob' WHERE seq = 8",
        "I6",
        "returns 4 units too many to the quota of bob",
    );
}

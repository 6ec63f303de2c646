//! Tests of the checker. Each test changes a correct sale so that it has one kind of fault. The
//! checker must find each kind of fault, and no fault in the correct sale.

use std::time::Duration;

use super::*;

fn record(buyer: i64, last_answer: LastAnswer) -> BuyerRecord {
    BuyerRecord { buyer, units: 2, last_answer, latency: Duration::ZERO, errors: 0 }
}

fn order(buyer: i64) -> Order {
    Order { buyer, units: 2 }
}

/// Returns a correct sale of four units to three buyers. Each buyer wants two units, so buyer 3 is
/// refused.
fn sound() -> (Vec<BuyerRecord>, Vec<Order>) {
    let records = vec![
        record(1, LastAnswer::Sold),
        record(2, LastAnswer::Sold),
        record(3, LastAnswer::SoldOut),
    ];
    (records, vec![order(1), order(2)])
}

#[test]
fn a_correct_sale_gets_the_verdict_held() {
    let (records, orders) = sound();
    let found = check_answers(4, &records, &orders);
    assert_eq!((found.verdict, found.sold, found.offender), (Verdict::Held, 4, None));
    assert_eq!(
        check_answers(5, &records, &orders).verdict,
        Verdict::Held,
        "one remaining unit must not count as unsold, because each buyer requested two units"
    );
}

#[test]
fn an_order_beyond_the_stock_is_oversold() {
    let (mut records, mut orders) = sound();
    records[2].last_answer = LastAnswer::Sold;
    orders.push(order(3));
    let found = check_answers(4, &records, &orders);
    assert_eq!((found.verdict, found.oversold), (Verdict::Oversold, 2));
    assert!(found.offender.is_some_and(|text| text.contains("buyer 3")));
}

#[test]
fn a_second_order_of_a_buyer_is_a_duplicate() {
    let (records, orders) = sound();
    let found = check_answers(9, &records, &[orders[0], orders[1], order(2)]);
    assert_eq!((found.verdict, found.duplicate_orders), (Verdict::Duplicated, 1));
}

#[test]
fn a_promise_without_an_order_is_lost() {
    let (records, orders) = sound();
    let found = check_answers(4, &records, &orders[..1]);
    assert_eq!((found.verdict, found.lost_orders), (Verdict::Lost, 1));
    let found = check_answers(4, &records, &[order(1), Order { buyer: 2, units: 1 }]);
    assert_eq!(
        (found.verdict, found.lost_orders),
        (Verdict::Lost, 1),
        "an order with fewer units than promised must count as lost"
    );
}

#[test]
fn units_that_a_refused_buyer_could_have_had_are_unsold() {
    let (mut records, orders) = sound();
    records[1].last_answer = LastAnswer::SoldOut;
    let found = check_answers(4, &records, &orders[..1]);
    assert_eq!((found.verdict, found.unsold), (Verdict::Undersold, 2));
    records.retain(|record| record.last_answer == LastAnswer::Sold);
    assert_eq!(
        check_answers(4, &records, &orders[..1]).verdict,
        Verdict::Held,
        "remaining units must not count as unsold if no other buyer wanted units"
    );
}

#[test]
fn an_order_whose_buyer_got_no_answer_is_counted() {
    let (mut records, orders) = sound();
    records[0].last_answer = LastAnswer::NoAnswer;
    let found = check_answers(4, &records, &orders);
    assert_eq!((found.verdict, found.untold_orders), (Verdict::Held, 1));
}

#[test]
fn an_order_whose_buyer_got_no_answer_is_not_unsold() {
    let (mut records, orders) = sound();
    records[0].last_answer = LastAnswer::NoAnswer;
    records.pop();
    let found = check_answers(6, &records, &orders);
    assert_eq!((found.verdict, found.unsold, found.offender), (Verdict::Held, 0, None));
    records.push(record(3, LastAnswer::SoldOut));
    let found = check_answers(6, &records, &orders);
    assert_eq!((found.verdict, found.unsold), (Verdict::Undersold, 2));
    assert!(found.offender.is_some_and(|text| text.contains("buyer 3")));
}

#[test]
fn an_order_of_a_buyer_who_was_refused_is_a_broken_promise() {
    let (mut records, orders) = sound();
    records[1].last_answer = LastAnswer::SoldOut;
    let found = check_answers(4, &records, &orders);
    assert_eq!((found.verdict, found.unexpected_orders), (Verdict::Lost, 1));
    assert_eq!((found.lost_orders, found.untold_orders), (0, 0));
    assert!(found.offender.is_some_and(|text| text.contains("buyer 2 was told \"sold out\"")));
    records[1].last_answer = LastAnswer::Refused;
    let found = check_answers(4, &records, &orders);
    assert_eq!((found.verdict, found.unexpected_orders), (Verdict::Lost, 1));
    assert!(found.offender.is_some_and(|text| text.contains("buyer 2 was refused")));
}

#[test]
fn an_order_of_a_buyer_who_sent_no_request_is_a_broken_promise() {
    let (records, orders) = sound();
    let found = check_answers(6, &records, &[orders[0], orders[1], order(8)]);
    assert_eq!((found.verdict, found.unexpected_orders), (Verdict::Lost, 1));
    assert!(found.offender.is_some_and(|text| text.contains("buyer 8 sent no request")));
}

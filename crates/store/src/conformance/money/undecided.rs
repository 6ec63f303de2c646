//! Tests payments for tickets that have no verdict yet. Any node can receive such a payment.
use doorbuster_core::limits::DECIDE_WITHIN_MS;
use doorbuster_core::money::{Capture, CaptureOutcome, PaymentId, RefundCause};
use doorbuster_core::{CloseCause, Ticket, Verdict};

use super::{PROVIDER, capture, price, refunded};
use crate::conformance::{Fixture, id_of};

fn report(ticket: &Ticket, event: &str) -> Capture {
    Capture {
        event: event.to_owned(),
        provider: PROVIDER.to_owned(),
        payment: PaymentId(format!("pay_{}", ticket.n.0)),
        order: id_of(ticket).to_string(),
        money: price(ticket.units.get()),
    }
}

/// A payment for a ticket without a verdict comes too early and changes nothing.
pub async fn a_payment_for_an_undecided_ticket_comes_too_early(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 2).await;
    let ticket = |n: u64, who: &str| fixture.ticket(&grant, n, who, &format!("key-{n}"), 2);
    let is_early = async |ticket: &Ticket| {
        let captured = capture(&fixture, &report(ticket, &format!("evt_{}", ticket.n.0))).await;
        captured == CaptureOutcome::TooEarly
    };
    let refund = async |ticket: &Ticket| {
        let captured = capture(&fixture, &report(ticket, &format!("evt_{}", ticket.n.0))).await;
        refunded(captured).cause
    };
    let consumed = ticket(1, "anna");
    assert!(is_early(&consumed).await && is_early(&consumed).await);
    let order = fixture.settle(&consumed).await.order.expect("an order");
    let CaptureOutcome::Paid(paid) = capture(&fixture, &report(&consumed, "evt_1")).await else {
        panic!("the repeated message must pay for the order")
    };
    assert_eq!(paid.id, order.id);
    // This id has the number of a settled ticket, but belongs to another request key. So the ticket
    // of this id does not exist.
    let forged = fixture.ticket(&grant, 1, "anna", "another", 1);
    let forged = Capture { payment: PaymentId("pay_0".to_owned()), ..report(&forged, "evt_0") };
    assert_eq!(refunded(capture(&fixture, &forged).await).cause, RefundCause::UnknownOrder);
    let returned = ticket(2, "anna");
    assert!(is_early(&returned).await);
    assert_eq!(fixture.settle(&returned).await.verdict, Verdict::LimitReached);
    assert_eq!(refund(&returned).await, RefundCause::UnknownOrder);
    let lost = ticket(3, "bert");
    fixture.clock.advance(DECIDE_WITHIN_MS);
    assert!(is_early(&lost).await, "at its `decide_by`, the ticket can still become an order");
    fixture.clock.advance(1);
    assert_eq!(refund(&lost).await, RefundCause::UnknownOrder);
    let closed = ticket(4, "carl");
    fixture.store.close_grant(grant.id, CloseCause::Rolled).await.expect("writes");
    assert_eq!(refund(&closed).await, RefundCause::UnknownOrder);
    fixture.check_invariants().await;
}

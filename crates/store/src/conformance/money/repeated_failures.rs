//! Tests several messages about one failed attempt of a refund.
use doorbuster_core::event::Attribution;
use doorbuster_core::money::{Refund, RefundMessageOutcome, RefundState, RefundUpdate};
use doorbuster_core::order::EndReason;

use super::{PROVIDER, capture, for_payment, message, refunds};
use crate::conformance::Fixture;

/// A second message about a failed attempt does not undo the next attempt. The message only makes
/// the server ask the provider, and the answer decides.
pub async fn a_second_message_about_a_failed_refund_only_asks_the_provider(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    capture(&fixture, &message(&order, "evt_1", "pay_1")).await;
    let end = fixture.store.end_order(order.id, EndReason::Refund, Attribution::ENGINE.clone());
    end.await.expect("writes");
    let id = refunds(&fixture, for_payment(&order)).await.remove(0).id;
    let back = || RefundUpdate::CameBack("the account is closed".to_owned());
    let apply = async |update| {
        let noted = fixture.store.apply_refund_update(id.clone(), update).await;
        noted.expect("writes").expect("a refund")
    };
    let send_back = async |event: &str| -> Refund {
        fixture.clock.advance(1);
        let (provider, event) = (PROVIDER.to_owned(), event.to_owned());
        let settle = fixture.store.settle_refund(provider, event, id.clone(), back());
        assert_eq!(settle.await.expect("writes"), RefundMessageOutcome::Applied);
        refunds(&fixture, for_payment(&order)).await.remove(0)
    };
    let asks = |refund: &Refund, accepted: bool| {
        let is_due = refund.state == RefundState::Pending && refund.next_at == fixture.clock.now();
        assert!(is_due && refund.accepted == accepted && refund.settled_at.is_none(), "{refund:?}");
    };
    apply(RefundUpdate::Accepted { again_ms: 500 }).await;
    assert_eq!(send_back("evt_2").await.state, RefundState::Failed);
    let again = fixture.store.retry_refund(id.clone()).await.expect("writes");
    assert!(again.is_some(), "the refund had failed");
    // The second message may arrive before or after the next attempt.
    asks(&send_back("evt_3").await, false);
    apply(RefundUpdate::Accepted { again_ms: 500 }).await;
    asks(&send_back("evt_4").await, true);
    assert_eq!(apply(RefundUpdate::Settled).await.state, RefundState::Settled);
    asks(&send_back("evt_5").await, true);
    assert_eq!(apply(RefundUpdate::Settled).await.state, RefundState::Settled);
    // If the provider confirms that the money came back, the refund fails.
    asks(&send_back("evt_6").await, true);
    assert_eq!(apply(back()).await.state, RefundState::Failed);
    fixture.check_invariants().await;
}

//! Tests messages about failed refunds that arrive late or in the wrong sequence.
use doorbuster_core::Millis;
use doorbuster_core::event::Attribution;
use doorbuster_core::money::{
    Money, PaymentId, Refund, RefundMessageOutcome, RefundState, RefundUpdate, ReversalKind,
    ReversalOutcome, ReversalReport,
};
use doorbuster_core::order::EndReason;

use super::{PROVIDER, capture, for_payment, message, price, refunds};
use crate::conformance::Fixture;

/// If a second message reports that a refund failed, it may be about the earlier attempt. So the
/// server does not mark the refund as failed, and only asks the provider about it.
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
    // The second message may arrive before or after the next attempt. The test sends the message at
    // both times.
    asks(&send_back("evt_3").await, false);
    apply(RefundUpdate::Accepted { again_ms: 500 }).await;
    asks(&send_back("evt_4").await, true);
    assert_eq!(apply(RefundUpdate::Settled).await.state, RefundState::Settled);
    asks(&send_back("evt_5").await, true);
    assert_eq!(apply(RefundUpdate::Settled).await.state, RefundState::Settled);
    // The message alone does not change the state to failed. The refund fails when the provider's
    // answer confirms that the money came back.
    asks(&send_back("evt_6").await, true);
    assert_eq!(apply(back()).await.state, RefundState::Failed);
    fixture.check_invariants().await;
}

/// If reports about a manual refund arrive in the wrong sequence, the report with the latest time
/// counts.
pub async fn an_old_report_of_a_refund_by_hand_changes_nothing(fixture: Fixture) {
    use ReversalOutcome::{Known, Noted};
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    capture(&fixture, &message(&order, "evt_1", "pay_1")).await;
    let send = async |at: i64, minor: i64, stands: bool| {
        let report = ReversalReport {
            event: Some(format!("evt_{at}_{minor}_{stands}")),
            provider: PROVIDER.to_owned(),
            payment: PaymentId("pay_1".to_owned()),
            kind: ReversalKind::Returned,
            money: Some(Money { minor, ..price(2) }),
            stands,
            reported_at: Some(Millis(at)),
            dispute: None,
        };
        fixture.store.record_reversal(report).await.expect("writes")
    };
    let stands = async || {
        let found = fixture.store.reversals().await.expect("reads");
        found.iter().map(|found| found.money.minor).collect::<Vec<_>>()
    };
    send(20_000, 40, false).await;
    assert_eq!(send(10_000, 40, true).await, Known, "the failure is newer than this report");
    assert_eq!(send(20_000, 40, true).await, Known, "the failure must count");
    assert_eq!(stands().await, [0; 0]);
    assert_eq!(send(30_000, 40, true).await, Noted, "a newer refund must count again");
    assert_eq!(send(25_000, 40, false).await, Known, "an old failure must not count");
    assert_eq!(stands().await, [40]);
    // A report of a larger amount may be about another refund. So the store applies this report,
    // although the report is older than the last one. The store then records a time that is later
    // than the times of both reports.
    assert_eq!(send(5_000, 60, true).await, Noted);
    assert_eq!(stands().await, [60]);
    assert_eq!(send(40_000, 60, false).await, Noted);
    assert_eq!(stands().await, [0; 0]);
    // If a report only confirms the stored state, the store still records the report's time. So a
    // report with an earlier time then has no effect.
    assert_eq!(send(110_000, 40, true).await, Noted);
    assert_eq!(send(120_000, 40, false).await, Noted);
    assert_eq!(send(140_000, 40, false).await, Known, "the refund had failed already");
    assert_eq!(send(130_000, 40, true).await, Known, "an old report must not count");
    assert_eq!(stands().await, [0; 0]);
    assert_eq!(send(210_000, 40, true).await, Noted);
    assert_eq!(send(230_000, 40, true).await, Known, "the refund was recorded already");
    assert_eq!(send(220_000, 40, false).await, Known, "an old failure must not count");
    assert_eq!(stands().await, [40]);
    // In the same second, a refund failed and a person made a smaller refund.
    assert_eq!(send(245_000, 40, false).await, Noted);
    assert_eq!(send(245_000, 20, true).await, Noted, "the smaller refund must count");
    assert_eq!(stands().await, [20]);
    assert_eq!(send(246_000, 40, true).await, Noted);
    // A refund of 40 failed, and then a person made a refund of 30. The report about the failure
    // arrives last, and must not hide the refund of 30.
    assert_eq!(send(250_000, 30, true).await, Known, "the larger amount stays");
    assert_eq!(send(247_000, 40, false).await, Known, "the newer refund must still count");
    assert_eq!(stands().await, [40]);
    fixture.check_invariants().await;
}

//! Tests the effects of manual refunds, which a person makes at the provider, on the engine's own
//! refunds.
use doorbuster_core::Millis;
use doorbuster_core::event::{Attribution, Subject};
use doorbuster_core::limits::REFUND_TRIES_MAX;
use doorbuster_core::money::{
    Money, PaymentId, Refund, RefundId, RefundMessageOutcome, RefundState, RefundUpdate,
    ReversalKind, ReversalOutcome, ReversalReport,
};
use doorbuster_core::order::EndReason;

use super::{PROVIDER, capture, for_payment, message, price, refunds};
use crate::conformance::Fixture;
use crate::contract::{DeadLetterContent, DeadLetterId};

/// If a message is about a manual refund, the engine asks the provider about the engine's own
/// refund of the payment. The message alone does not settle that refund.
pub async fn a_manual_refund_makes_the_provider_check_due_at_once(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    capture(&fixture, &message(&order, "evt_1", "pay_1")).await;
    fixture
        .store
        .end_order(order.id, EndReason::Refund, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    let id = refunds(&fixture, for_payment(&order)).await.remove(0).id;
    let note = async |update| {
        fixture
            .store
            .apply_refund_update(id.clone(), update)
            .await
            .expect("writes")
            .expect("a refund")
    };
    let failed = || RefundUpdate::Failed("away".to_owned());
    let send = async |event: &str, lost: bool| -> Refund {
        fixture.clock.advance(1);
        let settle = fixture.store.settle_refund(
            PROVIDER.to_owned(),
            event.to_owned(),
            id.clone(),
            RefundUpdate::CheckAgain { lost },
        );
        assert_eq!(settle.await.expect("writes"), RefundMessageOutcome::Applied, "{event}");
        refunds(&fixture, for_payment(&order)).await.remove(0)
    };
    let asks = |refund: &Refund, accepted: bool| {
        let is_due = refund.state == RefundState::Pending && refund.next_at == fixture.clock.now();
        assert!(is_due && refund.accepted == accepted && refund.settled_at.is_none(), "{refund:?}");
    };
    note(failed()).await;
    asks(&send("evt_2", false).await, false);
    note(RefundUpdate::Accepted { again_ms: 500 }).await;
    asks(&send("evt_3", true).await, true);
    // The message of `evt_5` says that refunded money came back. This may be the money of the
    // engine's refund. So the engine's refund becomes pending, although it was settled.
    let settled = note(RefundUpdate::Settled).await;
    assert_eq!(send("evt_4", false).await, settled);
    asks(&send("evt_5", true).await, true);
    // A message makes a failed refund pending. The refund then has the full number of attempts
    // again.
    note(RefundUpdate::Settled).await;
    asks(&send("evt_6", true).await, true);
    for _ in 0..REFUND_TRIES_MAX {
        note(failed()).await;
    }
    asks(&send("evt_7", false).await, true);
    for tries in 1..REFUND_TRIES_MAX {
        let refund = note(failed()).await;
        assert_eq!((refund.state, refund.tries), (RefundState::Pending, tries));
    }
    assert_eq!(note(failed()).await.state, RefundState::Failed);
    // If the bank has sent a refund's money back, the refund waits for an operator. A later message
    // about a manual refund does not change this.
    let back = note(RefundUpdate::CameBack("the account is closed".to_owned())).await;
    assert_eq!(send("evt_8", true).await, back);
    fixture.check_invariants().await;
}

/// If a discarded refund becomes pending and then fails again, it is a dead letter again.
pub async fn a_discarded_refund_that_fails_again_is_a_dead_letter_again(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    capture(&fixture, &message(&order, "evt_1", "pay_1")).await;
    fixture
        .store
        .end_order(order.id, EndReason::Refund, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    let id = refunds(&fixture, for_payment(&order)).await.remove(0).id;
    let note = async |update| {
        fixture
            .store
            .apply_refund_update(id.clone(), update)
            .await
            .expect("writes")
            .expect("a refund")
    };
    let dead = async || fixture.store.dead_letter_counts().await.expect("reads").refunds;
    let give_up = async || {
        for _ in 0..REFUND_TRIES_MAX {
            note(RefundUpdate::Failed("away".to_owned())).await;
        }
        dead().await
    };
    let show =
        async || fixture.store.dead_letter(DeadLetterId::Refund(id.clone())).await.expect("reads");
    assert!(show().await.is_none(), "a pending refund must not be a dead letter");
    assert_eq!(give_up().await, 1);
    let Some((letter, DeadLetterContent::Refund(refund))) = show().await else {
        panic!("the dead letter must contain its refund")
    };
    assert_eq!((letter.reason.as_str(), letter.about), ("away", order.id.to_string()));
    assert_eq!(*refund, refunds(&fixture, for_payment(&order)).await.remove(0));
    assert!(fixture.store.discard_refund(id.clone(), "resolved".to_owned()).await.expect("writes"));
    assert_eq!(dead().await, 0);
    assert!(show().await.is_none(), "a discarded refund must not be a dead letter");
    note(RefundUpdate::Accepted { again_ms: 5 }).await;
    assert_eq!(give_up().await, 1, "a discarded refund that failed again must be a dead letter");
    fixture.store.retry_refund(id.clone()).await.expect("writes").expect("the refund had failed");
    assert_eq!(give_up().await, 1, "a retried refund that failed again must be a dead letter");
    assert!(fixture.store.discard_refund(id.clone(), "resolved".to_owned()).await.expect("writes"));
    assert!(!fixture.store.discard_refund(id.clone(), "again".to_owned()).await.expect("writes"));
    note(RefundUpdate::CameBack("the account is closed".to_owned())).await;
    assert_eq!(dead().await, 0, "a discarded refund must not be a dead letter");
    let retried = fixture.store.retry_refund(id).await.expect("writes");
    assert_eq!(retried, None, "a discarded refund must not be requested again");
    fixture.check_invariants().await;
}

/// While the server waits for the provider's answer about a refund, a message about the refund may
/// arrive. The answer may be older than the message, so the answer does not settle the refund, and
/// the server asks again.
pub async fn an_answer_older_than_a_message_is_ignored(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    capture(&fixture, &message(&order, "evt_1", "pay_1")).await;
    fixture
        .store
        .end_order(order.id, EndReason::Refund, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    let due = async || fixture.store.refunds_due(9).await.expect("reads").pop();
    let answer = async |requested: &Refund, update| {
        fixture
            .store
            .answer_refund(requested.clone(), update)
            .await
            .expect("writes")
            .expect("a refund")
    };
    let requested = due().await.expect("the refund is due");
    fixture.clock.advance(1);
    let (provider, event) = (PROVIDER.to_owned(), "evt_2".to_owned());
    let update = fixture.store.settle_refund(
        provider,
        event,
        requested.id.clone(),
        RefundUpdate::CheckAgain { lost: true },
    );
    assert_eq!(update.await.expect("writes"), RefundMessageOutcome::Applied);
    let again = due().await.expect("the refund is still due");
    let back = RefundUpdate::CameBack("the account is closed".to_owned());
    assert_eq!(answer(&requested, back.clone()).await, again, "the older answer must be ignored");
    let again = Refund { accepted: true, ..again };
    for late in [RefundUpdate::Settled, RefundUpdate::Accepted { again_ms: 5 }] {
        assert_eq!(
            answer(&requested, late).await,
            again,
            "the refund must be accepted, and the server must ask again"
        );
    }
    assert_eq!(due().await.as_ref(), Some(&again));
    let again = answer(&requested, RefundUpdate::Failed("away".to_owned())).await;
    assert_eq!(
        (again.state, again.tries),
        (RefundState::Pending, 1),
        "the refusal by the provider must count as one attempt"
    );
    let settled = answer(&again, RefundUpdate::Settled).await;
    assert_eq!(settled.state, RefundState::Settled);
    fixture.clock.advance(1);
    for late in [RefundUpdate::Settled, RefundUpdate::Accepted { again_ms: 5 }] {
        assert_eq!(answer(&requested, late).await, settled, "a settled refund must stay settled");
    }
    // The answer says that the money of the settled refund came back. The answer may be outdated,
    // so the server asks again.
    let lost = answer(&requested, back).await;
    assert_eq!((lost.state, lost.accepted, lost.settled_at), (RefundState::Pending, true, None));
    assert_eq!(due().await, Some(lost));
    let unknown = Refund { id: RefundId("re_none".to_owned()), ..again };
    assert_eq!(
        fixture.store.answer_refund(unknown, RefundUpdate::Settled).await.expect("writes"),
        None
    );
    fixture.check_invariants().await;
}

/// If the provider's late answer says that the provider accepted a failed refund, the refund
/// becomes pending again.
pub async fn a_late_acceptance_revives_a_failed_refund(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    capture(&fixture, &message(&order, "evt_1", "pay_1")).await;
    fixture
        .store
        .end_order(order.id, EndReason::Refund, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    let id = refunds(&fixture, for_payment(&order)).await.remove(0).id;
    let note = async |update| {
        fixture
            .store
            .apply_refund_update(id.clone(), update)
            .await
            .expect("writes")
            .expect("a refund")
    };
    let now = async || refunds(&fixture, for_payment(&order)).await.remove(0);
    let accept = async |requested: Refund| {
        fixture.clock.advance(1);
        let answer = fixture.store.answer_refund(requested, RefundUpdate::Accepted { again_ms: 5 });
        let refund = answer.await.expect("writes").expect("a refund");
        let is_due = refund.state == RefundState::Pending && refund.next_at == fixture.clock.now();
        assert!(
            is_due && refund.accepted && refund.tries == 0 && refund.error.is_none(),
            "{refund:?}"
        );
    };
    for _ in 1..REFUND_TRIES_MAX {
        note(RefundUpdate::Failed("away".to_owned())).await;
    }
    // While the request to the provider is under way, the refund becomes due again.
    let requested = now().await;
    fixture.clock.advance(1);
    note(RefundUpdate::CheckAgain { lost: false }).await;
    accept(requested).await;
    for _ in 1..REFUND_TRIES_MAX {
        note(RefundUpdate::Failed("away".to_owned())).await;
    }
    // Two requests run concurrently. The first request is the last permitted attempt, and it fails.
    // Then the second request succeeds.
    let requested = now().await;
    assert_eq!(note(RefundUpdate::Failed("away".to_owned())).await.state, RefundState::Failed);
    accept(requested).await;
    // If the bank sends the money of an accepted refund back, the refund waits for an operator.
    let requested = now().await;
    let back = note(RefundUpdate::CameBack("the account is closed".to_owned())).await;
    let late = fixture.store.answer_refund(requested, RefundUpdate::Settled).await.expect("writes");
    assert_eq!(late, Some(back));
    fixture.check_invariants().await;
}

/// A reversal is recorded once, and only after its payment was captured.
pub async fn a_reversal_is_recorded_once(fixture: Fixture) {
    use ReversalKind::{Disputed, Returned};
    use ReversalOutcome::{Known, NoPayment, Noted};
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    let send = async |event: &str, kind, minor: Option<i64>, stands| {
        let (event, money) =
            (Some(event.to_owned()), minor.map(|minor| Money { minor, ..price(2) }));
        let (provider, payment) = (PROVIDER.to_owned(), PaymentId("pay_1".to_owned()));
        let (reported_at, dispute) = (None, None);
        let report =
            ReversalReport { event, provider, payment, kind, money, stands, reported_at, dispute };
        fixture.store.record_reversal(report).await.expect("writes")
    };
    let stands = async || {
        let all = fixture.store.reversals().await.expect("reads");
        all.iter().map(|found| (found.kind, found.money.minor)).collect::<Vec<_>>()
    };
    let early = message(&order, "evt_f", "pay_1");
    assert!(fixture.store.fail_payment(early).await.expect("writes"));
    assert_eq!(send("evt_1", Disputed, None, true).await, NoPayment, "an early report is recorded");
    capture(&fixture, &message(&order, "evt_0", "pay_1")).await;
    assert_eq!(
        send("evt_1", Disputed, None, true).await,
        Noted,
        "a reversal must be recorded after its payment was captured"
    );
    assert_eq!(send("evt_2", Disputed, None, false).await, Noted, "a won dispute must be recorded");
    assert_eq!(send("evt_1", Disputed, None, true).await, Known, "a repeat must change nothing");
    assert_eq!(stands().await, []);
    // A person refunded 40. Then the provider reports that two other refunds, of 10 and of 60,
    // failed.
    assert_eq!(send("evt_3", Returned, Some(40), true).await, Noted);
    for (event, minor) in [("evt_4", 10), ("evt_5", 60)] {
        assert_eq!(send(event, Returned, Some(minor), false).await, Known, "a reversal changed");
        assert_eq!(stands().await, [(Returned, 40)]);
    }
    assert_eq!(send("evt_6", Returned, Some(40), false).await, Noted);
    assert_eq!(send("evt_3", Returned, Some(40), true).await, Known);
    assert_eq!(stands().await, []);
    // A later report of a smaller or a larger amount is recorded with this amount.
    for (event, minor) in [("evt_8", 30), ("evt_9", 70)] {
        assert_eq!(send(event, Returned, Some(minor), true).await, Noted);
        assert_eq!(stands().await, [(Returned, minor)]);
    }
    assert_eq!(send("evt_10", Returned, Some(70), false).await, Noted);
    // A message that names no refund of the engine is still recorded as a reversal.
    let no_refund = RefundId::for_payment(&PaymentId("pay_1".to_owned()));
    for (event, first, second) in [
        ("evt_7", RefundMessageOutcome::NoRefund, Noted),
        ("evt_7", RefundMessageOutcome::Repeated, Known),
    ] {
        let settled = fixture.store.settle_refund(
            PROVIDER.to_owned(),
            event.to_owned(),
            no_refund.clone(),
            RefundUpdate::CheckAgain { lost: false },
        );
        assert_eq!(settled.await.expect("writes"), first);
        assert_eq!(send(event, Returned, Some(50), true).await, second);
    }
    fixture.check_invariants().await;
}

/// Each dispute of a payment is recorded separately. For each dispute, the report with the latest
/// time counts.
pub async fn each_dispute_has_its_newest_report(fixture: Fixture) {
    use ReversalOutcome::{Known, Noted};
    let grant = fixture.slot(10, 10, 4).await;
    let order = fixture.reserve(&grant, 1, "anna", 2).await;
    capture(&fixture, &message(&order, "evt_0", "pay_1")).await;
    let sent = std::cell::Cell::new(0);
    let send = async |dispute: Option<(&str, i64)>, minor: Option<i64>, stands| {
        sent.set(sent.get() + 1);
        let (event, money) =
            (Some(format!("evt_{}", sent.get())), minor.map(|minor| Money { minor, ..price(2) }));
        let (provider, payment, kind) =
            (PROVIDER.to_owned(), PaymentId("pay_1".to_owned()), ReversalKind::Disputed);
        let (dispute, reported_at) = dispute.map(|(id, at)| (id.to_owned(), Millis(at))).unzip();
        let report =
            ReversalReport { event, provider, payment, kind, money, stands, reported_at, dispute };
        fixture.store.record_reversal(report).await.expect("writes")
    };
    let stands = async || {
        let found = fixture.store.reversals().await.expect("reads");
        let mut minors: Vec<i64> = found.iter().map(|found| found.money.minor).collect();
        minors.sort_unstable();
        minors
    };
    // Three disputes are open at the same time, and two of them have the same amount. The end of
    // one dispute does not end another one.
    assert_eq!(send(Some(("dp_1", 10)), Some(60), true).await, Noted);
    assert_eq!(send(Some(("dp_2", 11)), Some(40), true).await, Noted);
    assert_eq!(send(Some(("dp_3", 12)), Some(40), true).await, Noted);
    assert_eq!(stands().await, [40, 40, 60]);
    assert_eq!(send(Some(("dp_1", 20)), Some(60), false).await, Noted);
    assert_eq!(stands().await, [40, 40]);
    assert_eq!(send(Some(("dp_2", 20)), Some(40), false).await, Noted);
    assert_eq!(stands().await, [40]);
    // A report that is older than the stored report changes nothing. A newer report changes the
    // dispute, even after the dispute ended.
    assert_eq!(send(Some(("dp_1", 15)), Some(60), true).await, Known);
    assert_eq!(stands().await, [40]);
    assert_eq!(send(Some(("dp_1", 30)), Some(50), true).await, Noted, "the loss must be recorded");
    assert_eq!(send(Some(("dp_1", 31)), Some(50), true).await, Known, "a repeat must not count");
    assert_eq!(stands().await, [40, 50]);
    assert_eq!(send(Some(("dp_1", 32)), Some(55), true).await, Noted, "a larger amount must count");
    assert_eq!(send(Some(("dp_1", 29)), Some(55), false).await, Known, "an old report is ignored");
    assert_eq!(stands().await, [40, 55]);
    // If two reports about one dispute have the same time, the report of the dispute's end counts,
    // even if it arrives first.
    assert_eq!(send(Some(("dp_1", 32)), Some(55), false).await, Noted);
    assert_eq!(send(Some(("dp_4", 40)), Some(70), false).await, Noted);
    for (dispute, minor) in [(("dp_1", 32), 55), (("dp_4", 40), 70), (("dp_4", 39), 70)] {
        assert_eq!(send(Some(dispute), Some(minor), true).await, Known);
    }
    assert_eq!(send(Some(("dp_3", 40)), Some(40), false).await, Noted);
    assert_eq!(stands().await, [0; 0]);
    // A report without an amount is about the whole payment. If a dispute has no id, the report
    // that arrives last counts.
    assert_eq!(send(None, None, true).await, Noted);
    assert_eq!(send(None, None, true).await, Known);
    assert_eq!(stands().await, [price(2).minor]);
    assert_eq!(send(None, None, false).await, Noted);
    assert_eq!(send(None, None, true).await, Noted);
    assert_eq!(stands().await, [price(2).minor]);
    assert_eq!(send(None, None, false).await, Noted);
    assert_eq!(stands().await, [0; 0]);
    // The event of each report names the dispute by its id.
    let history = fixture.store.history(order.id).await.expect("reads");
    let reports = history.into_iter().filter_map(|it| match it.event.subject {
        Subject::Reversal { dispute, money, stands, .. } => Some((dispute, money.minor, stands)),
        _ => None,
    });
    let of = |n: u32, minor, stands| (Some(format!("dp_{n}")), minor, stands);
    let first =
        [of(1, 60, true), of(2, 40, true), of(3, 40, true), of(1, 60, false), of(2, 40, false)];
    assert_eq!(reports.take(5).collect::<Vec<_>>(), first);
    fixture.check_invariants().await;
}

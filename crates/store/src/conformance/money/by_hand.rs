//! Money that somebody gives back by hand at the provider, beside our refunds.
use doorbuster_core::event::By;
use doorbuster_core::limits::REFUND_TRIES_MAX;
use doorbuster_core::money::{Refund, RefundNews, RefundState};
use doorbuster_core::order::Ending;

use super::{PROVIDER, capture, message, of, refunds};
use crate::conformance::Rig;

/// What was given back by hand decides nothing about a refund: its provider is asked at once, and what was over is only looked at.
pub async fn what_is_given_back_by_hand_hurries_a_question(rig: Rig) {
    let grant = rig.slot(10, 10, 4).await;
    let order = rig.reserve(&grant, 1, "anna", 2).await;
    capture(&rig, &message(&order, "evt_1", "pay_1")).await;
    rig.store.end_order(order.id, Ending::Refund, By::ENGINE.clone()).await.expect("writes");
    let id = refunds(&rig, of(&order)).await.remove(0).id;
    let note = async |news| rig.store.note_refund(id.clone(), news).await.expect("writes").expect("a refund");
    let failed = || RefundNews::Failed("away".to_owned());
    let told = async |event: &str, lost: bool| -> Refund {
        rig.clock.pass(1);
        let settle =
            rig.store.settle_refund(PROVIDER.to_owned(), event.to_owned(), id.clone(), RefundNews::Ask { lost });
        assert!(settle.await.expect("writes"), "{event}");
        refunds(&rig, of(&order)).await.remove(0)
    };
    let asks = |refund: &Refund, accepted: bool| {
        let is_due = refund.state == RefundState::Pending && refund.next_at == rig.clock.now();
        assert!(is_due && refund.accepted == accepted && refund.settled_at.is_none(), "{refund:?}");
    };
    note(failed()).await;
    asks(&told("evt_2", false).await, false);
    note(RefundNews::Accepted { again_ms: 500 }).await;
    asks(&told("evt_3", true).await, true);
    // What arrived has arrived, unless it was theirs that did not.
    let settled = note(RefundNews::Settled).await;
    assert_eq!(told("evt_4", false).await, settled);
    asks(&told("evt_5", true).await, true);
    // One that was given up is asked about once, and stays given up if that is in vain.
    note(RefundNews::Settled).await;
    asks(&told("evt_6", true).await, true);
    for _ in 0..REFUND_TRIES_MAX {
        note(failed()).await;
    }
    asks(&told("evt_7", false).await, true);
    assert_eq!(note(failed()).await.state, RefundState::Failed);
    // What came back waits for an operator.
    let back = note(RefundNews::CameBack("the account is closed".to_owned())).await;
    assert_eq!(told("evt_8", true).await, back);
    rig.adds_up().await;
}

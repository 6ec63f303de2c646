//! The end of a line: with its sale, for everybody who still stands there, once; and what the last place of a buyer became.
use std::collections::BTreeSet;

use doorbuster_core::event::{Event, Subject};
use doorbuster_core::limits::LINE_BATCH_MAX;
use doorbuster_core::line::{Joined, Left, LineEnded};
use doorbuster_core::sale::Step;
use doorbuster_core::{ItemId, Order, OrderState, PlaceState, TicketId, Verdict};

use super::{Rig, buyer, cancel, expect_line, held_out, join, place, serve, stand};
use crate::contract::LineServed;

/// More than anything here tells of.
const TOLD_MAX: usize = 1_000;

async fn step(rig: &Rig, step: Step) {
    let sale = rig.store.sales().await.expect("reads")[0].id.clone();
    rig.store.step_sale(&sale, step).await.expect("writes");
}

async fn end(rig: &Rig, item: ItemId) -> LineEnded {
    rig.store.end_line(item).await.expect("writes")
}

/// The places of which it is told that they ended with their sale.
async fn told(rig: &Rig) -> Vec<TicketId> {
    while rig.store.sequence_events(TOLD_MAX).await.expect("writes") > 0 {}
    let told = rig.store.told_after(0, TOLD_MAX).await.expect("reads");
    let events = told.into_iter().map(|read| read.expect("a row as it was written").event);
    let of = |event: Event| match event.subject {
        Subject::Ticket { id, .. } => Some(id),
        _ => None,
    };
    events.filter(Event::is_end_of_line).filter_map(of).collect()
}

/// Who stands there when the sale ends gets nothing any more and is told so; units that come back are kept for nobody.
pub async fn a_line_ends_with_its_sale(rig: Rig) {
    let (grant, orders) = held_out(&rig, 3, 1).await;
    let item = grant.slot.item;
    let (anna, bert) = (stand(&rig, item, "anna").await, stand(&rig, item, "bert").await);
    assert_eq!(end(&rig, item).await, LineEnded::default(), "it is on");
    step(&rig, Step::Pause).await;
    cancel(&rig, &orders[0]).await;
    assert_eq!(end(&rig, item).await, LineEnded::default(), "it is paused");
    expect_line(&rig, item, 2, 1).await;
    step(&rig, Step::Close).await;
    assert_eq!(serve(&rig, item).await, LineServed::default(), "nobody is served any more");
    rig.clock.pass(500);
    rig.told.forget();
    let ended = end(&rig, item).await;
    assert_eq!((ended.places.len(), ended.more), (2, false));
    for (was, is) in [&anna, &bert].into_iter().zip(&ended.places) {
        assert_eq!(
            (is.id, is.state, is.ended_at),
            (was.id, PlaceState::PassedOver, Some(rig.clock.now()))
        );
        assert_eq!(place(&rig, was.id).await, (PlaceState::PassedOver, 0));
        let verdict = rig.store.verdict(was.id).await.expect("reads").expect("a verdict");
        assert_eq!((verdict.verdict, verdict.order), (Verdict::Unavailable, None));
        let left = rig.store.leave_line(was.id).await.expect("writes");
        assert_eq!(left, Left::Already(is.clone()), "a verdict stays");
    }
    assert!(
        rig.told
            .take()
            .iter()
            .any(|c| c.events && c.counts.iter().any(|c| (c.waiting, c.kept) == (0, 0)))
    );
    assert_eq!(told(&rig).await, [anna.id, bert.id], "each is told once, by turn");
    expect_line(&rig, item, 0, 0).await;
    rig.expect_units(item, 1, 0, 2, 0).await;
    assert_eq!(end(&rig, item).await, LineEnded::default(), "nobody is left");
    assert_eq!(serve(&rig, item).await, LineServed::default());
    assert_eq!(join(&rig, item, "anna", "new").await, Joined::NotOnSale);
    assert_eq!(told(&rig).await.len(), 2);
}

/// A long line ends piece by piece; whoever goes on, and however many do at once, each place ends once.
pub async fn a_long_line_ends_piece_by_piece(rig: Rig) {
    const WAIT: u32 = 2 * LINE_BATCH_MAX as u32 + 5;
    let grant = rig.slot(WAIT.into(), WAIT.into(), WAIT).await;
    let item = grant.slot.item;
    rig.reserve(&grant, 1, "holder", WAIT).await;
    let mut waiting = BTreeSet::new();
    for n in 0..WAIT {
        waiting.insert(stand(&rig, item, &format!("w{n}")).await.id);
    }
    step(&rig, Step::Close).await;
    let first = end(&rig, item).await;
    assert_eq!((first.places.len(), first.more), (LINE_BATCH_MAX, true));
    assert!(first.places.is_sorted_by_key(|place| place.n), "by turn");
    expect_line(&rig, item, u64::from(WAIT) - LINE_BATCH_MAX as u64, 0).await;
    let (one, other) = tokio::join!(end(&rig, item), end(&rig, item));
    let all = [first, one, other].map(|ended| ended.places).concat();
    assert_eq!(all.len(), waiting.len(), "none twice");
    assert_eq!(all.iter().map(|place| place.id).collect::<BTreeSet<_>>(), waiting);
    assert_eq!(end(&rig, item).await, LineEnded::default());
    let told = told(&rig).await;
    assert_eq!((told.len(), told.into_iter().collect::<BTreeSet<_>>()), (waiting.len(), waiting));
    expect_line(&rig, item, 0, 0).await;
}

/// What a buyer's last place became is found though the place is gone; a place that waits, or became nothing, is no order.
pub async fn the_last_place_of_a_buyer_is_known_by_its_order(rig: Rig) {
    let (grant, orders) = held_out(&rig, 3, 2).await;
    let item = grant.slot.item;
    let of = async |who: &str| rig.store.line_order_of(item, &buyer(who)).await.expect("reads");
    let served = async |who: &str, held: &Order| {
        stand(&rig, item, who).await;
        assert_eq!(of(who).await, None, "it waits");
        cancel(&rig, held).await;
        let mut orders = serve(&rig, item).await.orders;
        assert_eq!(orders.len(), 1, "{orders:?}");
        orders.remove(0)
    };
    assert_eq!(of("anna").await, None, "there was no place");
    let anna = served("anna", &orders[0]).await;
    assert_eq!(of("anna").await.as_ref(), Some(&anna));
    assert_eq!(of("bert").await, None, "somebody else's");
    assert_eq!(of("holder-2").await, None, "an order that was bought");
    rig.store.pay_order(anna.id).await.expect("writes");
    assert_eq!(of("anna").await.map(|order| order.state), Some(OrderState::Paid));
    // Another place of hers, that she leaves: there is nothing to take back.
    let Joined::Done(again) = join(&rig, item, "anna", "again").await else { panic!("a place") };
    assert_eq!(of("anna").await, None, "it waits");
    assert!(matches!(rig.store.leave_line(again.id).await.expect("writes"), Left::Done(_)));
    assert_eq!(of("anna").await, None, "it was left");
    let bert = served("bert", &orders[1]).await;
    cancel(&rig, &bert).await;
    assert_eq!(
        of("bert").await.map(|order| (order.id, order.state)),
        Some((bert.id, OrderState::Cancelled))
    );
    rig.adds_up().await;
}

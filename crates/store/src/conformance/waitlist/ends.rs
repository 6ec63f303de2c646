//! Tests the end of a waitlist, and how the store finds the order that a buyer's last entry became.
use std::collections::BTreeSet;

use doorbuster_core::event::{Event, Subject};
use doorbuster_core::limits::WAITLIST_BATCH_MAX;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::waitlist::{JoinOutcome, LeaveOutcome, WaitlistEnded};
use doorbuster_core::{ItemId, Order, OrderState, TicketId, Verdict, WaitlistState};

use super::{
    Fixture, all_on_hold, buyer, cancel, entry_state, expect_waitlist, join, join_new, serve,
};
use crate::contract::WaitlistServed;

/// The largest number of events in a page. No test in this file appends more events.
const EVENTS_MAX: usize = 1_000;

async fn step(fixture: &Fixture, step: PhaseStep) {
    let sale = fixture.store.sales().await.expect("reads")[0].id.clone();
    fixture.store.step_sale(&sale, step).await.expect("writes");
}

async fn end(fixture: &Fixture, item: ItemId) -> WaitlistEnded {
    fixture.store.end_waitlist(item).await.expect("writes")
}

/// Returns the entries that ended with their sale, according to the events.
async fn reported(fixture: &Fixture) -> Vec<TicketId> {
    while fixture.store.sequence_events(EVENTS_MAX).await.expect("writes") > 0 {}
    let rows = fixture.store.events_after(0, EVENTS_MAX).await.expect("reads");
    let events = rows.into_iter().map(|read| read.expect("the event row is readable").event);
    let of = |event: Event| match event.subject {
        Subject::Ticket { id, .. } => Some(id),
        _ => None,
    };
    events.filter(Event::is_end_of_waitlist).filter_map(of).collect()
}

/// When the sale ends, every waiting entry ends, and no more units are kept for the waitlist.
pub async fn a_waitlist_ends_with_its_sale(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 3, 1).await;
    let item = grant.slot.item;
    let (anna, bert) =
        (join_new(&fixture, item, "anna").await, join_new(&fixture, item, "bert").await);
    assert_eq!(
        end(&fixture, item).await,
        WaitlistEnded::default(),
        "entries must not end while the sale is open"
    );
    step(&fixture, PhaseStep::Pause).await;
    cancel(&fixture, &orders[0]).await;
    assert_eq!(
        end(&fixture, item).await,
        WaitlistEnded::default(),
        "entries must not end while the sale is paused"
    );
    expect_waitlist(&fixture, item, 2, 1).await;
    step(&fixture, PhaseStep::Close).await;
    assert_eq!(
        serve(&fixture, item).await,
        WaitlistServed::default(),
        "entries must not be served after the sale's end"
    );
    fixture.clock.advance(500);
    fixture.commits.forget();
    let ended = end(&fixture, item).await;
    assert_eq!((ended.entries.len(), ended.more), (2, false));
    for (was, is) in [&anna, &bert].into_iter().zip(&ended.entries) {
        assert_eq!(
            (is.id, is.state, is.ended_at),
            (was.id, WaitlistState::PassedOver, Some(fixture.clock.now()))
        );
        assert_eq!(entry_state(&fixture, was.id).await, (WaitlistState::PassedOver, 0));
        let verdict = fixture.store.verdict(was.id).await.expect("reads").expect("a verdict");
        assert_eq!((verdict.verdict, verdict.order), (Verdict::Unavailable, None));
        let left = fixture.store.leave_waitlist(was.id).await.expect("writes");
        assert_eq!(left, LeaveOutcome::Already(is.clone()), "a verdict must stay");
    }
    assert!(
        fixture
            .commits
            .take()
            .iter()
            .any(|c| c.events && c.counts.iter().any(|c| (c.waiting, c.kept) == (0, 0)))
    );
    assert_eq!(reported(&fixture).await, [anna.id, bert.id], "each entry must have one event");
    expect_waitlist(&fixture, item, 0, 0).await;
    fixture.expect_units(item, 1, 0, 2, 0).await;
    assert_eq!(
        end(&fixture, item).await,
        WaitlistEnded::default(),
        "a second call must find no waiting entry"
    );
    assert_eq!(serve(&fixture, item).await, WaitlistServed::default());
    assert_eq!(join(&fixture, item, "anna", "new").await, JoinOutcome::NotOnSale);
    assert_eq!(reported(&fixture).await.len(), 2);
}

/// A long waitlist ends in batches. Each entry ends once, even if several nodes end the waitlist
/// concurrently.
pub async fn a_long_waitlist_ends_in_batches(fixture: Fixture) {
    const WAIT: u32 = 2 * WAITLIST_BATCH_MAX as u32 + 5;
    let grant = fixture.slot(WAIT.into(), WAIT.into(), WAIT).await;
    let item = grant.slot.item;
    fixture.reserve(&grant, 1, "holder", WAIT).await;
    let mut waiting = BTreeSet::new();
    for n in 0..WAIT {
        waiting.insert(join_new(&fixture, item, &format!("w{n}")).await.id);
    }
    step(&fixture, PhaseStep::Close).await;
    let first = end(&fixture, item).await;
    assert_eq!((first.entries.len(), first.more), (WAITLIST_BATCH_MAX, true));
    assert!(first.entries.is_sorted_by_key(|entry| entry.n), "the entries must be sorted by turn");
    expect_waitlist(&fixture, item, u64::from(WAIT) - WAITLIST_BATCH_MAX as u64, 0).await;
    let (one, other) = tokio::join!(end(&fixture, item), end(&fixture, item));
    let all = [first, one, other].map(|ended| ended.entries).concat();
    assert_eq!(all.len(), waiting.len(), "each entry must end once");
    assert_eq!(all.iter().map(|entry| entry.id).collect::<BTreeSet<_>>(), waiting);
    assert_eq!(end(&fixture, item).await, WaitlistEnded::default());
    let ids = reported(&fixture).await;
    assert_eq!((ids.len(), ids.into_iter().collect::<BTreeSet<_>>()), (waiting.len(), waiting));
    expect_waitlist(&fixture, item, 0, 0).await;
}

/// If a buyer's last entry became an order, the store finds this order.
pub async fn the_last_entry_of_a_buyer_is_found_by_its_order(fixture: Fixture) {
    let (grant, orders) = all_on_hold(&fixture, 3, 2).await;
    let item = grant.slot.item;
    let of =
        async |who: &str| fixture.store.waitlist_order_of(item, &buyer(who)).await.expect("reads");
    let served = async |who: &str, held: &Order| {
        join_new(&fixture, item, who).await;
        assert_eq!(of(who).await, None, "a waiting entry must not have an order");
        cancel(&fixture, held).await;
        let mut orders = serve(&fixture, item).await.orders;
        assert_eq!(orders.len(), 1, "{orders:?}");
        orders.remove(0)
    };
    assert_eq!(
        of("anna").await,
        None,
        "a buyer without an entry must not have an order from the waitlist"
    );
    let anna = served("anna", &orders[0]).await;
    assert_eq!(of("anna").await.as_ref(), Some(&anna));
    assert_eq!(of("bert").await, None, "another buyer's order must not be found");
    assert_eq!(
        of("holder-2").await,
        None,
        "an order that is not from the waitlist must not be found"
    );
    fixture.store.pay_order(anna.id).await.expect("writes");
    assert_eq!(of("anna").await.map(|order| order.state), Some(OrderState::Paid));
    // Anna leaves the second entry, so it never becomes an order.
    let JoinOutcome::Done(again) = join(&fixture, item, "anna", "again").await else {
        panic!("anna must get an entry")
    };
    assert_eq!(of("anna").await, None, "a waiting entry must not have an order");
    assert!(matches!(
        fixture.store.leave_waitlist(again.id).await.expect("writes"),
        LeaveOutcome::Done(_)
    ));
    assert_eq!(of("anna").await, None, "an entry that its buyer left must not have an order");
    let bert = served("bert", &orders[1]).await;
    cancel(&fixture, &bert).await;
    assert_eq!(
        of("bert").await.map(|order| (order.id, order.state)),
        Some((bert.id, OrderState::Cancelled))
    );
    fixture.check_invariants().await;
}

//! Tests settling: each ticket gets one verdict and keeps it. A ticket either becomes an order,
//! which consumes the ticket, or is returned.
use std::sync::Arc;

use doorbuster_core::rows::FeedCause;
use doorbuster_core::{CloseCause, GrantId, Millis, OrderState, Seq, Stock, TicketN, Verdict};

use super::{Fixture, HOLD_MS, buyer, id_key, id_of, request_key};

/// A consumed ticket becomes an order, which can be found by its id and by its request.
pub async fn a_consumed_ticket_is_an_order(fixture: Fixture) {
    let grant = fixture.slot(100, 40, 10).await;
    let ticket = fixture.ticket(&grant, 1, "anna", "k", 4);
    fixture.clock.advance(5);
    let resolved = fixture.settle(&ticket).await;
    assert_eq!(
        (resolved.id, resolved.verdict, resolved.fresh),
        (id_of(&ticket), Verdict::Reserved, true)
    );
    let order = resolved.order.expect("an order");
    assert_eq!(
        (order.id, order.item, &order.buyer, &order.key),
        (id_of(&ticket), ticket.item, &ticket.buyer, &ticket.key)
    );
    assert_eq!(
        (order.units, order.state, order.grant, order.n),
        (ticket.units, OrderState::Reserved, grant.id, TicketN(1))
    );
    assert_eq!(
        (order.reserved_at, order.pay_by),
        (fixture.clock.now(), fixture.clock.now().plus(HOLD_MS))
    );
    assert_eq!((order.paid_at, order.ended_at), (None, None));
    assert_eq!(fixture.store.order(order.id).await.expect("reads"), Some(order.clone()));
    assert_eq!(
        fixture.store.order_of(buyer("anna"), request_key("k")).await.expect("reads"),
        Some(order)
    );
    assert_eq!(
        fixture.store.order_of(buyer("anna"), request_key("other")).await.expect("reads"),
        None
    );
    assert_eq!(fixture.store.quota(ticket.item, buyer("anna")).await.expect("reads"), 4);
    let after = fixture.grant(&grant).await;
    assert_eq!(
        (after.settled, after.max_n, after.resolved, after.feed_len),
        (4, TicketN(1), 1, Seq(0))
    );
    fixture.expect_units(ticket.item, 60, 36, 4, 0).await;
}

/// If a ticket is settled again, it keeps its verdict, and no units move.
pub async fn a_ticket_is_resolved_once(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 1).await;
    let consumed = fixture.ticket(&grant, 1, "anna", "a", 1);
    let returned = fixture.ticket(&grant, 2, "anna", "b", 1);
    let first =
        fixture.store.settle(vec![consumed.clone(), returned.clone()]).await.expect("settles");
    let before = (fixture.grant(&grant).await, fixture.counts(consumed.item).await);
    fixture.clock.advance(60_000);
    for _ in 0..2 {
        let again =
            fixture.store.settle(vec![returned.clone(), consumed.clone()]).await.expect("settles");
        assert_eq!(
            (again[0].verdict, again[1].verdict),
            (Verdict::LimitReached, Verdict::Reserved)
        );
        assert_eq!((again[0].fresh, again[1].fresh), (false, false));
        assert_eq!(again[1].order, first[0].order);
    }
    assert_eq!((fixture.grant(&grant).await, fixture.counts(consumed.item).await), before);
    for (ticket, resolved) in [(&consumed, &first[0]), (&returned, &first[1])] {
        let verdict = fixture.store.verdict(id_of(ticket)).await.expect("reads").expect("resolved");
        assert_eq!(
            (verdict.id, verdict.verdict, &verdict.order),
            (resolved.id, resolved.verdict, &resolved.order)
        );
    }
    fixture.check_invariants().await;
}

/// If a request has an order and gets a second ticket, the verdict of this ticket names the order.
/// The store credits the second ticket's units to the slot.
pub async fn a_second_ticket_of_a_request_gets_its_order(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 5).await;
    let first = fixture.ticket(&grant, 1, "anna", "k", 2);
    let order = fixture.settle(&first).await.order.expect("an order");
    let second = fixture.ticket(&grant, 2, "anna", "k", 2);
    let resolved = fixture.settle(&second).await;
    assert_eq!(
        (resolved.verdict, resolved.order.as_ref()),
        (Verdict::Order(order.id), Some(&order))
    );
    let feed = fixture.store.feed_after(grant.id, Seq(0), 9).await.expect("reads");
    let [credit] = &feed[..] else { panic!("expected one credit: {feed:?}") };
    assert_eq!((credit.ticket, credit.units, credit.quota_delta), (Some(id_of(&second)), 2, -2));
    assert_eq!(
        (credit.cause, &credit.buyer, &credit.key),
        (FeedCause::Returned, &Some(second.buyer.clone()), &Some(second.key.clone()))
    );
    let verdict = fixture.store.verdict(id_of(&second)).await.expect("reads").expect("resolved");
    assert_eq!((verdict.verdict, verdict.order), (Verdict::Order(order.id), Some(order)));
    fixture.expect_units(first.item, 0, 8, 2, 0).await;
}

/// If a buyer already has an order under a request key, the store refuses a ticket with the same
/// key for another item or another number of units.
pub async fn a_key_with_other_content_is_refused(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 5).await;
    let other = fixture.slot(10, 10, 5).await;
    fixture.settle(&fixture.ticket(&grant, 1, "anna", "k", 2)).await;
    let more = fixture.settle(&fixture.ticket(&grant, 2, "anna", "k", 1)).await;
    let elsewhere = fixture.settle(&fixture.ticket(&other, 1, "anna", "k", 2)).await;
    assert_eq!((more.verdict, elsewhere.verdict), (Verdict::KeyReused, Verdict::KeyReused));
    assert_eq!((more.order, elsewhere.order), (None, None));
    let another_buyer = fixture.settle(&fixture.ticket(&grant, 3, "bert", "k", 1)).await;
    assert_eq!(another_buyer.verdict, Verdict::Reserved, "two buyers may use the same key");
    fixture.expect_units(grant.slot.item, 0, 7, 3, 0).await;
    fixture.expect_units(other.slot.item, 0, 10, 0, 0).await;
}

/// The limit counts a buyer's units in active orders, both within one batch and across batches.
pub async fn the_limit_holds_within_a_batch_and_over_batches(fixture: Fixture) {
    let grant = fixture.slot(100, 100, 5).await;
    let tickets: Vec<_> =
        (1..=4).map(|n| fixture.ticket(&grant, n, "anna", &format!("k{n}"), 2)).collect();
    let resolved = fixture.store.settle(tickets).await.expect("settles");
    let verdicts: Vec<_> = resolved.iter().map(|r| r.verdict).collect();
    use Verdict::{LimitReached, Reserved};
    assert_eq!(verdicts, [Reserved, Reserved, LimitReached, LimitReached]);
    let last = fixture.settle(&fixture.ticket(&grant, 5, "anna", "k5", 1)).await;
    assert_eq!(last.verdict, Reserved);
    let over = fixture.settle(&fixture.ticket(&grant, 6, "anna", "k6", 1)).await;
    assert_eq!(over.verdict, LimitReached);
    assert_eq!(fixture.store.quota(grant.slot.item, buyer("anna")).await.expect("reads"), 5);
    assert_eq!(fixture.store.quota(grant.slot.item, buyer("bert")).await.expect("reads"), 0);
    fixture.expect_units(grant.slot.item, 0, 95, 5, 0).await;
}

/// A buyer of many items has a separate limit for each item.
pub async fn each_item_has_its_own_limit(fixture: Fixture) {
    let mut grants = Vec::new();
    for _ in 0..7 {
        grants.push(fixture.slot(10, 10, 1).await);
    }
    for round in 1..=2 {
        for grant in &grants {
            let key = format!("{}-{round}", grant.slot);
            let resolved = fixture.settle(&fixture.ticket(grant, round, "anna", &key, 1)).await;
            let wanted = if round == 1 { Verdict::Reserved } else { Verdict::LimitReached };
            assert_eq!(resolved.verdict, wanted, "{key}");
        }
    }
    fixture.check_invariants().await;
}

/// A ticket that is settled after its `decide_by` is returned.
pub async fn a_late_ticket_is_returned(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 5).await;
    let (just, late) =
        (fixture.ticket(&grant, 1, "anna", "a", 1), fixture.ticket(&grant, 2, "bert", "b", 1));
    fixture.clock.advance(10_000);
    assert_eq!(
        fixture.settle(&just).await.verdict,
        Verdict::Reserved,
        "exactly at its `decide_by`, a ticket must be consumed"
    );
    fixture.clock.advance(1);
    assert_eq!(fixture.settle(&late).await.verdict, Verdict::Unavailable);
    assert_eq!(
        fixture.grant(&grant).await.feed_len,
        Seq(1),
        "the late ticket's units must be credited"
    );
    fixture.expect_units(grant.slot.item, 0, 9, 1, 0).await;
}

/// A ticket of a closed grant does not become an order. Its units are not credited either, because
/// the closing has already returned them to the pool.
pub async fn a_closed_grant_consumes_no_ticket(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 5).await;
    fixture.store.close_grant(grant.id, CloseCause::LeaseLapsed).await.expect("writes");
    let resolved = fixture.settle(&fixture.ticket(&grant, 1, "anna", "a", 1)).await;
    assert_eq!(resolved.verdict, Verdict::Unavailable);
    let after = fixture.grant(&grant).await;
    assert_eq!((after.feed_len, after.resolved, after.max_n), (Seq(0), 1, TicketN(1)));
    fixture.expect_units(grant.slot.item, 10, 0, 0, 0).await;
}

/// If a ticket asks for more units than the grant has left, the slot is faulty. The ticket is
/// returned, and the grant is closed.
pub async fn a_ticket_beyond_the_granted_units_closes_the_grant(fixture: Fixture) {
    let grant = fixture.slot(10, 3, 9).await;
    let tickets = vec![
        fixture.ticket(&grant, 1, "anna", "a", 2),
        fixture.ticket(&grant, 2, "bert", "b", 2),
        fixture.ticket(&grant, 3, "cleo", "c", 1),
    ];
    let resolved = fixture.store.settle(tickets).await.expect("settles");
    let verdicts: Vec<_> = resolved.iter().map(|r| r.verdict).collect();
    assert_eq!(verdicts, [Verdict::Reserved, Verdict::Unavailable, Verdict::Unavailable]);
    let after = fixture.grant(&grant).await;
    assert_eq!(
        (after.open, after.closed, after.settled),
        (false, Some(CloseCause::OverGranted), 2)
    );
    assert_eq!(fixture.store.repairs().await.expect("reads"), 1);
    fixture.expect_units(grant.slot.item, 8, 0, 2, 0).await;
}

/// If two tickets of a grant have the same number, the slot is faulty. The verdict of the second
/// ticket is recorded without the number, and the grant is closed.
pub async fn a_reused_number_closes_the_grant(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 9).await;
    let first = fixture.ticket(&grant, 1, "anna", "a", 1);
    let twin = fixture.ticket(&grant, 1, "bert", "b", 1);
    fixture.settle(&first).await;
    assert_eq!(fixture.settle(&twin).await.verdict, Verdict::Unavailable);
    let after = fixture.grant(&grant).await;
    assert_eq!((after.closed, after.resolved), (Some(CloseCause::NumberReused), 1));
    for _ in 0..2 {
        let again = fixture.settle(&twin).await;
        assert_eq!((again.verdict, again.fresh), (Verdict::Unavailable, false));
    }
    let verdict = fixture.store.verdict(id_of(&twin)).await.expect("reads").expect("recorded");
    assert_eq!(verdict.verdict, Verdict::Unavailable);
    assert_eq!(
        fixture.store.order(id_of(&twin)).await.expect("reads"),
        None,
        "the second ticket's id must not find the first ticket's order"
    );
    fixture.expect_units(grant.slot.item, 9, 0, 1, 0).await;
}

/// A returned ticket uses up its number, as an order does. Another ticket with this number is
/// returned, and the grant is closed.
pub async fn a_returned_tickets_number_is_taken(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 1).await;
    fixture.reserve(&grant, 1, "anna", 1).await;
    assert_eq!(
        fixture.settle(&fixture.ticket(&grant, 2, "anna", "b", 1)).await.verdict,
        Verdict::LimitReached
    );
    assert_eq!(
        fixture.settle(&fixture.ticket(&grant, 2, "bert", "b", 1)).await.verdict,
        Verdict::Unavailable
    );
    assert_eq!(fixture.grant(&grant).await.closed, Some(CloseCause::NumberReused));
    fixture.check_invariants().await;
}

/// Tickets need not arrive in the order of their numbers.
pub async fn numbers_come_in_any_order(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 1).await;
    let numbers = [5, 2, 9, 1];
    let tickets =
        numbers.map(|n| fixture.ticket(&grant, n, &format!("buyer-{n}"), "k", 1)).to_vec();
    let resolved = fixture.store.settle(tickets).await.expect("settles");
    assert!(resolved.iter().all(|r| r.verdict == Verdict::Reserved));
    assert_eq!(
        resolved.iter().map(|r| r.order.as_ref().map_or(0, |o| o.n.0)).collect::<Vec<_>>(),
        numbers
    );
    let after = fixture.grant(&grant).await;
    assert_eq!((after.max_n, after.resolved, after.open), (TicketN(9), 4, true));
    fixture.expect_units(grant.slot.item, 0, 6, 4, 0).await;
}

/// A ticket of an unknown grant is returned, and the store keeps no row about it.
pub async fn a_ticket_of_an_unknown_grant_leaves_no_row(fixture: Fixture) {
    let mut grant = fixture.slot(10, 10, 1).await;
    grant.id = GrantId(404);
    let ticket = fixture.ticket(&grant, 1, "anna", "a", 1);
    assert_eq!(fixture.settle(&ticket).await.verdict, Verdict::Unavailable);
    assert_eq!(fixture.store.verdict(id_of(&ticket)).await.expect("reads"), None);
    fixture.expect_units(grant.slot.item, 0, 10, 0, 0).await;
}

/// A batch of tickets is settled in one transaction. The store publishes the batch's result before
/// the caller gets an answer.
pub async fn a_batch_is_published_before_it_is_answered(fixture: Fixture) {
    let grant = fixture.slot(1_000, 400, 1).await;
    fixture.commits.forget();
    let tickets: Vec<_> =
        (1..=500).map(|n| fixture.ticket(&grant, n, &format!("buyer-{n}"), "k", 1)).collect();
    let resolved = fixture.store.settle(tickets).await.expect("settles");
    assert_eq!(resolved.len(), 500);
    assert_eq!(resolved.iter().filter(|r| r.verdict == Verdict::Reserved).count(), 400);
    let commits = fixture.commits.take();
    let [commit] = &commits[..] else { panic!("expected one commit, got {}", commits.len()) };
    let orders: Vec<_> = resolved.iter().filter_map(|r| r.order.clone()).collect();
    assert_eq!(commit.orders, orders);
    assert_eq!(commit.counts, [fixture.counts(grant.slot.item).await]);
    fixture.expect_units(grant.slot.item, 600, 0, 400, 0).await;
}

/// An empty batch gets an empty answer.
pub async fn an_empty_batch_is_settled(fixture: Fixture) {
    assert_eq!(fixture.store.settle(Vec::new()).await.expect("settles"), []);
}

/// After a ticket's `decide_by`, a caller can force a verdict. This verdict never changes.
pub async fn a_verdict_is_forced_after_its_time(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 5).await;
    let ticket = fixture.ticket(&grant, 1, "anna", "a", 2);
    let (id, parts) = (id_of(&ticket), id_key().open(&id_of(&ticket), "anna").expect("a valid id"));
    fixture.clock.advance(10_000);
    assert_eq!(
        fixture.store.force_verdict(id, parts, buyer("anna")).await.expect("writes"),
        None,
        "a verdict must not be forced while the ticket can be settled"
    );
    fixture.clock.advance(1);
    let forced =
        fixture.store.force_verdict(id, parts, buyer("anna")).await.expect("writes").expect("due");
    assert_eq!((forced.verdict, forced.fresh), (Verdict::Unavailable, true));
    let again =
        fixture.store.force_verdict(id, parts, buyer("anna")).await.expect("writes").expect("due");
    assert_eq!((again.verdict, again.fresh), (Verdict::Unavailable, false));
    let feed = fixture.store.feed_after(grant.id, Seq(0), 9).await.expect("reads");
    assert_eq!(
        feed.iter().map(|f| (f.units, f.ticket, f.key.clone())).collect::<Vec<_>>(),
        [(2, Some(id), None)]
    );
    let late = Arc::new(doorbuster_core::Ticket {
        decide_by: Millis(parts.decide_by.0),
        ..(*ticket).clone()
    });
    assert_eq!(
        fixture.settle(&late).await.verdict,
        Verdict::Unavailable,
        "the forced verdict must stay"
    );
    fixture.expect_units(grant.slot.item, 0, 10, 0, 0).await;
}

/// If the ticket has already become an order, a forced verdict returns this order. The same applies
/// if another ticket of the same request has become an order.
pub async fn a_forced_verdict_finds_the_order(fixture: Fixture) {
    let grant = fixture.slot(10, 10, 5).await;
    let consumed = fixture.ticket(&grant, 1, "anna", "k", 2);
    let order = fixture.settle(&consumed).await.order.expect("an order");
    let twin = fixture.ticket(&grant, 2, "anna", "k", 2);
    fixture.clock.advance(10_001);
    let force = async |ticket| {
        let id = id_of(ticket);
        let parts = id_key().open(&id, "anna").expect("a valid id");
        fixture
            .store
            .force_verdict(id, parts, buyer("anna"))
            .await
            .expect("writes")
            .expect("resolved")
    };
    let first = force(&*consumed).await;
    assert_eq!(
        (first.verdict, first.order.as_ref(), first.fresh),
        (Verdict::Reserved, Some(&order), false)
    );
    let second = force(&*twin).await;
    assert_eq!(
        (second.verdict, second.order.as_ref(), second.fresh),
        (Verdict::Order(order.id), Some(&order), true)
    );
    fixture.expect_units(grant.slot.item, 0, 8, 2, 0).await;
}

/// Concurrent settlers never sell a unit twice.
pub async fn concurrent_settlers_sell_each_unit_once(fixture: Fixture) {
    let item = fixture.item(Stock::Counted(60), 2).await;
    let grant = fixture.open(doorbuster_core::SlotKey { item, index: 0 }, 60).await;
    let mut settlers = tokio::task::JoinSet::new();
    for settler in 0..8_u64 {
        let (store, tickets) = (
            fixture.store.clone(),
            (0..10).map(|i| {
                let n = settler * 10 + i + 1;
                fixture.ticket(&grant, n, &format!("buyer-{n}"), "k", 1)
            }),
        );
        let tickets = tickets.collect();
        settlers.spawn(async move { store.settle(tickets).await.expect("settles") });
    }
    let resolved: Vec<_> = settlers.join_all().await.into_iter().flatten().collect();
    assert_eq!(resolved.iter().filter(|r| r.verdict == Verdict::Reserved).count(), 60);
    assert_eq!(fixture.counts(item).await.held, 60);
    fixture.check_invariants().await;
}

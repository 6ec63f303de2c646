//! Tests two lists: the pages of a sale's orders, and the requests that hold an order.
use doorbuster_core::event::Attribution;
use doorbuster_core::order::EndReason;
use doorbuster_core::{Grant, ItemId, Order, OrderState};

use super::{Fixture, buyer, id_key};
use crate::contract::OrderQuery;

/// Creates two items and seven orders of three buyers. Returns the items' grants, and the orders
/// with the earliest first.
async fn seven(fixture: &Fixture) -> (Grant, Grant, Vec<Order>) {
    let (a, b) = (fixture.slot(50, 50, 50).await, fixture.slot(50, 50, 50).await);
    let mut orders = Vec::new();
    for n in 1..=7 {
        let grant = if n % 2 == 1 { &a } else { &b };
        let who = ["anna", "bert", "cleo"][n as usize % 3];
        orders.push(fixture.reserve(grant, n, who, 1).await);
        fixture.clock.advance(100);
    }
    (a, b, orders)
}

async fn list(fixture: &Fixture, query: OrderQuery) -> Vec<u64> {
    let mut numbers = Vec::new();
    let mut query = OrderQuery { limit: 2, ..query };
    loop {
        let page = fixture.store.orders(query.clone()).await.expect("reads");
        assert!(page.rows.len() <= 2);
        numbers.extend(page.rows.iter().map(|o| o.n.0));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return numbers,
        }
    }
}

/// Orders are listed in pages, newest first, and can be filtered by buyer, items and state.
pub async fn orders_are_listed_page_by_page(fixture: Fixture) {
    let (a, b, orders) = seven(&fixture).await;
    fixture
        .store
        .end_order(orders[2].id, EndReason::Cancel, Attribution::BUYER.clone())
        .await
        .expect("writes");
    let all = OrderQuery::default();
    assert_eq!(list(&fixture, all.clone()).await, [7, 6, 5, 4, 3, 2, 1]);
    let of = |name| OrderQuery { buyer: Some(buyer(name)), ..OrderQuery::default() };
    assert_eq!(list(&fixture, of("bert")).await, [7, 4, 1]);
    assert!(list(&fixture, of("nobody")).await.is_empty());
    let items = |items| OrderQuery { items: Some(items), ..OrderQuery::default() };
    assert_eq!(list(&fixture, items(vec![b.slot.item])).await, [6, 4, 2]);
    assert_eq!(list(&fixture, items(vec![b.slot.item, a.slot.item])).await, [7, 6, 5, 4, 3, 2, 1]);
    assert!(list(&fixture, items(Vec::new())).await.is_empty());
    let state = |state| OrderQuery { state: Some(state), ..OrderQuery::default() };
    assert_eq!(list(&fixture, state(OrderState::Cancelled)).await, [3]);
    let mixed = OrderQuery {
        state: Some(OrderState::Reserved),
        items: Some(vec![a.slot.item]),
        ..of("anna")
    };
    assert!(list(&fixture, mixed).await.is_empty());
    let page = fixture.store.orders(OrderQuery { limit: 7, ..all.clone() }).await.expect("reads");
    assert_eq!(
        (page.rows.len(), page.next),
        (7, None),
        "a full page must be the last page if no orders follow"
    );
    assert_eq!(page.rows[0], orders[6]);
    let none = fixture.store.orders(OrderQuery { limit: 0, ..all }).await.expect("reads");
    assert_eq!((none.rows, none.next), (vec![], None));
}

/// An export starts at the oldest order. Orders that are created during the export come last.
pub async fn orders_are_exported_oldest_first(fixture: Fixture) {
    let (a, _, _) = seven(&fixture).await;
    let mut query = OrderQuery {
        items: Some(vec![a.slot.item]),
        oldest_first: true,
        limit: 3,
        ..OrderQuery::default()
    };
    let first = fixture.store.orders(query.clone()).await.expect("reads");
    assert_eq!(first.rows.iter().map(|o| o.n.0).collect::<Vec<_>>(), [1, 3, 5]);
    fixture.reserve(&a, 8, "dora", 1).await;
    query.after = first.next;
    let second = fixture.store.orders(query).await.expect("reads");
    assert_eq!(
        (second.rows.iter().map(|o| o.n.0).collect::<Vec<_>>(), second.next),
        (vec![7, 8], None)
    );
}

/// A list's next page is the same even if new orders were created after the previous page was read.
pub async fn new_orders_do_not_shift_pages(fixture: Fixture) {
    let (a, _, _) = seven(&fixture).await;
    let first = fixture
        .store
        .orders(OrderQuery { limit: 3, ..OrderQuery::default() })
        .await
        .expect("reads");
    fixture.reserve(&a, 8, "dora", 1).await;
    let query = OrderQuery { limit: 3, after: first.next, ..OrderQuery::default() };
    let second = fixture.store.orders(query).await.expect("reads");
    assert_eq!(second.rows.iter().map(|o| o.n.0).collect::<Vec<_>>(), [4, 3, 2]);
}

/// A node that starts can read, page by page, which requests for an item already have an order.
pub async fn requests_that_hold_an_order_are_listed(fixture: Fixture) {
    let (_, _, orders) = seven(&fixture).await;
    let item = orders[2].item;
    let half = |o: &Order| id_key().request_hash(o.buyer.as_str(), o.key.as_str()).low_64_bits();
    let (mut hashes, mut pages) = (Vec::new(), 0);
    for grant in fixture.store.grant_ids(item).await.expect("reads") {
        let mut after = None;
        loop {
            let page = fixture.store.request_hashes_of(grant, after, 2).await;
            let (requests, next) = page.expect("reads");
            hashes.extend(requests);
            pages += 1;
            after = next;
            if after.is_none() {
                break;
            }
        }
    }
    let of_item: Vec<_> = orders.iter().filter(|order| order.item == item).map(half).collect();
    assert_eq!(hashes, of_item);
    assert!(pages > 1 && hashes.len() < 7, "{pages} pages, {} of 7", hashes.len());
    assert_eq!(fixture.store.grant_ids(ItemId(9_999)).await.expect("reads"), []);
}

/// A new store has no dead letters.
pub async fn a_store_starts_without_dead_letters(fixture: Fixture) {
    seven(&fixture).await;
    assert_eq!(fixture.dead_tickets().await, []);
}

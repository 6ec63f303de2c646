//! Tests the subscriptions of browsers to push messages.
use doorbuster_core::NodeId;

use super::{Fixture, HOLD_MS, buyer};
use crate::contract::{
    PushSubscription, RetentionCutoffs, StoredPushSubscription, SubscriptionOwner,
};

const LIVES_MS: i64 = 10_000;
const OF_BUYER_MAX: usize = 2;
const FIRST: NodeId = NodeId(1);
const SECOND: NodeId = NodeId(2);

fn browser(who: &str, path: &str) -> PushSubscription {
    let endpoint = format!("https://push.example/{path}");
    PushSubscription { buyer: buyer(who), endpoint, public_key: [4; 65], auth: [7; 16] }
}

async fn put(fixture: &Fixture, node: NodeId, browser: &PushSubscription) -> SubscriptionOwner {
    let put = fixture.store.put_push_subscription(node, browser.clone(), LIVES_MS, OF_BUYER_MAX);
    put.await.expect("writes")
}

async fn owned(fixture: &Fixture, node: NodeId) -> Vec<u64> {
    let owned = fixture.store.owned_push_subscriptions(node).await.expect("reads");
    let mut ids: Vec<u64> = owned.iter().map(|owned| owned.id).collect();
    ids.sort_unstable();
    ids
}

async fn take_over(fixture: &Fixture, node: NodeId, limit: usize) -> u64 {
    fixture.store.take_over_push_subscriptions(node, limit).await.expect("writes")
}

/// If a buyer's browser subscribes again with the same keys, the subscription is renewed. If the
/// keys are new, a new subscription replaces the earlier one.
pub async fn a_browser_has_one_subscription_that_it_renews(fixture: Fixture) {
    let store = &fixture.store;
    let anna = browser("anna", "one");
    let first = put(&fixture, FIRST, &anna).await;
    assert_eq!((first.node, first.until), (FIRST, fixture.clock.now().plus(LIVES_MS)));
    let bert = put(&fixture, FIRST, &browser("bert", "two")).await;
    fixture.clock.advance(1_000);
    let renewed = put(&fixture, FIRST, &anna).await;
    let until = fixture.clock.now().plus(LIVES_MS);
    assert_eq!(renewed, SubscriptionOwner { until, ..first });
    let ids = [first.id, bert.id, 99];
    let mut found = store.push_subscriptions(FIRST, &ids).await.expect("reads");
    found.sort_by_key(|found| found.id);
    let stored = |owner: SubscriptionOwner, browser: PushSubscription| StoredPushSubscription {
        id: owner.id,
        until: owner.until,
        browser,
    };
    assert_eq!(found, [stored(renewed, anna.clone()), stored(bert, browser("bert", "two"))]);
    assert_eq!(store.push_subscriptions(SECOND, &ids).await.expect("reads"), []);
    let other = put(&fixture, FIRST, &PushSubscription { auth: [8; 16], ..anna }).await;
    assert_eq!(owned(&fixture, FIRST).await, [bert.id, other.id]);
    store.delete_push_subscription(bert.id).await.expect("writes");
    store.delete_push_subscription(bert.id).await.expect("writes");
    assert_eq!(owned(&fixture, FIRST).await, [other.id]);
    let again = put(&fixture, FIRST, &browser("bert", "two")).await;
    assert!(again.id > other.id, "an id must not be used again");
    store.delete_push_subscriptions_of(&buyer("anna")).await.expect("writes");
    assert_eq!(owned(&fixture, FIRST).await, [again.id]);
}

/// When another buyer subscribes in the same browser, the browser gets no more messages of the
/// earlier buyer. If a subscription has the browser's URL but other keys, it may be forged, so it
/// does not end the earlier buyer's subscription.
pub async fn a_browser_gets_the_messages_of_its_last_buyer(fixture: Fixture) {
    let anna = put(&fixture, FIRST, &browser("anna", "one")).await;
    let also = put(&fixture, FIRST, &browser("anna", "two")).await;
    let forged = PushSubscription { auth: [8; 16], ..browser("carl", "one") };
    let forged = put(&fixture, FIRST, &forged).await;
    assert_eq!(owned(&fixture, FIRST).await, [anna.id, also.id, forged.id]);
    let bert = put(&fixture, SECOND, &browser("bert", "one")).await;
    assert_eq!(owned(&fixture, FIRST).await, [also.id, forged.id]);
    assert_eq!(owned(&fixture, SECOND).await, [bert.id]);
}

/// If a buyer already has the maximum number of subscriptions, a new one replaces the subscription
/// that ends first.
pub async fn a_buyer_has_a_few_subscriptions(fixture: Fixture) {
    let mut ids = Vec::new();
    for path in ["one", "two"] {
        ids.push(put(&fixture, FIRST, &browser("anna", path)).await.id);
        fixture.clock.advance(1);
    }
    put(&fixture, FIRST, &browser("anna", "one")).await;
    fixture.clock.advance(1);
    let third = put(&fixture, FIRST, &browser("anna", "three")).await;
    assert_eq!(owned(&fixture, FIRST).await, [ids[0], third.id]);
}

/// After a node's lease ends, the first node that asks for the subscriptions becomes their owner.
pub async fn subscriptions_of_a_node_without_a_lease_get_another_owner(fixture: Fixture) {
    let store = &fixture.store;
    for node in [FIRST, SECOND] {
        store.renew_node_lease(node, 1_000, "{}").await.expect("writes");
    }
    let mut ids = Vec::new();
    for who in ["anna", "bert", "carl"] {
        ids.push(put(&fixture, FIRST, &browser(who, who)).await.id);
    }
    let renewed = put(&fixture, SECOND, &browser("anna", "anna")).await;
    assert_eq!((renewed.id, renewed.node), (ids[0], FIRST));
    assert_eq!(take_over(&fixture, SECOND, 9).await, 0);
    fixture.clock.advance(1_000);
    assert_eq!(take_over(&fixture, FIRST, 9).await, 0, "the owner must keep its subscriptions");
    store.renew_node_lease(SECOND, 1_000, "{}").await.expect("writes");
    let renewed = put(&fixture, SECOND, &browser("carl", "carl")).await;
    assert_eq!((renewed.id, renewed.node), (ids[2], SECOND));
    assert_eq!(take_over(&fixture, SECOND, 1).await, 1);
    assert_eq!(take_over(&fixture, SECOND, 9).await, 1);
    assert_eq!(owned(&fixture, SECOND).await, ids);
    assert_eq!(owned(&fixture, FIRST).await, Vec::<u64>::new());
    // When the clock is set back, the second node's lease becomes invalid.
    fixture.clock.advance(-3_600_000);
    let renewed = put(&fixture, FIRST, &browser("anna", "anna")).await;
    assert_eq!((renewed.id, renewed.node), (ids[0], FIRST));
    assert_eq!(take_over(&fixture, FIRST, 9).await, 2);
}

/// Subscriptions that have ended are deleted. If there are more than the maximum, the subscriptions
/// that end first are also deleted.
pub async fn expired_and_surplus_subscriptions_are_deleted(fixture: Fixture) {
    let store = &fixture.store;
    store.renew_node_lease(FIRST, 1_000, "{}").await.expect("writes");
    let mut ids = Vec::new();
    for who in ["anna", "bert", "carl", "dora"] {
        ids.push(put(&fixture, FIRST, &browser(who, who)).await.id);
        fixture.clock.advance(1_000);
    }
    let delete = async |what| store.delete_expired(what, 100).await.expect("writes");
    let surplus = RetentionCutoffs { subscriptions_max: 3, ..RetentionCutoffs::NONE };
    assert_eq!([delete(surplus).await, delete(surplus).await], [1, 0]);
    assert_eq!(owned(&fixture, FIRST).await, ids[1..]);
    fixture.clock.advance(LIVES_MS - 3_000);
    assert_eq!(owned(&fixture, FIRST).await, ids[2..]);
    let before = fixture.clock.now().plus(1);
    let ended = RetentionCutoffs { subscriptions_before: before, ..RetentionCutoffs::NONE };
    assert_eq!([delete(ended).await, delete(ended).await], [1, 0]);
    fixture.clock.advance(1_000);
    assert_eq!(
        take_over(&fixture, SECOND, 9).await,
        1,
        "carl's ended subscription must not get a new owner"
    );
    assert_eq!(owned(&fixture, SECOND).await, ids[3..]);
}

/// The store finds the unpaid orders of several buyers. The store leaves out orders that are due
/// for expiry.
pub async fn unpaid_orders_of_several_buyers_are_found(fixture: Fixture) {
    let store = &fixture.store;
    let grant = fixture.slot(9, 9, 3).await;
    let anna = fixture.reserve(&grant, 1, "anna", 1).await;
    store.pay_order(anna.id).await.expect("writes");
    let anna = fixture.reserve(&grant, 2, "anna", 1).await;
    fixture.clock.advance(1_000);
    let bert = fixture.reserve(&grant, 3, "bert", 1).await;
    fixture.reserve(&grant, 4, "carl", 1).await;
    let unpaid = async || {
        let buyers = ["anna", "bert", "dora"].map(buyer);
        let mut orders = store.unpaid_orders_of(&buyers).await.expect("reads");
        orders.sort_by_key(|order| order.n.0);
        orders
    };
    assert_eq!(unpaid().await, [anna, bert.clone()]);
    fixture.clock.advance(HOLD_MS - 1_000);
    assert_eq!(unpaid().await, [bert]);
    assert_eq!(store.unpaid_orders_of(&[]).await.expect("reads"), []);
    fixture.expect_units(grant.slot.item, 0, 5, 3, 1).await;
}

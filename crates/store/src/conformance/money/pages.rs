//! Tests lists of payments and refunds, and the documents of the built-in provider.
use doorbuster_core::ItemId;
use doorbuster_core::event::{Actor, Attribution, EventType, Subject};
use doorbuster_core::money::{
    Capture, Money, PaymentId, ReversalKind, ReversalOutcome, ReversalReport,
};
use doorbuster_core::order::EndReason;

use super::{capture, message, price};
use crate::conformance::Fixture;
use crate::contract::MoneyQuery;

/// Payments and refunds are listed in pages. A filter can select the payments of certain items, or
/// the payments that are listed as notices.
pub async fn money_is_listed_page_by_page(fixture: Fixture) {
    let (a, b) = (fixture.slot(50, 50, 50).await, fixture.slot(50, 50, 50).await);
    for n in 1..=7 {
        let order = fixture.reserve(if n % 2 == 1 { &a } else { &b }, n, "anna", 1).await;
        let wrong = Money { minor: 1, ..price(1) };
        let paid = message(&order, &format!("evt_{n}"), &format!("pay_{n}"));
        capture(&fixture, &Capture { money: if n > 4 { wrong } else { price(1) }, ..paid }).await;
        fixture.clock.advance(1);
        if n == 2 {
            fixture
                .store
                .end_order(order.id, EndReason::Refund, Attribution::ENGINE.clone())
                .await
                .expect("writes");
        }
    }
    let everything = MoneyQuery::default();
    let oldest = MoneyQuery { oldest_first: true, ..everything.clone() };
    let item = |item: ItemId| MoneyQuery { items: Some(vec![item]), ..everything.clone() };
    let noticed = MoneyQuery { notices: true, ..everything.clone() };
    assert_eq!(
        listed(&fixture, everything.clone()).await,
        ([7, 6, 5, 4, 3, 2, 1].into(), [7, 6, 5, 2].into())
    );
    assert_eq!(listed(&fixture, oldest).await, ([1, 2, 3, 4, 5, 6, 7].into(), [2, 5, 6, 7].into()));
    assert_eq!(listed(&fixture, item(b.slot.item)).await, ([6, 4, 2].into(), [6, 2].into()));
    assert_eq!(
        listed(&fixture, MoneyQuery { items: Some(vec![]), ..everything }).await,
        (vec![], vec![])
    );
    assert_eq!(listed(&fixture, noticed.clone()).await, ([7, 6, 5].into(), [7, 6, 5].into()));
    let both = MoneyQuery { items: Some(vec![a.slot.item]), ..noticed };
    assert_eq!(listed(&fixture, both).await, ([7, 5].into(), [7, 5].into()));
    fixture.check_invariants().await;
}

/// Reads the lists of payments and of refunds in pages of two rows. Returns the number in each
/// payment's id, and the number in the id of each refund's payment.
async fn listed(fixture: &Fixture, query: MoneyQuery) -> (Vec<u64>, Vec<u64>) {
    let number = |id: &PaymentId| id.0[4..].parse::<u64>().expect("a test's payment");
    let (mut payments, mut refunds) = (Vec::new(), Vec::new());
    let mut query = MoneyQuery { limit: 2, ..query };
    loop {
        let page = fixture.store.payments(query.clone()).await.expect("reads");
        assert!(page.rows.len() <= 2);
        payments.extend(page.rows.iter().map(|p| number(&p.id)));
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    query.after = None;
    loop {
        let page = fixture.store.refunds(query.clone()).await.expect("reads");
        refunds.extend(page.rows.iter().map(|r| number(&r.payment)));
        let Some(next) = page.next else { return (payments, refunds) };
        query.after = Some(next);
    }
}

/// A document of the built-in provider changes only if the caller knows its current content.
pub async fn a_document_changes_only_from_its_expected_content(fixture: Fixture) {
    let swap = async |key: &str, old: Option<&str>, new: &str| {
        fixture
            .store
            .sandbox_swap(key.to_owned(), old.map(str::to_owned), new.to_owned())
            .await
            .expect("writes")
    };
    let get = async |key: &str| fixture.store.sandbox_get(key).await.expect("reads");
    assert_eq!(get("s/1").await, None);
    assert!(!swap("s/1", Some("a"), "b").await, "a missing document must not be replaced");
    assert!(swap("s/1", None, "a").await);
    assert!(!swap("s/1", None, "b").await, "an existing document must not be created again");
    assert!(!swap("s/1", Some("c"), "b").await, "a wrong expectation must change nothing");
    assert!(swap("s/1", Some("a"), "b").await);
    assert_eq!(get("s/1").await.as_deref(), Some("b"));
    for key in ["s/3", "s/2", "t/1", "r/1", "S/1", "s%"] {
        assert!(swap(key, None, key).await);
    }
    let list = async |prefix: &str, after: &str, limit| {
        let found = fixture
            .store
            .sandbox_list(prefix.to_owned(), after.to_owned(), limit)
            .await
            .expect("reads");
        found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(list("s/", "", 9).await, ["s/1", "s/2", "s/3"]);
    assert_eq!(list("s/", "", 2).await, ["s/1", "s/2"]);
    assert_eq!(list("s/", "s/2", 2).await, ["s/3"]);
    assert_eq!(list("s%", "", 9).await, ["s%"]);
    let (one, other) = tokio::join!(swap("s/1", Some("b"), "x"), swap("s/1", Some("b"), "y"));
    assert!(one ^ other, "exactly one of two concurrent calls must succeed");
    let now = get("s/1").await.expect("the document exists");
    let old = [("s/1", "w"), ("s/2", "s/2"), ("s/9", "s/9"), ("t/1", "t/1")];
    let old = old.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    assert_eq!(
        fixture.store.sandbox_delete(old).await.expect("writes"),
        2,
        "only documents with the given content must be deleted"
    );
    assert_eq!(
        (get("s/1").await, list("s/", "", 9).await),
        (Some(now), vec!["s/1".to_owned(), "s/3".to_owned()])
    );
}

/// The list of reversals contains disputes, and manual refunds of captured payments. The list does
/// not contain the engine's own refunds.
pub async fn reversed_money_is_reported(fixture: Fixture) {
    let grant = fixture.slot(50, 50, 50).await;
    let mut orders = Vec::new();
    for n in 1..=3 {
        let order = fixture.reserve(&grant, n, "anna", 1).await;
        capture(&fixture, &message(&order, &format!("evt_{n}"), &format!("pay_{n}"))).await;
        orders.push(order);
    }
    fixture.clock.advance(1);
    let make = |n: u32, kind, minor: Option<i64>, stands| ReversalReport {
        event: None,
        provider: super::PROVIDER.to_owned(),
        payment: PaymentId(format!("pay_{n}")),
        kind,
        money: minor.map(|minor| Money { minor, ..price(1) }),
        stands,
        reported_at: None,
        dispute: None,
    };
    let record_reversal = async |report: ReversalReport| {
        fixture.store.record_reversal(report).await.expect("writes") == ReversalOutcome::Noted
    };
    let listed = async || {
        let found = fixture.store.reversals().await.expect("reads");
        found.iter().map(|r| (r.payment.0.clone(), r.kind, r.money.minor)).collect::<Vec<_>>()
    };
    use ReversalKind::{Disputed, Returned};
    assert!(record_reversal(make(1, Returned, Some(5), true)).await);
    assert!(!record_reversal(make(1, Returned, Some(5), true)).await, "a repeat must not count");
    assert!(record_reversal(make(1, Returned, Some(7), true)).await, "a larger amount must count");
    assert!(!record_reversal(make(1, Returned, Some(5), true)).await, "an old message counted");
    assert!(!record_reversal(make(9, Returned, None, true)).await, "an unknown payment was found");
    assert!(
        !record_reversal(ReversalReport {
            provider: "other".to_owned(),
            ..make(2, Returned, None, true)
        })
        .await
    );
    fixture.clock.advance(10);
    assert!(record_reversal(make(2, Disputed, None, true)).await);
    assert_eq!(
        listed().await,
        [("pay_2".to_owned(), Disputed, price(1).minor), ("pay_1".to_owned(), Returned, 7)]
    );
    let first = &fixture.store.reversals().await.expect("reads")[1];
    assert_eq!((first.item, &first.order), (Some(grant.slot.item), &orders[0].id.to_string()));
    fixture
        .store
        .end_order(orders[2].id, EndReason::Refund, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    assert!(!record_reversal(make(3, Returned, None, true)).await, "the engine's refund counted");
    assert!(record_reversal(make(2, Disputed, None, false)).await, "a won dispute must count");
    fixture
        .store
        .end_order(orders[0].id, EndReason::Refund, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    assert_eq!(listed().await, [], "a reversal must not be listed after the refund resolved it");
    assert_eq!(fixture.store.check().await.expect("reads").findings, []);
    // Each report that changed a reversal appended an event. The event has the payment's order.
    let mut events = Vec::new();
    for order in &orders {
        for it in fixture.store.history(order.id).await.expect("reads") {
            if let Subject::Reversal { payment, order: named, money, kind, dispute, stands } =
                it.event.subject
            {
                assert_eq!(dispute, None);
                assert_eq!(
                    (it.event.what, named),
                    (EventType::PaymentReversed, order.id.to_string())
                );
                assert_eq!(
                    it.event.by,
                    Attribution::from_actor(Actor::Provider(super::PROVIDER.to_owned()))
                );
                events.push((payment.0, kind, money, stands));
            }
        }
    }
    let of = |n: u32, kind, minor, stands| {
        (format!("pay_{n}"), kind, Money { minor, ..price(1) }, stands)
    };
    let all = price(1).minor;
    assert_eq!(
        events,
        [
            of(1, Returned, 5, true),
            of(1, Returned, 7, true),
            of(2, Disputed, all, true),
            of(2, Disputed, all, false)
        ]
    );
}

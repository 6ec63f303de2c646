//! Lists of payments and refunds, and the documents of the built-in provider.
use doorbuster_core::ItemId;
use doorbuster_core::event::By;
use doorbuster_core::money::{Capture, Money, PaymentId};
use doorbuster_core::order::Ending;

use super::{capture, message, price};
use crate::conformance::Rig;
use crate::contract::MoneyQuery;

/// Payments and refunds are listed page by page, by order, item and notice.
pub async fn money_is_listed_page_by_page(rig: Rig) {
    let (a, b) = (rig.slot(50, 50, 50).await, rig.slot(50, 50, 50).await);
    for n in 1..=7 {
        let order = rig.reserve(if n % 2 == 1 { &a } else { &b }, n, "anna", 1).await;
        let wrong = Money { minor: 1, ..price(1) };
        let told = message(&order, &format!("evt_{n}"), &format!("pay_{n}"));
        capture(&rig, &Capture { money: if n > 4 { wrong } else { price(1) }, ..told }).await;
        rig.clock.pass(1);
        if n == 2 {
            rig.store.end_order(order.id, Ending::Refund, By::ENGINE.clone()).await.expect("writes");
        }
    }
    let everything = MoneyQuery::default();
    let oldest = MoneyQuery { oldest_first: true, ..everything.clone() };
    let item = |item: ItemId| MoneyQuery { items: Some(vec![item]), ..everything.clone() };
    let noticed = MoneyQuery { notices: true, ..everything.clone() };
    assert_eq!(listed(&rig, everything.clone()).await, ([7, 6, 5, 4, 3, 2, 1].into(), [7, 6, 5, 2].into()));
    assert_eq!(listed(&rig, oldest).await, ([1, 2, 3, 4, 5, 6, 7].into(), [2, 5, 6, 7].into()));
    assert_eq!(listed(&rig, item(b.slot.item)).await, ([6, 4, 2].into(), [6, 2].into()));
    assert_eq!(listed(&rig, MoneyQuery { items: Some(vec![]), ..everything }).await, (vec![], vec![]));
    assert_eq!(listed(&rig, noticed.clone()).await, ([7, 6, 5].into(), [7, 6, 5].into()));
    let both = MoneyQuery { items: Some(vec![a.slot.item]), ..noticed };
    assert_eq!(listed(&rig, both).await, ([7, 5].into(), [7, 5].into()));
    rig.adds_up().await;
}

/// The numbers of the payments, and of the payments of the refunds, gathered two by two.
async fn listed(rig: &Rig, query: MoneyQuery) -> (Vec<u64>, Vec<u64>) {
    let number = |id: &PaymentId| id.0[4..].parse::<u64>().expect("a test's payment");
    let (mut payments, mut refunds) = (Vec::new(), Vec::new());
    let mut query = MoneyQuery { limit: 2, ..query };
    loop {
        let page = rig.store.payments(query.clone()).await.expect("reads");
        assert!(page.rows.len() <= 2);
        payments.extend(page.rows.iter().map(|p| number(&p.id)));
        let Some(next) = page.next else { break };
        query.after = Some(next);
    }
    query.after = None;
    loop {
        let page = rig.store.refunds(query.clone()).await.expect("reads");
        refunds.extend(page.rows.iter().map(|r| number(&r.payment)));
        let Some(next) = page.next else { return (payments, refunds) };
        query.after = Some(next);
    }
}

/// What the built-in provider keeps is changed by whoever saw it last.
pub async fn a_document_is_swapped_by_one(rig: Rig) {
    let swap = async |key: &str, old: Option<&str>, new: &str| {
        rig.store.sandbox_swap(key.to_owned(), old.map(str::to_owned), new.to_owned()).await.expect("writes")
    };
    let get = async |key: &str| rig.store.sandbox_get(key).await.expect("reads");
    assert_eq!(get("s/1").await, None);
    assert!(!swap("s/1", Some("a"), "b").await, "there is none");
    assert!(swap("s/1", None, "a").await);
    assert!(!swap("s/1", None, "b").await, "there is one");
    assert!(!swap("s/1", Some("c"), "b").await, "another one");
    assert!(swap("s/1", Some("a"), "b").await);
    assert_eq!(get("s/1").await.as_deref(), Some("b"));
    for key in ["s/3", "s/2", "t/1", "r/1", "S/1", "s%"] {
        assert!(swap(key, None, key).await);
    }
    let list = async |prefix: &str, after: &str, limit| {
        let found = rig.store.sandbox_list(prefix.to_owned(), after.to_owned(), limit).await.expect("reads");
        found.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(list("s/", "", 9).await, ["s/1", "s/2", "s/3"]);
    assert_eq!(list("s/", "", 2).await, ["s/1", "s/2"]);
    assert_eq!(list("s/", "s/2", 2).await, ["s/3"]);
    assert_eq!(list("s%", "", 9).await, ["s%"]);
    let (one, other) = tokio::join!(swap("s/1", Some("b"), "x"), swap("s/1", Some("b"), "y"));
    assert!(one ^ other, "of two at once one wins");
}

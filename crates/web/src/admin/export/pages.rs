//! Tests that an export of several pages is complete, although orders are placed and cancelled
//! between its pages.
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::time::Duration;

use doorbuster_config::{Flags, load};
use doorbuster_core::event::Attribution;
use doorbuster_core::order::EndReason;
use doorbuster_core::{BuyerId, Order, RequestKey, Units};
use doorbuster_engine::purchase::{Purchase, PurchaseOutcome};
use doorbuster_testkit::TempDir;
use futures_util::StreamExt;
use futures_util::future::join_all;

use super::*;
use crate::reply::ReplyBody;
use crate::tests;

/// Two full pages and a part of a third page.
const MANY: usize = 2 * EXPORT_PAGE + 100;
const STOCK: usize = 9_999;

async fn start(dir: &TempDir) -> Arc<App> {
    let flags = Flags { data_dir: Some(dir.path().to_owned()), ..Flags::default() };
    let setting = (
        "DOORBUSTER_AUTH__BUYER_SECRET".into(),
        "a secret of the shop, long enough for anyone".into(),
    );
    let settings = load(&flags, [setting]).expect("valid settings");
    tests::app(dir, &settings, STOCK as u64).await
}

async fn crowd(app: &App, buyers: Range<usize>) -> Vec<Order> {
    let (sale, item) = {
        let catalogue = app.node.catalogue();
        let sale = catalogue.sale("spring").cloned().expect("the store opens");
        let item = sale.items[0].clone();
        (sale, item)
    };
    let purchases = buyers.map(|n| {
        let (buyer, key) = (BuyerId::new(&format!("buyer-{n}")), RequestKey::new("k"));
        let (buyer, key, units) =
            (buyer.expect("a name"), key.expect("a key"), Units::new(1).expect("one"));
        let wait = Duration::from_secs(30);
        let request = app.node.id_key().request_hash(buyer.as_str(), key.as_str());
        let (sale, item) = (sale.clone(), item.clone());
        Purchase { buyer, key, request, sale, item, units, wait, door: None }
    });
    let purchases: Vec<_> = purchases.collect();
    let bought = join_all(purchases.iter().map(|purchase| app.purchases.buy(purchase))).await;
    let order = |bought| match bought {
        PurchaseOutcome::Created(order) => order,
        other => panic!("expected an order, got {other:?}"),
    };
    bought.into_iter().map(order).collect()
}

fn ids<'a>(orders: impl IntoIterator<Item = &'a Order>) -> BTreeSet<String> {
    orders.into_iter().map(|order| order.id.to_string()).collect()
}

/// Reads an export, and after each of the first two pages:
/// - cancels an exported order and an order that is not exported yet
/// - places 50 orders and adds them to `before`
///
/// Returns each line as a map from column names to cells.
async fn while_rows_are_written(
    app: &Arc<App>,
    which: Export,
    before: &mut Vec<Order>,
) -> Vec<HashMap<String, String>> {
    let reply = list(which, State(app.clone()), RawQuery(Some("sale=spring".to_owned())))
        .await
        .expect("the export begins");
    let ReplyBody::Routed(body) = reply.into_body() else { panic!("the answer is not streamed") };
    let (mut pages, mut text, mut count) = (body.into_data_stream(), String::new(), 0);
    while let Some(page) = pages.next().await {
        text += std::str::from_utf8(&page.expect("the export does not fail")).expect("text");
        count += 1;
        if count > 2 {
            continue;
        }
        let next = before.len();
        for at in [count, next - count] {
            let gone = app
                .node
                .store()
                .end_order(before[at].id, EndReason::Cancel, Attribution::ENGINE.clone())
                .await;
            gone.expect("writes");
        }
        before.extend(crowd(app, next..next + 50).await);
    }
    assert!(count > 2, "the export must have more than two pages, but it has {count}");
    let mut lines = text.lines();
    let names: Vec<_> =
        lines.next().expect("the export has no header").split(',').map(str::to_owned).collect();
    lines
        .map(|line| names.iter().cloned().zip(line.split(',').map(str::to_owned)).collect())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_order_is_exported_once_while_others_come_and_go() {
    let dir = TempDir::new();
    let app = start(&dir).await;
    let mut orders = crowd(&app, 0..MANY).await;
    let lines = while_rows_are_written(&app, Export::Orders, &mut orders).await;
    let exported: BTreeSet<String> = lines.iter().map(|line| line["id"].clone()).collect();
    assert_eq!(exported.len(), lines.len(), "an order occurs twice");
    assert!(
        exported == ids(&orders),
        "the export must have every order that was placed before its last page was read"
    );
    app.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_has_every_movement_once_while_others_come_and_go() {
    let dir = TempDir::new();
    let app = start(&dir).await;
    let mut orders = crowd(&app, 0..MANY).await;
    let lines = while_rows_are_written(&app, Export::Ledger, &mut orders).await;
    let moved = |movement: &str| {
        let all = lines.iter().filter(|line| line["movement"] == movement);
        all.map(|line| line["order"].clone()).collect::<Vec<_>>()
    };
    let (reserved, cancelled) = (moved("reserved"), moved("cancelled"));
    assert_eq!(lines.len(), 1 + reserved.len() + cancelled.len());
    assert!(
        reserved.iter().cloned().collect::<BTreeSet<_>>() == ids(&orders),
        "the ledger must have every order"
    );
    assert_eq!(reserved.len(), orders.len(), "an order occurs twice");
    assert_eq!(
        cancelled.iter().collect::<BTreeSet<_>>().len(),
        cancelled.len(),
        "an order occurs twice"
    );
    assert_eq!(
        cancelled.len(),
        4,
        "the ledger must have the orders that were cancelled before the last page"
    );
    let held = orders.len() - cancelled.len();
    let last = lines.last().expect("lines");
    let cell = |name: &str| last[name].parse::<usize>().expect("a number");
    assert_eq!([cell("total"), cell("free"), cell("held")], [STOCK, STOCK - held, held]);
    app.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_of_an_unknown_item_fails_the_export() {
    let dir = TempDir::new();
    let app = start(&dir).await;
    crowd(&app, 0..3).await;
    let begun = async |which: Export| {
        let ReplyBody::Routed(body) = list(which, State(app.clone()), RawQuery(None))
            .await
            .expect("the export begins")
            .into_body()
        else {
            panic!("the answer is not streamed")
        };
        body.into_data_stream()
    };
    let mut whole = begun(Export::Orders).await;
    while let Some(page) = whole.next().await {
        page.expect("the export does not fail");
    }
    // Removes the sale from this node's memory, so that the export of the sale fails. Later reads
    // of the store do not add the sale again.
    app.node.change_catalogue(|catalogue| catalogue.remove("spring"));
    for which in [Export::Orders, Export::Ledger] {
        let mut pages = begun(which).await;
        let mut has_broken = false;
        while let Some(page) = pages.next().await {
            has_broken |= page.is_err();
        }
        assert!(has_broken, "the export of {} ended without an error", which.as_str());
    }
    let query = doorbuster_api::query::OrderQuery::for_operator("").expect("no conditions");
    let refused = crate::orders::page(&app, &query, None, None)
        .await
        .expect_err("a list of orders was incomplete, but no error was returned");
    assert_eq!(refused.problem.status(), 503);
    app.stock.stop_node().await;
}

//! Tests the engine without HTTP, with the real store and the real slots.
mod live_spread;
mod order;
mod outdated;
mod spread;
mod undecided;
mod verdict;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use doorbuster_base::clock::Clock;
use doorbuster_config::Roles;
use doorbuster_core::order::ChangeOutcome;
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::slot::SlotBounds;
use doorbuster_core::{BuyerId, IdKey, NodeId, Order, Phase, RequestKey, Stock, Units};
use doorbuster_store::conformance::{new_item, new_sale};
use doorbuster_store::{AdjustOutcome, Adjustment, ItemCounts, NewItem, NewSale, StepOutcome};
use doorbuster_testkit::TempDir;

use crate::control::audit::{FindingView, audit, handle_findings};
use crate::holders::HOLDER_LOOKUPS_MAX;
use crate::orders::OrderLookup;
use crate::purchase::{DoorAnswer, Purchase, PurchaseOutcome, Refusal, refuse_from_memory};
use crate::start::{DatabaseOptions, EngineOptions, EngineParts, StockLocation, start};

const WAIT: Duration = Duration::from_secs(5);

async fn engine(dir: &TempDir) -> Arc<EngineParts> {
    engine_with(dir, Roles::ALL).await
}

pub(crate) async fn engine_with(dir: &TempDir, roles: Roles) -> Arc<EngineParts> {
    engine_at(dir, roles, Clock::default()).await
}

async fn engine_at(dir: &TempDir, roles: Roles, clock: Clock) -> Arc<EngineParts> {
    engine_bounded(dir, roles, clock, SlotBounds::default()).await
}

async fn engine_bounded(
    dir: &TempDir,
    roles: Roles,
    clock: Clock,
    bounds: SlotBounds,
) -> Arc<EngineParts> {
    let parts = start(EngineOptions {
        pass_key: None,
        location: StockLocation::Directory(dir.path().to_owned()),
        roles,
        id_key: IdKey::new([3; 32]),
        clock,
        node: NodeId(1),
        bounds,
        always_leads: false,
        allow_fsync_off: false,
        database: DatabaseOptions::default(),
        on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
    });
    Arc::new(parts.await.expect("a fresh directory opens"))
}

async fn open_sale(engine: &EngineParts, stock: Stock, limit: u32, hold_ms: i64) {
    draft(engine, stock, limit, hold_ms).await;
    step(engine, PhaseStep::Open).await;
}

pub(crate) async fn draft(engine: &EngineParts, stock: Stock, limit: u32, hold_ms: i64) {
    let item = NewItem {
        price_minor: 10,
        currency: "CNY".into(),
        list_price_minor: None,
        hold_ms,
        ..new_item("phone", stock, limit)
    };
    let sale = NewSale { front_door: "{}".into(), ..new_sale("spring", vec![item]) };
    engine
        .sales
        .create_sale(sale)
        .await
        .expect("the store is available")
        .expect("the sale's id is free");
}

pub(crate) async fn step(engine: &EngineParts, step: PhaseStep) {
    let outcome = engine.sales.step_sale("spring", step).await.expect("the store is available");
    assert!(matches!(outcome, StepOutcome::Done { changed: true, .. }), "{outcome:?}");
}

async fn buy(engine: &EngineParts, buyer: &str, key: &str, units: u32) -> PurchaseOutcome {
    buy_within(engine, buyer, key, units, WAIT).await
}

async fn buy_within(
    engine: &EngineParts,
    buyer: &str,
    key: &str,
    units: u32,
    wait: Duration,
) -> PurchaseOutcome {
    let sale = engine.node.catalogue().sale("spring").cloned().expect("created");
    let item = sale.item("phone").cloned().expect("created");
    let units = Units::new(units).expect("the number is in range");
    let open = |_| DoorAnswer::Open;
    let request = engine.node.id_key().request_hash(buyer, key);
    if let Some(refusal) = refuse_from_memory(&engine.node, request, &sale, &item, units, open) {
        return PurchaseOutcome::Refused(refusal);
    }
    let (buyer, key) =
        (BuyerId::new(buyer).expect("a buyer"), RequestKey::new(key).expect("a key"));
    engine
        .purchases
        .buy(&Purchase { buyer, key, request, sale, item, units, wait, door: None })
        .await
}

async fn bought(engine: &EngineParts, buyer: &str, key: &str, units: u32) -> Order {
    match buy(engine, buyer, key, units).await {
        PurchaseOutcome::Created(order) => order,
        other => panic!("expected an order, got {other:?}"),
    }
}

fn counts(engine: &EngineParts) -> ItemCounts {
    engine.node.catalogue().sale("spring").expect("created").items[0].gauge.counts()
}

fn is_sold_out(bought: &PurchaseOutcome, may_return: bool) -> bool {
    matches!(bought, PurchaseOutcome::Refused(Refusal::SoldOut(s)) if s.may_return == may_return)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_gets_exactly_the_available_units() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(100), 10, 900_000).await;
    let mut crowd = tokio::task::JoinSet::new();
    for i in 0..2_000 {
        let engine = engine.clone();
        crowd.spawn(async move { buy(&engine, &format!("b{i}"), "k", 10).await });
    }
    let answers = crowd.join_all().await;
    let created = answers.iter().filter(|a| matches!(a, PurchaseOutcome::Created(_))).count();
    let sold_out = answers.iter().filter(|a| is_sold_out(a, true)).count();
    assert_eq!((created, sold_out), (10, 1_990));
    let counts = counts(&engine);
    assert_eq!((counts.pool, counts.in_slots, counts.held), (0, 0, 100));
    assert!(engine.node.meter().tickets.get() < 100, "100 or more requests reached the store");
    let audit = audit(&engine.node).await.expect("the store is available");
    assert!(audit.findings.is_empty(), "{audit:?}");
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_that_come_back_are_sold_again_and_replays_find_their_order() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(3), 3, 900_000).await;
    let first = bought(&engine, "anna", "k1", 2).await;
    let answer = buy(&engine, "bert", "k1", 2).await;
    let PurchaseOutcome::Refused(Refusal::SoldOut(left)) = answer else { panic!("{answer:?}") };
    assert!(left.available == 1 && left.may_return, "{left:?}");
    let last = bought(&engine, "bert", "k1", 1).await;
    assert!(is_sold_out(&buy(&engine, "carl", "k1", 1).await, true));
    assert_eq!(buy(&engine, "anna", "k1", 2).await, PurchaseOutcome::Replayed(first.clone()));
    assert_eq!(buy(&engine, "anna", "k1", 1).await, PurchaseOutcome::Refused(Refusal::KeyReused));
    assert!(matches!(
        engine.orders.cancel(first.id, doorbuster_core::event::Attribution::BUYER.clone()).await,
        Ok(ChangeOutcome::Done(_))
    ));
    assert!(matches!(
        engine.orders.cancel(first.id, doorbuster_core::event::Attribution::BUYER.clone()).await,
        Ok(ChangeOutcome::Already(_))
    ));
    assert_eq!(bought(&engine, "carl", "k1", 2).await.units.get(), 2);
    let limit = buy(&engine, "carl", "k2", 2).await;
    assert!(
        matches!(
            limit,
            PurchaseOutcome::Refused(Refusal::SoldOut(_) | Refusal::LimitReached { .. })
        ),
        "{limit:?}"
    );
    let OrderLookup::Order(seen) =
        engine.orders.look_up_order(last.id, Some(&last.buyer)).await.expect("there")
    else {
        panic!("an order")
    };
    assert_eq!(seen, last);
    assert!(matches!(
        engine.orders.look_up_order(last.id, Some(&BuyerId::new("anna").expect("a buyer"))).await,
        Ok(OrderLookup::NotFound)
    ));
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_units_of_an_expired_hold_are_sold_again() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(1), 1, 300).await;
    let order = bought(&engine, "anna", "k", 1).await;
    // The time limit is long, because other tests check how soon returned units are sold.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        match buy(&engine, "bert", "k", 1).await {
            PurchaseOutcome::Created(_) => break,
            other => assert!(
                is_sold_out(&other, true) && tokio::time::Instant::now() < deadline,
                "{other:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let OrderLookup::Order(seen) =
        engine.orders.look_up_order(order.id, None).await.expect("there")
    else {
        panic!("an order")
    };
    assert_eq!(seen.state.as_str(), "expired");
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_sale_continues_and_a_restart_keeps_every_order() {
    let dir = TempDir::new();
    let first = engine(&dir).await;
    open_sale(&first, Stock::Counted(10), 10, 900_000).await;
    let kept = bought(&first, "anna", "k", 4).await;
    step(&first, PhaseStep::Pause).await;
    assert_eq!(buy(&first, "bert", "k", 1).await, PurchaseOutcome::Refused(Refusal::Paused));
    assert_eq!(buy(&first, "anna", "k", 4).await, PurchaseOutcome::Replayed(kept.clone()));
    assert_eq!((counts(&first).pool, counts(&first).in_slots), (6, 0));
    step(&first, PhaseStep::Resume).await;
    bought(&first, "bert", "k", 1).await;
    first.stock.stop_node().await;
    drop(first);
    let second = engine(&dir).await;
    assert_eq!(buy(&second, "anna", "k", 4).await, PurchaseOutcome::Replayed(kept));
    bought(&second, "carl", "k", 5).await;
    assert!(is_sold_out(&buy(&second, "dora", "k", 1).await, true));
    assert_eq!(second.node.store().repairs().await.expect("there"), 0);
    step(&second, PhaseStep::Close).await;
    assert_eq!(buy(&second, "dora", "k", 1).await, PurchaseOutcome::Refused(Refusal::Ended));
    second.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_is_raised_and_lowered_while_the_sale_runs_but_never_below_the_sold_units() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(10), 10, 900_000).await;
    bought(&engine, "anna", "k", 4).await;
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].row.id;
    let adjust = async |units, key: &str| {
        let adjustment = Adjustment { item, units, reason: "recount".into(), key: key.into() };
        engine.stock.adjust(adjustment).await.expect("the store is available")
    };
    let total = Stock::Counted(5);
    assert!(matches!(adjust(-5, "a").await, AdjustOutcome::Done(c) if c.total == total));
    assert!(
        matches!(adjust(-5, "a").await, AdjustOutcome::Repeated(_)),
        "a repeat with the same key must change nothing"
    );
    assert_eq!(adjust(-2, "b").await, AdjustOutcome::NotInPool(1));
    assert_eq!(adjust(-1, "a").await, AdjustOutcome::KeyReused);
    assert!(is_sold_out(&buy(&engine, "bert", "k", 2).await, true));
    assert!(matches!(adjust(1, "c").await, AdjustOutcome::Done(c) if c.total == Stock::Counted(6)));
    bought(&engine, "bert", "k", 2).await;
    assert_eq!(adjust(-1, "d").await, AdjustOutcome::NotInPool(0));
    let audit = audit(&engine.node).await.expect("the store is available");
    assert!(audit.findings.is_empty() && audit.repairs == 0, "{audit:?}");
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_copies_of_a_request_create_one_order() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(100), 100, 900_000).await;
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let engine = engine.clone();
        crowd.spawn(async move { buy(&engine, "anna", "k", 2).await });
    }
    let answers = crowd.join_all().await;
    let mut ids: Vec<_> = answers
        .iter()
        .map(|a| match a {
            PurchaseOutcome::Created(order) | PurchaseOutcome::Replayed(order) => order.id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(answers.iter().filter(|a| matches!(a, PurchaseOutcome::Created(_))).count(), 1);
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(counts(&engine).held, 2);
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_of_the_machines_clock_leaves_the_node_ready() {
    let dir = TempDir::new();
    let hour_ahead = Arc::new(AtomicBool::new(false));
    let stepped = hour_ahead.clone();
    let wall = move || 1_000_000 + i64::from(stepped.load(Ordering::Relaxed)) * 3_600_000;
    let engine = engine_at(&dir, Roles::ALL, Clock::with_wall(Arc::new(wall))).await;
    open_sale(&engine, Stock::Counted(10), 10, 60_000).await;
    hour_ahead.store(true, Ordering::Relaxed);
    engine.node.clock().adjust_to_wall();
    assert!(engine.node.clock().has_alarm());
    assert_eq!(engine.node.unready_reasons().await, Vec::<String>::new());
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_full_memory_looks_up_a_few_requests_and_asks_others_to_retry() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    open_sale(&engine, Stock::Counted(2), 1, 900_000).await;
    let first = bought(&engine, "anna", "k", 1).await;
    bought(&engine, "bert", "k", 1).await;
    engine.node.holders().begin_rebuild();
    assert!(engine.node.holders().is_empty() && engine.node.holders().is_full());
    assert_eq!(buy(&engine, "anna", "k", 1).await, PurchaseOutcome::Replayed(first.clone()));
    assert!(is_sold_out(&buy(&engine, "carl", "k", 1).await, true));
    let places: Vec<_> = (0..HOLDER_LOOKUPS_MAX)
        .map(|_| engine.node.holders().lookup_permit().expect("a permit is free"))
        .collect();
    for buyer in ["anna", "carl"] {
        let answer = buy(&engine, buyer, "k2", 1).await;
        assert!(matches!(answer, PurchaseOutcome::Refused(Refusal::Unavailable)), "{answer:?}");
    }
    drop(places);
    step(&engine, PhaseStep::Pause).await;
    assert_eq!(buy(&engine, "anna", "k", 1).await, PurchaseOutcome::Replayed(first.clone()));
    assert_eq!(buy(&engine, "carl", "k", 1).await, PurchaseOutcome::Refused(Refusal::Paused));
    engine.node.load_holders().await.expect("the store is available");
    engine.node.holders().finish_rebuild();
    assert!(engine.node.holders().len() == 2 && !engine.node.holders().is_full());
    assert_eq!(buy(&engine, "anna", "k", 1).await, PurchaseOutcome::Replayed(first));
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_that_ended_long_ago_takes_no_memory_and_its_orders_are_found() {
    let dir = TempDir::new();
    let first = engine(&dir).await;
    open_sale(&first, Stock::Counted(2), 1, 900_000).await;
    let order = bought(&first, "anna", "k", 1).await;
    step(&first, PhaseStep::Close).await;
    first.stock.stop_node().await;
    drop(first);
    let later = clock_of_days_later(2);
    let second = engine_at(&dir, Roles { control: false, ..Roles::ALL }, later).await;
    assert!(second.node.holders().is_empty());
    assert!(
        matches!(buy(&second, "anna", "k", 1).await, PurchaseOutcome::Replayed(again) if again.id == order.id)
    );
    assert_eq!(buy(&second, "bert", "k", 1).await, PurchaseOutcome::Refused(Refusal::Ended));
    second.stock.stop_node().await;
}

fn clock_of_days_later(days: i64) -> Clock {
    let at = Clock::default().now().plus(days * 86_400_000).0;
    Clock::with_wall(Arc::new(move || at))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finding_without_an_item_pauses_every_open_and_every_scheduled_sale() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    draft(&engine, Stock::Counted(10), 10, 60_000).await;
    let finding = FindingView {
        rule: "I2".into(),
        item: None,
        detail: "orders name an unknown grant".into(),
    };
    let sound = audit(&engine.node).await.expect("the store is available");
    let mut faulty = sound.clone();
    faulty.findings.push(finding);
    let phase = || engine.node.catalogue().sale("spring").expect("the sale was created").row.phase;
    for (begun, sells) in
        [(PhaseStep::Schedule, Phase::Scheduled), (PhaseStep::Resume, Phase::Open)]
    {
        step(&engine, begun).await;
        handle_findings(&engine.sales, &sound).await;
        assert_eq!(phase(), sells, "a sale without a finding must keep its phase");
        handle_findings(&engine.sales, &faulty).await;
        assert_eq!(phase(), Phase::Paused, "after {sells:?}");
    }
    engine.stock.stop_node().await;
}

//! Tests one item with several slots: the units add up, every unit is sold, and buyers' limits
//! apply to all slots together.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use doorbuster_core::{PartitionChoice, Spread};
use doorbuster_store::SpreadOutcome;

use super::live_spread::{AbortOnDrop, change_again};
use super::*;

pub(super) fn over(partitions: u32) -> Spread {
    Spread { partitions, ..Spread::default() }
}

pub(super) async fn spread_sale(engine: &EngineParts, stock: u64, limit: u32, spread: Spread) {
    draft(engine, Stock::Counted(stock), limit, 900_000).await;
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    let set = engine.sales.set_spread(&item, spread, None).await.expect("the store is available");
    assert!(matches!(set, SpreadOutcome::Done(_)), "{set:?}");
    step(engine, PhaseStep::Open).await;
}

/// Until `stop` is set, checks that the units in all states add up to `stock`. Returns the number
/// of checks.
async fn add_up(engine: Arc<EngineParts>, stock: u64, stop: Arc<AtomicBool>) -> u64 {
    let mut checks = 0;
    while !stop.load(Ordering::Acquire) {
        let counts = engine.node.store().counts(None).await.expect("the store is available")[0];
        assert_eq!(counts.pool + counts.in_slots + counts.held + counts.paid, stock, "{counts:?}");
        checks += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    checks
}

pub(super) async fn is_sound(engine: &EngineParts) {
    let audit = audit(&engine.node).await.expect("the store is available");
    assert!(audit.findings.is_empty() && audit.repairs == 0, "{audit:?}");
}

async fn sell_out(spread: Spread, stock: u64) {
    sell_out_while(spread, stock, &[]).await;
}

pub(super) async fn sell_out_while(spread: Spread, stock: u64, changes: &[Spread]) {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    spread_sale(&engine, stock, 7, spread).await;
    let changing = AbortOnDrop(tokio::spawn(change_again(engine.clone(), changes.to_vec())));
    let stop = Arc::new(AtomicBool::new(false));
    let adding = tokio::spawn(add_up(engine.clone(), stock, stop.clone()));
    let (sold, next) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut crowd = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (engine, sold, next) = (engine.clone(), sold.clone(), next.clone());
        crowd.spawn(async move {
            let mut most = 7;
            while most > 0 {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let units = (n * 5 % 7 + 1).min(most) as u32;
                match buy(&engine, &format!("b{n}"), "k", units).await {
                    PurchaseOutcome::Created(order) => {
                        _ = sold.fetch_add(order.units.to_u64(), Ordering::Relaxed);
                    }
                    // Fewer units than requested are left.
                    PurchaseOutcome::Refused(Refusal::SoldOut(left)) => {
                        most = left.available.min(u64::from(units) - 1)
                    }
                    PurchaseOutcome::Refused(Refusal::Unavailable | Refusal::Overloaded) => {}
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    while let Some(ended) = crowd.join_next().await {
        ended.expect("the task did not panic");
    }
    drop(changing);
    stop.store(true, Ordering::Release);
    assert!(adding.await.expect("the units add up") > 0);
    let counts = counts(&engine);
    assert_eq!(
        (sold.load(Ordering::Relaxed), counts.held, counts.pool + counts.in_slots),
        (stock, stock, 0)
    );
    is_sound(&engine).await;
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_unit_is_sold_over_eight_partitions() {
    sell_out(over(8), 1_000).await;
    sell_out(Spread { choose: PartitionChoice::RoundRobin, ..over(8) }, 501).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_unit_is_sold_in_portions_that_are_refilled() {
    sell_out(Spread { initial: 20, threshold: 5, refill: 10, ..over(4) }, 1_000).await;
    sell_out(
        Spread {
            initial: 40,
            threshold: 3,
            refill: 10,
            choose: PartitionChoice::Random,
            ..over(1)
        },
        400,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_for_ten_units_is_served_while_the_slots_have_ten_units_together() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    spread_sale(&engine, 80, 10, Spread { choose: PartitionChoice::Random, ..over(8) }).await;
    for n in 0..70 {
        bought(&engine, &format!("b{n}"), "k", 1).await;
    }
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    let mut most = 0;
    for &slot in &item.slots {
        most = most
            .max(engine.stock.slots().view(slot).await.expect("local").expect("open").available);
    }
    assert!(most < 10, "a slot has {most} units, but the test needs fewer than ten in each slot");
    bought(&engine, "anna", "k", 10).await;
    assert!(engine.node.meter().recalls.get() > 0);
    assert!(is_sold_out(&buy(&engine, "bert", "k", 1).await, true));
    is_sound(&engine).await;
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_counts_over_all_partitions_and_every_unit_is_sold() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    spread_sale(&engine, 40, 3, Spread { choose: PartitionChoice::Random, ..over(8) }).await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..50 {
        let engine = engine.clone();
        asking.spawn(async move { buy(&engine, "anna", &format!("k{n}"), 1).await });
    }
    let answers = asking.join_all().await;
    let created = answers.iter().filter(|a| matches!(a, PurchaseOutcome::Created(_))).count();
    let limited = answers
        .iter()
        .filter(|a| matches!(a, PurchaseOutcome::Refused(Refusal::LimitReached { .. })))
        .count();
    assert_eq!((created, limited), (3, 47), "{answers:?}");
    for n in 0..37 {
        bought(&engine, &format!("b{n}"), "k", 1).await;
    }
    assert!(is_sold_out(&buy(&engine, "bert", "k", 1).await, true));
    is_sound(&engine).await;
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spread_can_change_before_the_sale_opens_without_losing_units() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    draft(&engine, Stock::Counted(64), 64, 900_000).await;
    let patch = Box::new(|row: &mut doorbuster_store::SaleRow| {
        row.starts_at = Some(row.created_at.plus(3_600_000));
        Ok(())
    });
    engine.sales.patch_sale("spring", None, patch).await.expect("the store is available");
    step(&engine, PhaseStep::Schedule).await;
    for partitions in [8, 3, 1, 16] {
        let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
        let set = engine
            .sales
            .set_spread(&item, over(partitions), None)
            .await
            .expect("the store is available");
        assert!(matches!(set, SpreadOutcome::Done(_)), "{set:?}");
        let open = engine.node.store().open_grants().await.expect("the store is available");
        assert_eq!(open.len() as u32, partitions);
        assert_eq!(open.iter().map(|grant| grant.granted).sum::<u64>(), 64);
    }
    step(&engine, PhaseStep::Open).await;
    bought(&engine, "anna", "k", 64).await;
    is_sound(&engine).await;
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_is_lowered_from_every_partition_and_pause_drains_them_all() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    spread_sale(&engine, 80, 10, over(8)).await;
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].row.id;
    let lower = Adjustment { item, units: -75, reason: "recount".into(), key: "a".into() };
    let lowered = engine.stock.adjust(lower).await.expect("the store is available");
    assert!(
        matches!(lowered, AdjustOutcome::Done(c) if c.total == Stock::Counted(5)),
        "{lowered:?}"
    );
    bought(&engine, "anna", "k", 3).await;
    step(&engine, PhaseStep::Pause).await;
    assert_eq!((counts(&engine).pool, counts(&engine).in_slots), (2, 0));
    step(&engine, PhaseStep::Resume).await;
    bought(&engine, "bert", "k", 2).await;
    is_sound(&engine).await;
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unlimited_stock_is_sold_from_every_partition() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    draft(&engine, Stock::Unlimited, 10, 900_000).await;
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    engine
        .sales
        .set_spread(&item, Spread { choose: PartitionChoice::RoundRobin, ..over(4) }, None)
        .await
        .expect("the store is available");
    step(&engine, PhaseStep::Open).await;
    for n in 0..40 {
        bought(&engine, &format!("b{n}"), "k", 10).await;
    }
    let grants = engine.node.store().open_grants().await.expect("the store is available");
    assert!(grants.len() == 4 && grants.iter().all(|grant| grant.settled == 100), "{grants:?}");
    assert_eq!(counts(&engine).held, 400);
    is_sound(&engine).await;
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_buyer_gets_sold_out_while_a_slot_without_an_epoch_may_have_units() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    spread_sale(&engine, 16, 8, Spread { choose: PartitionChoice::RoundRobin, ..over(2) }).await;
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    // While the test has the lock, no job moves units or repairs slots.
    let still = engine.stock.lock_item(&item).await;
    let is_short = |answer: &PurchaseOutcome| {
        let PurchaseOutcome::Refused(Refusal::SoldOut(left)) = answer else { return false };
        left.may_return
    };
    for buyer in ["emil", "fred"] {
        assert!(matches!(buy(&engine, buyer, "k", 4).await, PurchaseOutcome::Created(_)));
    }
    let large = buy(&engine, "anna", "k", 8).await;
    assert!(
        is_short(&large),
        "the answer must be that no slot has eight units now, but it is {large:?}"
    );
    engine.stock.slots().retire(item.slots[0], None).await.expect("local");
    for buyer in ["bert", "carl", "dora"] {
        let answer = buy(&engine, buyer, "k", 8).await;
        assert!(matches!(answer, PurchaseOutcome::Refused(Refusal::Unavailable)), "{answer:?}");
    }
    drop(still);
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_larger_than_its_slots_portion_is_served_from_the_pool() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    spread_sale(&engine, 40, 20, Spread { initial: 10, threshold: 5, refill: 10, ..over(1) }).await;
    bought(&engine, "anna", "k", 20).await;
    bought(&engine, "bert", "k", 20).await;
    assert!(is_sold_out(&buy(&engine, "carl", "k", 1).await, true));
    is_sound(&engine).await;
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_buyer_gets_sold_out_while_a_partition_has_an_undecided_earlier_attempt() {
    let dir = TempDir::new();
    let engine = engine_with(&dir, Roles { settle: false, ..Roles::ALL }).await;
    spread_sale(&engine, 8, 1, Spread { choose: PartitionChoice::RoundRobin, ..over(8) }).await;
    let mut ids = Vec::new();
    for n in 0..8 {
        match buy_within(&engine, &format!("b{n}"), "k", 1, Duration::ZERO).await {
            PurchaseOutcome::Queued { id, .. } => ids.push(id),
            other => panic!("the answer must be `Queued`, because no ticket is settled: {other:?}"),
        }
    }
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    // While the test has the lock, no job updates the routing of requests.
    let _still = engine.stock.lock_item(&item).await;
    let mut again = tokio::task::JoinSet::new();
    for n in 0..24 {
        let engine = engine.clone();
        again.spawn(async move {
            (n % 8, buy_within(&engine, &format!("b{}", n % 8), "k", 1, Duration::ZERO).await)
        });
    }
    for (n, answer) in again.join_all().await {
        assert!(
            matches!(answer, PurchaseOutcome::Queued { id, .. } if id == ids[n]),
            "{n}: {answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_id_is_published_while_another_ticket_may_be_in_a_slot_that_does_not_answer() {
    let dir = TempDir::new();
    let engine = engine_with(&dir, Roles { settle: false, ..Roles::ALL }).await;
    spread_sale(&engine, 16, 8, Spread { choose: PartitionChoice::RoundRobin, ..over(2) }).await;
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    // While the test has the lock, no job gives the slot its next epoch.
    let still = engine.stock.lock_item(&item).await;
    engine.stock.slots().retire(item.slots[0], None).await.expect("local");
    let (mut queued, mut unavailable) = (0, 0);
    for buyer in ["anna", "bert", "carl", "dora"] {
        match buy_within(&engine, buyer, "k", 1, Duration::ZERO).await {
            PurchaseOutcome::Queued { .. } => queued += 1,
            PurchaseOutcome::Refused(Refusal::Unavailable) => unavailable += 1,
            other => panic!("{buyer}: {other:?}"),
        }
    }
    assert_eq!(
        (queued, unavailable),
        (2, 2),
        "each of the two slots must be the first slot of two requests"
    );
    drop(still);
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_buyer_is_refused_by_the_limit_while_another_partition_has_an_undecided_attempt() {
    let dir = TempDir::new();
    let engine = engine_with(&dir, Roles { settle: false, ..Roles::ALL }).await;
    spread_sale(&engine, 40, 10, Spread { choose: PartitionChoice::RoundRobin, ..over(2) }).await;
    let waiting = engine.clone();
    let first = tokio::spawn(async move { buy(&waiting, "anna", "k", 10).await });
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    while engine.stock.queued(&item).await == 0 {
        tokio::task::yield_now().await;
    }
    // Requests go to the partitions in turn. These two requests make Anna's repeated request go to
    // the second partition.
    for (buyer, key, units) in [("anna", "other", 3), ("bert", "k", 1)] {
        let queued = buy_within(&engine, buyer, key, units, Duration::ZERO).await;
        assert!(matches!(queued, PurchaseOutcome::Queued { .. }), "{queued:?}");
    }
    let again = buy_within(&engine, "anna", "k", 10, Duration::from_millis(100)).await;
    let first = first.await.expect("the task did not panic");
    assert!(
        matches!(first, PurchaseOutcome::Queued { .. }),
        "the answer must be `Queued`, because no ticket is settled: {first:?}"
    );
    assert_eq!(again, first);
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stored_quota_does_not_refuse_a_request_with_an_undecided_ticket_in_another_slot() {
    let dir = TempDir::new();
    let selling = engine(&dir).await;
    spread_sale(&selling, 40, 10, Spread { choose: PartitionChoice::RoundRobin, ..over(2) }).await;
    bought(&selling, "anna", "held", 1).await;
    selling.stock.stop_node().await;
    // After the restart, the slots have new epochs and no record of Anna's order. Only the stored
    // quota includes the order.
    let engine = engine_with(&dir, Roles { settle: false, ..Roles::ALL }).await;
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    for &slot in &item.slots {
        while engine.stock.slots().view(slot).await.expect("local").is_none() {
            tokio::task::yield_now().await;
        }
    }
    let waiting = engine.clone();
    let first = tokio::spawn(async move { buy(&waiting, "anna", "k", 10).await });
    while engine.stock.queued(&item).await == 0 {
        tokio::task::yield_now().await;
    }
    for (buyer, key, units) in [("anna", "other", 3), ("bert", "k", 1)] {
        let queued = buy_within(&engine, buyer, key, units, Duration::ZERO).await;
        assert!(matches!(queued, PurchaseOutcome::Queued { .. }), "{queued:?}");
    }
    let again = buy_within(&engine, "anna", "k", 10, Duration::from_millis(100)).await;
    let limit = PurchaseOutcome::Refused(Refusal::LimitReached { limit: 10, used: 1 });
    assert_eq!(
        buy(&engine, "anna", "new", 10).await,
        limit,
        "a new request of a buyer at the limit must be refused"
    );
    let first = first.await.expect("the task did not panic");
    assert!(
        matches!(first, PurchaseOutcome::Queued { .. }),
        "the answer must be `Queued`, because no ticket is settled: {first:?}"
    );
    assert_eq!(again, first);
    engine.stock.stop_node().await;
}

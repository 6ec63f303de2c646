//! Tests changes of an item's spread while the sale runs.
use std::sync::Arc;

use doorbuster_core::{CloseCause, PartitionChoice, SlotKey, Spread};
use doorbuster_store::{DeleteOutcome, SpreadOutcome};

use super::spread::{is_sound, over, sell_out_while, spread_sale};
use super::*;
use crate::sales::auto_partitions::{Observed, widen};
use crate::stock::slot_cleanup::retire_leftovers;

/// Changes the item's spread to each of `changes` in turn, and then begins again; never returns.
/// After each change, waits until the slots match the spread.
pub(super) async fn change_again(engine: Arc<EngineParts>, changes: Vec<Spread>) {
    for spread in changes.into_iter().cycle() {
        respread(&engine, spread).await;
        is_followed(&engine, spread).await;
    }
}

async fn respread(engine: &EngineParts, spread: Spread) {
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    let set = engine.sales.set_spread(&item, spread, None).await.expect("the store is available");
    assert!(matches!(set, SpreadOutcome::Done(_)), "{set:?}");
}

/// Waits until every slot of the spread has an open grant, and no other slot has an open grant.
async fn is_followed(engine: &EngineParts, spread: Spread) {
    let until = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let grants = engine.node.store().open_grants().await.expect("the store is available");
        let mut indexes: Vec<u32> = grants.iter().map(|grant| grant.slot.index).collect();
        indexes.sort_unstable();
        if indexes == (0..spread.partitions).collect::<Vec<_>>() {
            return;
        }
        assert!(
            std::time::Instant::now() < until,
            "the spread is {spread:?}, but the slots {indexes:?} have open grants"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(super) struct AbortOnDrop(pub(super) tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_unit_is_sold_while_partitions_come_and_go() {
    let all = [over(8), over(3), over(16), over(1), over(64), over(2)];
    sell_out_while(over(1), 4_000, &all).await;
    let portions = |partitions, choose| Spread {
        choose,
        initial: 20,
        threshold: 5,
        refill: 10,
        ..over(partitions)
    };
    let some = [
        portions(6, PartitionChoice::Random),
        portions(2, PartitionChoice::RoundRobin),
        Spread { initial: 60, refill: 30, ..portions(2, PartitionChoice::Buyer) },
        over(5),
    ];
    sell_out_while(over(4), 3_001, &some).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_partitions_get_units_from_other_slots_and_removed_partitions_give_theirs_back() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    spread_sale(&engine, 64, 2, over(1)).await;
    assert_eq!((counts(&engine).pool, counts(&engine).in_slots), (0, 64));
    for partitions in [8, 2, 4] {
        respread(&engine, over(partitions)).await;
        is_followed(&engine, over(partitions)).await;
        let until = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            let grants = engine.node.store().open_grants().await.expect("the store is available");
            let levels: Vec<u64> = grants.iter().map(|grant| grant.unsettled()).collect();
            let part = 64 / u64::from(partitions);
            if levels.iter().all(|&units| units == part) && levels.len() as u32 == partitions {
                break;
            }
            assert!(std::time::Instant::now() < until, "{partitions} partitions hold {levels:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    is_sound(&engine).await;
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ticket_of_a_partition_that_is_drained_still_settles() {
    let dir = TempDir::new();
    let engine = engine_with(&dir, Roles { settle: false, ..Roles::ALL }).await;
    spread_sale(&engine, 8, 1, Spread { choose: PartitionChoice::RoundRobin, ..over(8) }).await;
    let mut ids = Vec::new();
    for n in 0..8 {
        match buy_within(&engine, &format!("b{n}"), "k", 1, Duration::ZERO).await {
            PurchaseOutcome::Queued { id, .. } => ids.push(id),
            other => {
                panic!("the answer must be `Queued`, because no ticket is settled yet: {other:?}")
            }
        }
    }
    // Some slots may have no ticket, because a request gets its unit from another slot if its own
    // slot is empty. The test needs a ticket in at least one of the slots that will be drained.
    let mut with_tickets = Vec::new();
    for grant in engine.node.store().open_grants().await.expect("the store is available") {
        let view = engine.stock.slots().view(grant.slot).await.expect("local").expect("open");
        if view.n.0 > 0 {
            with_tickets.push(grant.slot);
        }
    }
    assert!(
        with_tickets.len() > 1,
        "at least one leaving partition must have a ticket: {with_tickets:?}"
    );
    respread(&engine, over(1)).await;
    // No buyer gets "sold out".
    for (n, id) in ids.iter().enumerate() {
        let again = buy_within(&engine, &format!("b{n}"), "k", 1, Duration::ZERO).await;
        let is_same = matches!(again, PurchaseOutcome::Queued { id: queued, .. } if queued == *id);
        let is_later = matches!(again, PurchaseOutcome::Refused(Refusal::Unavailable));
        assert!(is_same || is_later, "{n}: {again:?}");
    }
    let open = engine.node.store().open_grants().await.expect("the store is available");
    let open: Vec<SlotKey> = open.iter().map(|grant| grant.slot).collect();
    assert!(
        with_tickets.iter().all(|slot| open.contains(slot)),
        "the slots {with_tickets:?} have tickets, but only the slots {open:?} have open grants"
    );
    let settler = AbortOnDrop(tokio::spawn(crate::settle::run(
        engine.node.clone(),
        engine.stock.slots().clone(),
    )));
    is_followed(&engine, over(1)).await;
    for id in ids {
        let resolved = engine.node.store().verdict(id).await.expect("the store is available");
        assert!(
            resolved.is_some_and(|resolved| resolved.order.is_some()),
            "the ticket {id} must become an order"
        );
    }
    assert_eq!((counts(&engine).held, counts(&engine).in_slots), (8, 0));
    is_sound(&engine).await;
    drop(settler);
    engine.stock.stop_node().await;
}

/// Opens a sale with two slots and buys units, but no node settles the tickets. Then removes the
/// second slot from the spread, and returns this slot.
async fn leave_with_tickets(engine: &EngineParts) -> SlotKey {
    spread_sale(engine, 8, 1, Spread { choose: PartitionChoice::RoundRobin, ..over(2) }).await;
    for n in 0..4 {
        let answer = buy_within(engine, &format!("b{n}"), "k", 1, Duration::ZERO).await;
        assert!(matches!(answer, PurchaseOutcome::Queued { .. }), "{answer:?}");
    }
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].row.id;
    let left = SlotKey { item, index: 1 };
    let view = engine.stock.slots().view(left).await.expect("local");
    assert!(view.is_some_and(|view| view.unacknowledged > 0), "the slot needs a ticket");
    respread(engine, over(1)).await;
    left
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_of_a_partition_whose_drain_is_overdue_is_read_until_it_is_empty() {
    let dir = TempDir::new();
    let engine = engine_with(&dir, Roles { settle: false, ..Roles::ALL }).await;
    let left = leave_with_tickets(&engine).await;
    let view = async || engine.stock.slots().view(left).await.expect("local");
    let is_read = || engine.node.control().unretired().contains(&left);
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while !is_read() {
        assert!(std::time::Instant::now() < until, "nobody reads the queue of the slot");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let open = engine.node.store().open_grants().await.expect("the store is available");
    assert!(open.iter().all(|grant| grant.slot != left), "the overdue drain closes the grant");
    retire_leftovers(&engine.node, engine.stock.slots(), Vec::new()).await;
    assert!(is_read() && view().await.is_some(), "a slot with tickets must keep its data");
    let settler = AbortOnDrop(tokio::spawn(crate::settle::run(
        engine.node.clone(),
        engine.stock.slots().clone(),
    )));
    while is_read() {
        assert!(std::time::Instant::now() < until, "the tickets of the slot are not settled");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(view().await, None);
    engine.stock.stop_node().await;
    drop(settler);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_of_a_partition_whose_grant_another_node_closed_is_read() {
    let dir = TempDir::new();
    let engine = engine_with(&dir, Roles { settle: false, ..Roles::ALL }).await;
    let left = leave_with_tickets(&engine).await;
    let open = engine.node.store().open_grants().await.expect("the store is available");
    let grant = open.iter().find(|grant| grant.slot == left).expect("the slot has tickets").id;
    let closed = engine.node.store().close_grant(grant, CloseCause::Rolled).await;
    assert!(closed.expect("the store is available"), "the drain waits for the tickets");
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while !engine.node.control().unretired().contains(&left) {
        assert!(std::time::Instant::now() < until, "nobody reads the queue of the slot");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let settler = AbortOnDrop(tokio::spawn(crate::settle::run(
        engine.node.clone(),
        engine.stock.slots().clone(),
    )));
    engine.stock.stop_node().await;
    drop(settler);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spread_of_a_paused_sale_applies_when_it_is_resumed_and_a_closed_sale_keeps_its_own() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    spread_sale(&engine, 60, 10, over(6)).await;
    step(&engine, PhaseStep::Pause).await;
    respread(&engine, over(3)).await;
    step(&engine, PhaseStep::Resume).await;
    is_followed(&engine, over(3)).await;
    bought(&engine, "anna", "k", 10).await;
    step(&engine, PhaseStep::Close).await;
    let item = engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    let late = engine.sales.set_spread(&item, over(2), None).await.expect("the store is available");
    assert!(matches!(late, SpreadOutcome::WrongState(_)), "{late:?}");
    is_sound(&engine).await;
    engine.stock.stop_node().await;
}

#[tokio::test]
async fn partitions_are_added_only_to_the_newest_version_of_a_sale() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    spread_sale(&engine, 100, 1, over(2)).await;
    let before = engine.node.catalogue().sale("spring").expect("created").clone();
    respread(&engine, over(1)).await;
    let mut seen = Observed::default();
    let refused = widen(&engine.sales, (&before, &before.items[0]), &mut seen, 4).await;
    assert!(
        !refused.expect("the store is available"),
        "a change based on an old version of the sale must be refused"
    );
    let now = engine.node.catalogue().sale("spring").expect("created").clone();
    assert_eq!(now.items[0].row.spread, over(1));
    let widened = widen(&engine.sales, (&now, &now.items[0]), &mut seen, 2).await;
    assert!(widened.expect("the store is available"));
    is_followed(&engine, over(2)).await;
    engine.stock.stop_node().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_draft_leaves_no_data_in_the_slots_that_it_had_while_it_was_scheduled() {
    let dir = TempDir::new();
    let engine = engine(&dir).await;
    draft(&engine, Stock::Counted(8), 1, 900_000).await;
    let item = || engine.node.catalogue().sale("spring").expect("created").items[0].clone();
    engine.sales.set_spread(&item(), over(4), None).await.expect("the store is available");
    let slots = item().slots.clone();
    step(&engine, PhaseStep::Schedule).await;
    for slot in &slots {
        while engine.stock.slots().view(*slot).await.expect("local").is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    step(&engine, PhaseStep::Unschedule).await;
    engine.sales.set_spread(&item(), over(2), None).await.expect("the store is available");
    let deleted = engine.sales.delete_sale("spring", None).await.expect("the store is available");
    assert_eq!(deleted, DeleteOutcome::Done);
    for slot in slots {
        assert_eq!(engine.stock.slots().view(slot).await.expect("local"), None, "{slot}");
    }
    engine.stock.stop_node().await;
}

//! Reconciles an item's slots with the store ([`doorbuster_steps::slot_reconciliation`]). An item
//! is reconciled after each signal that something has changed. In addition, items for which a
//! signal may have been missed are reconciled every second.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::partition::AvailablePartitions;
use doorbuster_core::{GrantId, RecallTarget, SlotKey};
use doorbuster_slots::SlotError;
use doorbuster_steps::slot_reconciliation::{Effect, Input, OpenSlot, Pause, Refill, Round};
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::task::JoinSet;

use super::item_view::{ItemInMemory, portions};
use super::{StockControl, feed, recall, slot_drain, start_slot};
use crate::catalogue::{ItemState, SlotUnits};
use crate::control::WakeReason;
use crate::error::EngineError;
use crate::node::Node;
use crate::outage_log;

/// The maximum number of items that are reconciled at the same time.
const RECONCILED_AT_ONCE: usize = 64;
const RETRY_DELAY: Duration = Duration::from_millis(50);
/// How often the node checks a slot that leaves its item's spread and still has tickets.
const LEAVE_POLL: Duration = Duration::from_millis(25);
/// A node that gave units to another node waits before it recalls units again, so that the other
/// node can sell some. The wait is random: between this time and twice this time.
const GIVE_WAY: Duration = Duration::from_millis(20);

pub(super) async fn run(stock: Arc<StockControl>) {
    let mut tasks = JoinSet::new();
    loop {
        stock.node.control().items_changed.notified().await;
        for (id, reason) in stock.node.control().take_items() {
            while tasks.len() >= RECONCILED_AT_ONCE {
                tasks.join_next().await;
            }
            let Some(item) = stock.node.catalogue().item_by_id(id).cloned() else { continue };
            let stock = stock.clone();
            tasks.spawn(async move {
                if reason == WakeReason::Pool && !needs_pool_units(&stock, &item).await {
                    return;
                }
                // Another task may already wait for the item's lock. That task reads the store only
                // after it has the lock, so it also handles this change.
                if item.work.awaits_reconcile.swap(true, Ordering::AcqRel) {
                    return;
                }
                let alone = stock.lock_item(&item).await;
                item.work.awaits_reconcile.swap(false, Ordering::AcqRel);
                // While this task waited for the lock, another task may have changed the item. That
                // task relies on this reconciliation to use the new values. So this task reads the
                // item again.
                let item = stock.node.catalogue().item_by_id(id).cloned().unwrap_or(item.clone());
                let reconciled = reconcile_locked(&stock, &item).await;
                drop(alone);
                if let Err(error) = reconciled {
                    outage_log::warn!(
                        stock.node.outage_log(),
                        error,
                        event = "slot.reconcile_failed",
                        item = stock.node.catalogue().item_name(id),
                        "failed to reconcile slots; will retry"
                    );
                    tokio::time::sleep(RETRY_DELAY).await;
                    stock.node.control().wake(id);
                }
            });
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// Reconciles these items. If an item fails, logs the failure and wakes another reconciliation of
/// this item.
pub(crate) async fn reconcile_all(stock: &StockControl, items: &[Arc<ItemState>]) {
    let each = futures_util::stream::iter(items.to_vec()).map(|item| async move {
        if let Err(error) = reconcile(stock, &item).await {
            outage_log::warn!(
                stock.node.outage_log(),
                error,
                event = "slot.reconcile_failed",
                item = format!("{}/{}", item.sale, item.row.name),
                "failed to reconcile slots; will retry"
            );
            stock.node.control().wake(item.row.id);
        }
    });
    each.buffer_unordered(RECONCILED_AT_ONCE).collect::<()>().await;
}

/// Makes an item's slots agree with the store's rows. The caller may repeat this call at any time.
pub(crate) async fn reconcile(stock: &StockControl, item: &ItemState) -> Result<(), EngineError> {
    let locked = stock.lock_item(item).await;
    locked.reconcile().await
}

/// Returns whether any slot of the item needs units of the pool now. If the item uses no
/// sub-domains, does not check and returns `true`. If another task already waits to make the same
/// check, returns `false`.
async fn needs_pool_units(stock: &StockControl, item: &ItemState) -> bool {
    let portions = &portions(&stock.node, item);
    if !portions.spread.uses_sub_domains() {
        return true;
    }
    if item.work.awaits_pool_check.swap(true, Ordering::AcqRel) {
        return false;
    }
    let _alone = item.work.pool_check.lock().await;
    item.work.awaits_pool_check.swap(false, Ordering::AcqRel);
    let pool = item.gauge.open_pool();
    let needs = item.slots.iter().map(|&slot| async move {
        match stock.view_in_time(slot).await {
            Some(view) => view.is_none_or(|view| portions.needs_units(pool, &view)),
            // The slot is unreachable. The watch job logs this.
            None => false,
        }
    });
    join_all(needs).await.into_iter().any(|needs| needs)
}

/// Like [`reconcile`], for a caller that already has the item's lock. If a slot does not answer,
/// reconciles the other slots, and then returns the slot's error.
pub(super) async fn reconcile_locked(
    stock: &StockControl,
    item: &ItemState,
) -> Result<(), EngineError> {
    let Some(sale) = stock.node.catalogue().sale(&item.sale).cloned() else { return Ok(()) };
    if !sale.has_open_slots() {
        return Ok(());
    }
    // The count of ended orders must be read before the grants. Only then do the grants' feeds
    // contain the released quota of every order that is counted here.
    let ended_orders = item.work.feed.ended_orders();
    let mut view = ItemInMemory { node: &stock.node, item, sale };
    let (mut round, mut effect) = Round::begin();
    let mut slot_error = None;
    loop {
        let input = match effect {
            Effect::Record => {
                record(item, round.slots(), ended_orders);
                Input::Done
            }
            Effect::Finish => break,
            effect => perform(stock, item, effect, &mut slot_error).await?,
        };
        effect = round.next(input, &mut view);
    }
    item.gauge.wake_parked();
    slot_error.map_or(Ok(()), |error| Err(error.into()))
}

/// Performs an effect. If a slot does not answer, stores its error in `slot_error`.
async fn perform(
    stock: &StockControl,
    item: &ItemState,
    effect: Effect,
    slot_error: &mut Option<SlotError>,
) -> Result<Input, EngineError> {
    let (store, slots) = (stock.node.store(), &stock.slots);
    Ok(match effect {
        Effect::ReadGrants => Input::Grants(store.grants(item.row.id).await?),
        Effect::ReadRecalls => Input::Recalls(store.pending_recalls().await?),
        Effect::StartSlots { slots, threshold } => {
            Input::Started(start_slot::start_slots(stock, item, slots, threshold).await?)
        }
        Effect::DrainSlot(grant) => {
            Input::Drained(slot_drain::drain_slot(stock, item, &grant).await?)
        }
        Effect::TakeUnits { from, recall } => {
            let taken = recall::take_units(&stock.slots, &from, &recall).await;
            Input::Taken(taken.map_err(|error| *slot_error = Some(error)).ok())
        }
        Effect::FinishRecall { recall, units } => {
            Input::Moved(recall::finish_recall(&stock.node, recall, units).await?)
        }
        Effect::Feed(open) => feed::feed_slots(store, slots, open, slot_error).await?,
        Effect::Distribute { refills, .. } => {
            let mut given = Vec::with_capacity(refills.len());
            for part in &refills {
                given.push(refill(&stock.node, part).await?);
            }
            Input::Refilled(given)
        }
        Effect::Gather(part) => Input::Refilled(vec![refill(&stock.node, &part).await?]),
        Effect::BeginRecall { from, into, units } => {
            let target = RecallTarget::Grant(into);
            Input::RecallBegun(store.begin_recall(recall::new_id(), from, target, units).await?)
        }
        Effect::RunAgain(pause) => {
            stock.node.wake_after(pause_before_next(pause), item.row.id);
            Input::Done
        }
        Effect::Stop { slot, stopped } => {
            if let Err(error) = slots.stop(slot, stopped).await {
                *slot_error = Some(error);
            }
            Input::Done
        }
        Effect::Record | Effect::Finish => Input::Done,
    })
}

fn pause_before_next(pause: Pause) -> Duration {
    match pause {
        Pause::Drain => LEAVE_POLL,
        Pause::PoolRest(ms) => Duration::from_millis(ms),
        Pause::GiveWay => GIVE_WAY.mul_f64(1.0 + rand::random::<f64>()),
    }
}

/// Moves units from the pool to a slot. Returns the slot's grant, and the number of units that were
/// moved.
async fn refill(node: &Node, part: &Refill) -> Result<(GrantId, u64), EngineError> {
    let Refill { grant, slot, portion } = part;
    let given = node.store().refill(*grant, portion.units, portion.counter).await?;
    if given > 0 {
        tracing::debug!(%slot, units = given, counter = portion.counter.as_str(), "refilled");
        node.meter().count_refill(given);
    }
    Ok((*grant, given))
}

fn record(item: &ItemState, open_slots: &[OpenSlot], ended_orders: u64) {
    for slot in open_slots.iter().filter(|slot| slot.rows_on_their_way() == 0) {
        item.work.feed.record_applied(slot.grant.slot, ended_orders);
    }
    remember_units(item, open_slots);
}

/// Remembers the number of units in each slot, so that requests can choose a slot that has units.
fn remember_units(item: &ItemState, open_slots: &[OpenSlot]) {
    if item.slots.len() <= 1 {
        return;
    }
    let find = |slot: &SlotKey| open_slots.iter().find(|open_slot| open_slot.grant.slot == *slot);
    let (pool, counted) = (item.gauge.open_pool(), item.row.counted);
    let in_flight =
        |open_slot: &OpenSlot| open_slot.view.available + open_slot.view.unacknowledged as u64;
    let registry = match counted {
        true => AvailablePartitions::from_units(
            pool,
            item.slots.iter().map(|slot| find(slot).map_or(0, in_flight)),
        ),
        false => AvailablePartitions::all(item.slots.len() as u32),
    };
    let units = item
        .slots
        .iter()
        .map(|slot| find(slot).map_or(0, |open_slot| open_slot.view.available))
        .collect();
    item.work.slot_units.store(Arc::new(SlotUnits { registry, units }));
}

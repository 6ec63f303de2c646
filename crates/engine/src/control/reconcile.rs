//! Reconciles an item's slots with the store. Opens grants, sends `init`, carries out recalls,
//! distributes the pool and feeds the slots. Also gathers the last units, and starts or stops
//! slots. Runs when something changed, and every second in case a signal was missed.
//!
//! A new grant has no units. All units reach a slot through the feed. So the node need not remember
//! anything between opening the grant and `init`.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::partition::AvailablePartitions;
use doorbuster_core::slot::{ApplyOutcome, SlotView};
use doorbuster_core::{Grant, Recall, RecallTarget, SlotKey};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use tokio::task::JoinSet;

use crate::catalogue::{ItemState, SaleState, SlotUnits};
use crate::engine::{Engine, EngineError};
use crate::outages;

use super::gather::{self, ItemSnapshot};
use super::open_slot::{OpenSlot, start_slots};
use super::refill::{self, POOL_REST_MS, Portions};
use super::signals::WakeReason;

/// The maximum number of feed rows in one read and one call to a slot.
const FEED_BATCH_MAX: usize = 1_000;
/// The number of items that are reconciled at the same time. The store groups the commits of these
/// items.
const RECONCILED_AT_ONCE: usize = 64;
/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(50);

/// Reconciles every woken item in its own task, until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut tasks = JoinSet::new();
    loop {
        engine.control().items_changed.notified().await;
        for (id, reason) in engine.control().take_items() {
            while tasks.len() >= RECONCILED_AT_ONCE {
                tasks.join_next().await;
            }
            let Some(item) = engine.catalogue().item_by_id(id).cloned() else { continue };
            let engine = engine.clone();
            tasks.spawn(async move {
                if reason == WakeReason::Pool && !needs_pool_units(&engine, &item).await {
                    return;
                }
                // A task that already waits for the item's lock will also handle this change.
                if item.work.awaits_reconcile.swap(true, Ordering::AcqRel) {
                    return;
                }
                let alone = item.work.reconciling.lock().await;
                item.work.awaits_reconcile.swap(false, Ordering::AcqRel);
                // Another task may have changed the item while this task waited for the lock. That
                // task relies on this reconciliation to use the new values, so the item is read
                // again.
                let item = engine.catalogue().item_by_id(id).cloned().unwrap_or(item.clone());
                let reconciled = reconcile_locked(&engine, &item).await;
                drop(alone);
                if let Err(error) = reconciled {
                    outages::warn!(
                        engine.outages(),
                        error,
                        event = "slot.reconcile_failed",
                        item = engine.catalogue().item_name(id),
                        "failed to reconcile slots; will retry"
                    );
                    tokio::time::sleep(RETRY).await;
                    engine.control().wake(id);
                }
            });
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// Reconciles these items now, many at the same time. Logs a failure, and a later run repeats the
/// work.
pub(crate) async fn reconcile_all(engine: &Engine, items: &[Arc<ItemState>]) {
    let each = futures_util::stream::iter(items.to_vec()).map(|item| async move {
        if let Err(error) = reconcile(engine, &item).await {
            outages::warn!(
                engine.outages(),
                error,
                event = "slot.reconcile_failed",
                item = format!("{}/{}", item.sale, item.row.name),
                "failed to reconcile slots; will retry"
            );
            engine.control().wake(item.row.id);
        }
    });
    each.buffer_unordered(RECONCILED_AT_ONCE).collect::<()>().await;
}

/// Brings an item's slots up to date with the store. Each step may be repeated.
pub async fn reconcile(engine: &Engine, item: &ItemState) -> Result<(), EngineError> {
    let _guard = item.work.reconciling.lock().await;
    reconcile_locked(engine, item).await
}

/// Returns whether a slot needs units of the pool now. Always true if the pool is not distributed
/// in portions.
async fn needs_pool_units(engine: &Engine, item: &ItemState) -> bool {
    let portions = Portions::for_item(engine, item);
    if !portions.spread.uses_sub_domains() {
        return true;
    }
    let pool = item.gauge.open_pool();
    for &slot in &item.slots {
        match engine.slots().view(slot).await {
            Ok(Some(view)) if !portions.needs_units(pool, &view) => {}
            Ok(_) => return true,
            // The watch job logs this error.
            Err(_) => {}
        }
    }
    false
}

/// Like [`reconcile`], for a caller that has the item's lock.
pub(super) async fn reconcile_locked(engine: &Engine, item: &ItemState) -> Result<(), EngineError> {
    let Some(sale) = engine.catalogue().sale(&item.sale).cloned() else { return Ok(()) };
    if !sale.has_open_slots() {
        return Ok(());
    }
    // The count of ended orders is read before the grants. So the grants' feeds contain the
    // released quota of all counted orders.
    let endings = item.work.feed.endings();
    let grants: Vec<Grant> =
        engine.store().grants(item.row.id).await?.into_iter().filter(|grant| grant.open).collect();
    let mut pending = engine.store().pending_recalls().await?;
    pending.retain(|recall| grants.iter().any(|grant| grant.id == recall.grant));
    let mut open_slots = start_slots(engine, item, &sale, &grants).await?;
    super::spread::drain_leaving(engine, item, &grants).await?;
    let done = finish_recalls(engine, item, &open_slots, &mut pending).await?;
    feed_all(engine, &mut open_slots, done.any).await?;
    if refill::refill(engine, item, &open_slots).await? {
        feed_all(engine, &mut open_slots, true).await?;
    }
    if super::spread::share_with_new_slots(engine, item, &open_slots, &pending).await? {
        feed_all(engine, &mut open_slots, true).await?;
    }
    let snapshot = ItemSnapshot { grants: &grants, pending: &pending, gave_away: done.gave_away };
    if gather::gather(engine, item, &open_slots, snapshot).await? {
        feed_all(engine, &mut open_slots, true).await?;
    }
    for open_slot in open_slots.iter().filter(|open_slot| open_slot.is_current) {
        item.work.feed.apply(open_slot.grant.slot, endings);
    }
    remember_units(item, &open_slots);
    start_or_stop_slots(engine, item, &sale, &open_slots).await?;
    item.gauge.wake_parked();
    Ok(())
}

/// Remembers where units are, so that later requests go to a slot with units.
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

/// The results of pending recalls.
struct RecallsDone {
    any: bool,
    gave_away: bool,
}

/// Carries out all recalls from the slots that this node reaches. The units go to the pool or to
/// another slot. A repeat does no harm: a slot remembers how many units it gave for a recall, and
/// the store finishes each recall only once.
async fn finish_recalls(
    engine: &Engine,
    item: &ItemState,
    open_slots: &[OpenSlot],
    pending: &mut Vec<Recall>,
) -> Result<RecallsDone, EngineError> {
    let (mut done, mut left) = (RecallsDone { any: false, gave_away: false }, Vec::new());
    for recall in pending.drain(..) {
        let from = open_slots.iter().find(|open_slot| open_slot.grant.id == recall.grant);
        let taken = match from {
            Some(from) => gather::carry_out_recall(engine, &from.grant, &recall).await?,
            None => None,
        };
        let is_here = match recall.target {
            RecallTarget::Pool => false,
            RecallTarget::Grant(into) => {
                open_slots.iter().any(|open_slot| open_slot.grant.id == into)
            }
        };
        if recall.target == RecallTarget::Pool && taken.is_some_and(|units| units > 0) {
            item.work.pool_rests_until.store(engine.now().plus(POOL_REST_MS).0, Ordering::Release);
        }
        done.any |= taken.is_some();
        done.gave_away |= taken.is_some_and(|units| units > 0) && !is_here;
        if taken.is_none() {
            left.push(recall);
        }
    }
    *pending = left;
    Ok(done)
}

/// Sends every slot its missing feed rows, and reads the slot's view again.
async fn feed_all(
    engine: &Engine,
    open_slots: &mut [OpenSlot],
    all: bool,
) -> Result<(), EngineError> {
    let mut each = Vec::with_capacity(open_slots.len());
    for open_slot in open_slots {
        open_slot.is_current = open_slot.grant.feed_len <= open_slot.view.applied;
        if all || !open_slot.is_current {
            each.push(feed_and_read(engine, open_slot));
        }
    }
    try_join_all(each).await.map(drop)
}

async fn feed_and_read(engine: &Engine, open_slot: &mut OpenSlot) -> Result<(), EngineError> {
    open_slot.is_current = feed(engine, open_slot).await?;
    if let Some(view) = engine
        .slots()
        .view(open_slot.grant.slot)
        .await?
        .filter(|view| view.grant == open_slot.grant.id)
    {
        open_slot.view = view;
    }
    Ok(())
}

/// Sends a slot the feed rows that it has not applied. Returns `true` if the slot has all rows.
async fn feed(engine: &Engine, open_slot: &OpenSlot) -> Result<bool, EngineError> {
    let mut applied = open_slot.view.applied;
    loop {
        let rows = engine.store().feed_after(open_slot.grant.id, applied, FEED_BATCH_MAX).await?;
        let Some(last) = rows.last() else { return Ok(true) };
        match engine.slots().apply(open_slot.grant.slot, open_slot.grant.epoch, &rows).await? {
            ApplyOutcome::At(at) if at >= last.seq => applied = at,
            ApplyOutcome::At(_) | ApplyOutcome::Foreign => return Ok(false),
        }
    }
}

/// Sends the grant's slot its missing feed rows. Returns how many units the slot has afterwards.
pub(super) async fn feed_and_count(engine: &Engine, grant: &Grant) -> Result<u64, EngineError> {
    let its = |view: Option<SlotView>| view.filter(|view| view.grant == grant.id);
    let Some(view) = its(engine.slots().view(grant.slot).await?) else { return Ok(0) };
    feed(engine, &OpenSlot { grant: grant.clone(), view, is_new: false, is_current: false })
        .await?;
    Ok(its(engine.slots().view(grant.slot).await?).map_or(0, |view| view.available))
}

/// Lets slots issue tickets, or stops the slots. Only this code starts stopped slots. A drain takes
/// the item's lock before it stops slots.
///
/// If all nodes reach a slot, a node may start it only in three cases: this node stopped the slot,
/// this node is the leader, or this node has just given the slot a new grant. Without this rule,
/// one node could start a slot that another node drains.
async fn start_or_stop_slots(
    engine: &Engine,
    item: &ItemState,
    sale: &SaleState,
    open_slots: &[OpenSlot],
) -> Result<(), EngineError> {
    let is_own = engine.layout().is_node_local();
    let halt = sale.is_draining() || (is_own && engine.is_stopping());
    let stopped_here = item.work.stopped_here.swap(halt, Ordering::AcqRel);
    let may_go_on = is_own || stopped_here || engine.control().leads();
    for open_slot in open_slots {
        let wanted = halt || (open_slot.view.stopped && !may_go_on && !open_slot.is_new);
        if wanted != open_slot.view.stopped {
            engine.slots().stop(open_slot.grant.slot, wanted).await?;
        }
    }
    Ok(())
}

//! Tends an item's slot: opens its grant, sends `init`, finishes recalls, refills it from the pool, feeds it, and lets it cut tickets or not.
//! Runs when something changed, and every second for whatever was missed.
//!
//! A grant is opened with no units; all units reach a slot through the feed, so that nothing has to be remembered between opening and `init`.
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::slot::{Applied, Recalled, Terms};
use doorbuster_core::{Counter, Grant, GrantId, Seq};
use futures_util::StreamExt;
use tokio::task::JoinSet;

use crate::catalogue::ItemState;
use crate::engine::{Engine, EngineError};

/// Feed rows read and sent to a slot at once.
const FEED_BATCH_MAX: usize = 1_000;
/// Items tended at the same time; the store commits their steps in groups.
const TENDED_AT_ONCE: usize = 64;
/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(50);

/// Tends every item that was named, each in a task of its own, until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut tasks = JoinSet::new();
    loop {
        engine.control().items_changed.notified().await;
        for id in engine.control().take_items() {
            while tasks.len() >= TENDED_AT_ONCE {
                tasks.join_next().await;
            }
            let Some(item) = engine.catalogue().item_of(id).cloned() else { continue };
            let engine = engine.clone();
            tasks.spawn(async move {
                if let Err(error) = tend(&engine, &item).await {
                    tracing::warn!(%error, item = %id, "a slot could not be tended yet");
                    tokio::time::sleep(RETRY).await;
                    engine.control().wake(id);
                }
            });
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// Tends these items now, many at a time. What fails is tended again later, so a failure is only told.
pub(crate) async fn tend_all(engine: &Engine, items: &[Arc<ItemState>]) {
    let each = futures_util::stream::iter(items.to_vec()).map(|item| async move {
        if let Err(error) = tend(engine, &item).await {
            tracing::warn!(%error, item = %item.row.id, "a slot could not be tended yet");
            engine.control().wake(item.row.id);
        }
    });
    each.buffer_unordered(TENDED_AT_ONCE).collect::<()>().await;
}

/// Brings an item's slot up to the truth. Each step may be repeated.
pub(crate) async fn tend(engine: &Engine, item: &ItemState) -> Result<(), EngineError> {
    let _alone = item.tending.lock().await;
    tend_locked(engine, item).await
}

/// [`tend`] for a caller that holds the item's lock.
pub(super) async fn tend_locked(engine: &Engine, item: &ItemState) -> Result<(), EngineError> {
    let Some(sale) = engine.catalogue().sale(&item.sale).cloned() else { return Ok(()) };
    if !sale.is_warm() {
        return Ok(());
    }
    let id = GrantId(rand::random::<u64>() >> 1);
    let Some(mut grant) = engine.store().open_grant(item.slot, id, 0).await? else { return Ok(()) };
    let terms = Terms { grant: grant.id, epoch: grant.epoch, counted: grant.counted, available: 0, threshold: 0 };
    let applied = engine.slots().init(item.slot, terms).await?;
    let Applied::At(applied) = applied else {
        // Another epoch lives there: the watch decides what that proves.
        return Ok(());
    };
    if !grant.acked {
        engine.store().acknowledge_init(grant.id).await?;
        grant.acked = true;
    }
    finish_recalls(engine, item, &grant).await?;
    let pool = item.gauge.counts().pool;
    let refilled = if pool > 0 { engine.store().refill(grant.id, pool, Counter::A).await? } else { 0 };
    if refilled > 0 {
        engine.meter().refill(refilled);
    }
    feed(engine, item, &grant, applied).await?;
    // The one place that lets a slot cut tickets; a drain takes the same lock before it stops one.
    engine.slots().stop(item.slot, sale.is_draining() || engine.is_stopping()).await?;
    item.gauge.nudge();
    Ok(())
}

/// Feeds the slot what it has not applied.
pub(super) async fn feed(
    engine: &Engine,
    item: &ItemState,
    grant: &Grant,
    mut applied: Seq,
) -> Result<(), EngineError> {
    let told = item.feed.told();
    loop {
        let rows = engine.store().feed_after(grant.id, applied, FEED_BATCH_MAX).await?;
        let Some(last) = rows.last() else {
            item.feed.apply(told);
            return Ok(());
        };
        match engine.slots().apply(item.slot, grant.epoch, &rows).await? {
            Applied::At(at) if at >= last.seq => applied = at,
            Applied::At(_) | Applied::Foreign => return Ok(()),
        }
    }
}

/// Asks again for what was recalled and not finished: the slot remembers what it gave, and only the first finish counts.
async fn finish_recalls(engine: &Engine, item: &ItemState, grant: &Grant) -> Result<(), EngineError> {
    for recall in engine.store().pending_recalls().await?.iter().filter(|r| r.grant == grant.id) {
        let asked = engine.slots().recall(item.slot, recall.id, grant.id, grant.epoch, recall.asked).await?;
        if let Recalled::Taken(taken) = asked {
            engine.store().finish_recall(recall.id, taken).await?;
        }
    }
    Ok(())
}

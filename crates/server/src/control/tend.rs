//! Tends an item's slots: opens their grants, sends `init`, carries out recalls, shares out the
//! pool, feeds them, gathers the tail, and lets them cut tickets or not. Runs when something
//! changed, and every second for whatever was missed.
//!
//! A grant is opened with no units; all units reach a slot through the feed, so that nothing has to
//! be remembered between opening and `init`.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::partition::Registry;
use doorbuster_core::slot::{ApplyOutcome, GrantTerms, SlotView};
use doorbuster_core::{CloseCause, Grant, GrantId, Recall, RecallTarget, SlotKey};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use tokio::task::JoinSet;

use crate::catalogue::{ItemState, SaleState, Seen};
use crate::engine::{Engine, EngineError};

use super::Why;
use super::gather::{self, Known};
use super::refill::{self, Portions, REST_MS};

/// Feed rows read and sent to a slot at once.
const FEED_BATCH_MAX: usize = 1_000;
/// Items tended at the same time; the store commits their steps in groups.
const TENDED_AT_ONCE: usize = 64;
/// Pause after a failure.
const RETRY: Duration = Duration::from_millis(50);

/// A slot that this node reaches, under its open grant.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// As it was read, with what was given since.
    pub(super) grant: Grant,
    /// What the slot says of itself.
    pub(super) view: SlotView,
    /// It took its grant just now.
    is_new: bool,
    /// It applied whatever the truth had for it when the grant was read.
    knows: bool,
}

/// Tends every item that was named, each in a task of its own, until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut tasks = JoinSet::new();
    loop {
        engine.control().items_changed.notified().await;
        for (id, why) in engine.control().take_items() {
            while tasks.len() >= TENDED_AT_ONCE {
                tasks.join_next().await;
            }
            let Some(item) = engine.catalogue().item_of(id).cloned() else { continue };
            let engine = engine.clone();
            tasks.spawn(async move {
                if why == Why::Pool && !is_low(&engine, &item).await {
                    return;
                }
                // Whoever waits for the item already will see what this is about.
                if item.work.awaits_tending.swap(true, Ordering::AcqRel) {
                    return;
                }
                let alone = item.work.tending.lock().await;
                item.work.awaits_tending.swap(false, Ordering::AcqRel);
                // As it is now: whoever changed it meanwhile left it to this task.
                let item = engine.catalogue().item_of(id).cloned().unwrap_or(item.clone());
                let tended = tend_locked(&engine, &item).await;
                drop(alone);
                if let Err(error) = tended {
                    tracing::warn!(%error, item = %id, "a slot could not be tended yet");
                    tokio::time::sleep(RETRY).await;
                    engine.control().wake(id);
                }
            });
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// Tends these items now, many at a time. What fails is tended again later, so a failure is only
/// told.
pub(crate) async fn tend_all(engine: &Engine, items: &[Arc<ItemState>]) {
    let each = futures_util::stream::iter(items.to_vec()).map(|item| async move {
        if let Err(error) = tend(engine, &item).await {
            tracing::warn!(%error, item = %item.row.id, "a slot could not be tended yet");
            engine.control().wake(item.row.id);
        }
    });
    each.buffer_unordered(TENDED_AT_ONCE).collect::<()>().await;
}

/// Brings an item's slots up to the truth. Each step may be repeated.
pub(crate) async fn tend(engine: &Engine, item: &ItemState) -> Result<(), EngineError> {
    let _alone = item.work.tending.lock().await;
    tend_locked(engine, item).await
}

/// Whether the pool's units are wanted by a slot now: all of them, unless they go out in portions.
async fn is_low(engine: &Engine, item: &ItemState) -> bool {
    let portions = Portions::of(engine, item);
    if !portions.spread.uses_sub_domains() {
        return true;
    }
    let pool = item.gauge.open_pool();
    for &slot in &item.slots {
        match engine.slots().view(slot).await {
            Ok(Some(view)) if !portions.wants(pool, &view) => {}
            Ok(_) => return true,
            // The watch tells of it.
            Err(_) => {}
        }
    }
    false
}

/// [`tend`] for a caller that holds the item's lock.
pub(super) async fn tend_locked(engine: &Engine, item: &ItemState) -> Result<(), EngineError> {
    let Some(sale) = engine.catalogue().sale(&item.sale).cloned() else { return Ok(()) };
    if !sale.is_warm() {
        return Ok(());
    }
    // Before the grants are read: what was told by then is in their feeds.
    let told = item.work.feed.told();
    let grants: Vec<Grant> =
        engine.store().grants(item.row.id).await?.into_iter().filter(|grant| grant.open).collect();
    let mut pending = engine.store().pending_recalls().await?;
    pending.retain(|recall| grants.iter().any(|grant| grant.id == recall.grant));
    let mut places = bring_up(engine, item, &sale, &grants).await?;
    let done = finish_recalls(engine, item, &places, &mut pending).await?;
    feed_all(engine, &mut places, done.any).await?;
    if refill::refill(engine, item, &places).await? {
        feed_all(engine, &mut places, true).await?;
    }
    let known = Known { grants: &grants, pending: &pending, gave_away: done.gave_away };
    if gather::gather(engine, item, &places, known).await? {
        feed_all(engine, &mut places, true).await?;
    }
    for place in places.iter().filter(|place| place.knows) {
        item.work.feed.apply(place.grant.slot, told);
    }
    see(item, &places);
    let_cut(engine, item, &sale, &places).await?;
    item.gauge.nudge();
    Ok(())
}

/// Remembers where units are, for requests to come.
fn see(item: &ItemState, places: &[Place]) {
    if item.slots.len() <= 1 {
        return;
    }
    let of = |slot: &SlotKey| places.iter().find(|place| place.grant.slot == *slot);
    let (pool, counted) = (item.gauge.open_pool(), item.row.counted);
    let in_flight = |place: &Place| place.view.available + place.view.unacknowledged as u64;
    let registry = match counted {
        true => {
            Registry::from_units(pool, item.slots.iter().map(|slot| of(slot).map_or(0, in_flight)))
        }
        false => Registry::all(item.slots.len() as u32),
    };
    let units =
        item.slots.iter().map(|slot| of(slot).map_or(0, |place| place.view.available)).collect();
    item.work.seen.store(Arc::new(Seen { registry, units }));
}

/// The slots that this node reaches, each under its open grant. A slot that cannot be asked, or
/// proves a loss, is left to the watch.
async fn bring_up(
    engine: &Engine,
    item: &ItemState,
    sale: &SaleState,
    grants: &[Grant],
) -> Result<Vec<Place>, EngineError> {
    let mut each = Vec::with_capacity(item.slots.len());
    for &slot in &item.slots {
        let open = grants.iter().find(|grant| grant.slot == slot);
        // Whoever drains waits until every grant of another node's slot is closed.
        if open.is_some() || !sale.is_draining() {
            each.push(bring_up_one(engine, item, slot, open));
        }
    }
    Ok(try_join_all(each).await?.into_iter().flatten().collect())
}

async fn bring_up_one(
    engine: &Engine,
    item: &ItemState,
    slot: SlotKey,
    open: Option<&Grant>,
) -> Result<Option<Place>, EngineError> {
    let grant = match open {
        Some(grant) => Some(grant.clone()),
        None => engine.store().open_grant(slot, GrantId(rand::random::<u64>() >> 1), 0).await?,
    };
    let Some(mut grant) = grant else { return Ok(None) };
    let is_its = |view: &SlotView| view.grant == grant.id && view.epoch == grant.epoch;
    let Ok(view) = engine.slots().view(slot).await else { return Ok(None) };
    if let Some(view) = view.filter(is_its)
        && grant.acked
    {
        return Ok(Some(Place { grant, view, is_new: false, knows: false }));
    }
    if grant.acked {
        // It had this grant and has it no more. Never `init` again: what it sold is not in its
        // feed.
        engine.control().suspect();
        return Ok(None);
    }
    let terms = GrantTerms {
        grant: grant.id,
        epoch: grant.epoch,
        counted: grant.counted,
        available: 0,
        threshold: Portions::of(engine, item).spread.threshold,
    };
    match engine.slots().init(slot, terms).await {
        Ok(ApplyOutcome::At(_)) => {}
        Ok(ApplyOutcome::Foreign) => {
            // The slot is ahead of the truth, which was set back: on to the epoch after.
            engine.store().close_grant(grant.id, CloseCause::Rolled).await?;
            engine.control().wake(item.row.id);
            return Ok(None);
        }
        Err(_) => return Ok(None),
    }
    engine.store().acknowledge_init(grant.id).await?;
    grant.acked = true;
    let view = engine.slots().view(slot).await?.filter(|view| view.grant == grant.id);
    Ok(view.map(|view| Place { grant, view, is_new: true, knows: false }))
}

/// What became of the recalls that were pending.
struct Done {
    any: bool,
    gave_away: bool,
}

/// Carries out what is recalled from the slots that this node reaches, for whomever: a slot
/// remembers what it gave, and only the first finish counts.
async fn finish_recalls(
    engine: &Engine,
    item: &ItemState,
    places: &[Place],
    pending: &mut Vec<Recall>,
) -> Result<Done, EngineError> {
    let (mut done, mut left) = (Done { any: false, gave_away: false }, Vec::new());
    for recall in pending.drain(..) {
        let from = places.iter().find(|place| place.grant.id == recall.grant);
        let taken = match from {
            Some(from) => gather::carry_out(engine, &from.grant, &recall).await?,
            None => None,
        };
        let is_here = match recall.target {
            RecallTarget::Pool => false,
            RecallTarget::Grant(into) => places.iter().any(|place| place.grant.id == into),
        };
        if recall.target == RecallTarget::Pool && taken.is_some_and(|units| units > 0) {
            item.work.rests_until.store(engine.now().plus(REST_MS).0, Ordering::Release);
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

/// Feeds every slot that has something to learn, and looks at it again.
async fn feed_all(engine: &Engine, places: &mut [Place], all: bool) -> Result<(), EngineError> {
    let mut each = Vec::with_capacity(places.len());
    for place in places {
        place.knows = place.grant.feed_len <= place.view.applied;
        if all || !place.knows {
            each.push(feed_and_look(engine, place));
        }
    }
    try_join_all(each).await.map(drop)
}

async fn feed_and_look(engine: &Engine, place: &mut Place) -> Result<(), EngineError> {
    place.knows = feed(engine, place).await?;
    if let Some(view) =
        engine.slots().view(place.grant.slot).await?.filter(|view| view.grant == place.grant.id)
    {
        place.view = view;
    }
    Ok(())
}

/// Feeds a slot what it has not applied. True: it knows everything.
async fn feed(engine: &Engine, place: &Place) -> Result<bool, EngineError> {
    let mut applied = place.view.applied;
    loop {
        let rows = engine.store().feed_after(place.grant.id, applied, FEED_BATCH_MAX).await?;
        let Some(last) = rows.last() else { return Ok(true) };
        match engine.slots().apply(place.grant.slot, place.grant.epoch, &rows).await? {
            ApplyOutcome::At(at) if at >= last.seq => applied = at,
            ApplyOutcome::At(_) | ApplyOutcome::Foreign => return Ok(false),
        }
    }
}

/// Feeds the slot of this grant, and says how many units it has then.
pub(super) async fn fed(engine: &Engine, grant: &Grant) -> Result<u64, EngineError> {
    let its = |view: Option<SlotView>| view.filter(|view| view.grant == grant.id);
    let Some(view) = its(engine.slots().view(grant.slot).await?) else { return Ok(0) };
    feed(engine, &Place { grant: grant.clone(), view, is_new: false, knows: false }).await?;
    Ok(its(engine.slots().view(grant.slot).await?).map_or(0, |view| view.available))
}

/// The one place that lets slots cut tickets; a drain takes the item's lock before it stops them.
///
/// A slot that all nodes reach goes on by the hand that stopped it, by the leader's, or under a new
/// grant: another node may be draining it.
async fn let_cut(
    engine: &Engine,
    item: &ItemState,
    sale: &SaleState,
    places: &[Place],
) -> Result<(), EngineError> {
    let is_own = engine.layout().is_own();
    let halt = sale.is_draining() || (is_own && engine.is_stopping());
    let stopped_here = item.work.stopped_here.swap(halt, Ordering::AcqRel);
    let may_go_on = is_own || stopped_here || engine.control().leads();
    for place in places {
        let wanted = halt || (place.view.stopped && !may_go_on && !place.is_new);
        if wanted != place.view.stopped {
            engine.slots().stop(place.grant.slot, wanted).await?;
        }
    }
    Ok(())
}

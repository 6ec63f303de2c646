//! Drains that reach over nodes: whoever pauses or closes a sale tells the others through the
//! store, and waits until they are done.
//!
//! A node that is told stops its own slots, lets their tickets settle and closes their grants;
//! buyers are asked to come again meanwhile. Nothing is safe because of it: the step itself closes
//! whatever is still open. So a slot that cannot be asked, or is not drained in time, is told of
//! and left: whatever it cut is returned.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::{CloseCause, SlotKey};
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::catalogue::SaleState;
use crate::engine::{DRAIN_MAX, Engine, EngineError};

use super::tend;

/// What the others are told: a little longer than whoever waits for them does.
const TOLD: Duration = DRAIN_MAX.saturating_add(Duration::from_secs(2));
/// Between two looks for drains that others began, while one is under way. A hint saves the wait.
const AGAIN: Duration = Duration::from_millis(100);
/// The same while none is known of.
const AGAIN_AT_REST: Duration = Duration::from_secs(1);
/// Between two looks at whether the others are done, and whether the drain is over.
const LOOK: Duration = Duration::from_millis(10);

/// Follows the drains that other nodes began, until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut following = tokio::task::JoinSet::new();
    loop {
        let draining = draining_elsewhere(&engine);
        let pause = if draining.is_empty() { AGAIN_AT_REST } else { AGAIN };
        for sale in draining {
            let engine = engine.clone();
            following.spawn(async move {
                if let Err(error) = follow(&engine, &sale).await {
                    tracing::warn!(%error, sale = sale.row.id, "a drain that another node asked for could not be made");
                }
            });
        }
        while following.try_join_next().is_some() {}
        drop(tokio::time::timeout(pause, engine.control().drains_changed.notified()).await);
    }
}

fn draining_elsewhere(engine: &Engine) -> Vec<Arc<SaleState>> {
    let now = engine.now();
    let is_told = |sale: &&Arc<SaleState>| sale.row.draining_until.is_some_and(|until| until > now);
    engine.catalogue().sales().filter(is_told).cloned().collect()
}

async fn follow(engine: &Engine, sale: &SaleState) -> Result<(), EngineError> {
    // Held: it is this node that drains, or follows already.
    let Some(_alone) = engine.try_operate(&sale.flags) else { return Ok(()) };
    sale.flags.draining.store(true, Ordering::Release);
    let drained = drain_own(engine, sale).await;
    let over = wait_until_over(engine, sale).await;
    sale.flags.draining.store(false, Ordering::Release);
    drained.and(over)?;
    engine.after_step(&sale.row.id).await
}

/// Only what this node alone reaches; the rest is for whoever asked.
async fn drain_own(engine: &Engine, sale: &SaleState) -> Result<(), EngineError> {
    if !engine.layout().is_own() {
        return Ok(());
    }
    let slots = engine.stop_slots(sale).await;
    engine.drain(&slots, Instant::now() + DRAIN_MAX).await?;
    close_own(engine, &slots).await
}

/// Closes the grants of slots that only this node reaches, so that whoever waits for them need not
/// wait for more.
async fn close_own(engine: &Engine, slots: &[SlotKey]) -> Result<(), EngineError> {
    for grant in
        engine.store().open_grants().await?.iter().filter(|grant| slots.contains(&grant.slot))
    {
        engine.store().close_grant(grant.id, CloseCause::Rolled).await?;
    }
    Ok(())
}

async fn wait_until_over(engine: &Engine, sale: &SaleState) -> Result<(), EngineError> {
    loop {
        match engine.store().sale(&sale.row.id).await {
            Ok(Some(row)) => {
                let is_over = row.draining_until.is_none_or(|until| until <= engine.now());
                if is_over {
                    return engine.take_in(row).await;
                }
            }
            Ok(None) => return Ok(()),
            Err(error) if sale.row.draining_until.is_none_or(|until| until <= engine.now()) => {
                return Err(error.into());
            }
            Err(_) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

impl Engine {
    /// Stops the sale's slots that this node reaches, and names them. One that cannot be asked is
    /// told of, and left.
    pub(super) async fn stop_slots(&self, sale: &SaleState) -> Vec<SlotKey> {
        let items = sale.items.iter().map(|item| async move {
            // Whoever tends the item looks at `draining` under this lock before it lets the slots
            // go on.
            let _alone = item.work.tending.lock().await;
            item.work.stopped_here.store(true, Ordering::Release);
            join_all(item.slots.iter().map(|&slot| self.stop_slot(slot))).await
        });
        join_all(items).await.into_iter().flatten().flatten().collect()
    }

    async fn stop_slot(&self, slot: SlotKey) -> Option<SlotKey> {
        match self.slots().stop(slot, true).await {
            Ok(()) => Some(slot),
            Err(error) => {
                tracing::warn!(%error, %slot, "a slot could not be stopped: whatever it cuts is returned");
                None
            }
        }
    }

    /// Stops every slot of the sale and waits until what was cut is settled, at every node, or for
    /// as long as a drain may take.
    pub(super) async fn drain_everywhere(&self, sale: &SaleState) -> Result<(), EngineError> {
        if !self.layout().is_alone() {
            self.store().drain_sale(&sale.row.id, TOLD.as_millis() as i64).await?;
        }
        let until = Instant::now() + DRAIN_MAX;
        let slots = self.stop_slots(sale).await;
        if let Err(error) = self.drain(&slots, until).await {
            tracing::warn!(%error, sale = sale.row.id, "not every slot was drained: tickets in flight are returned");
        }
        if self.layout().reaches_all() {
            return Ok(());
        }
        // Another node may take a step of its own at the same time, and wait for these.
        close_own(self, &slots).await?;
        let is_theirs = |slot: SlotKey| {
            !slots.contains(&slot) && sale.items.iter().any(|i| i.row.id == slot.item)
        };
        while self.store().open_grants().await?.iter().any(|grant| is_theirs(grant.slot)) {
            if Instant::now() > until {
                tracing::warn!(
                    sale = sale.row.id,
                    "other nodes did not drain their slots: tickets in flight are returned"
                );
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// The drain did not come to its end: every node sells on.
    pub(super) async fn give_up_draining(&self, sale: &SaleState) {
        if !self.layout().is_alone()
            && let Err(error) = self.store().drain_sale(&sale.row.id, 0).await
        {
            tracing::warn!(%error, sale = sale.row.id, "other nodes wait for a drain that was given up, until its time is over");
        }
    }

    /// What a step, or its repetition, owes the slots. A failed drain lets them go on.
    pub(super) async fn after_step(&self, id: &str) -> Result<(), EngineError> {
        let Some(sale) = self.catalogue().sale(id).cloned() else { return Ok(()) };
        if sale.is_warm() {
            tend::tend_all(self, &sale.items).await;
        }
        if sale.row.phase == doorbuster_core::Phase::Closed {
            for slot in sale.items.iter().flat_map(|item| &item.slots) {
                if let Err(error) = self.slots().retire(*slot).await {
                    tracing::debug!(%error, %slot, "a slot is retired later");
                }
            }
        }
        Ok(())
    }
}

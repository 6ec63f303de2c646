//! How an engine stops: nothing new, what was accepted settles, what only this node could sell goes
//! back.
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::{CloseCause, SlotKey};
use tokio::time::Instant;

use super::{Engine, EngineError};

/// How long a pause, a close or a stop waits for what is in flight.
pub(crate) const DRAIN_MAX: Duration = Duration::from_secs(8);
/// How long a node that stops waits for verdicts on tickets that outlive it. With what follows it
/// is less than the program gives the engine to stop.
const HEAR_MAX: Duration = Duration::from_secs(2);
/// How long a node that stops hands back what it had read; what is left then is claimed by others
/// when it counts as dead.
const HAND_BACK_MAX: Duration = Duration::from_secs(1);
/// Between two looks at a draining queue, besides being told.
const DRAIN_LOOK: Duration = Duration::from_millis(5);

impl Engine {
    /// From now on nothing new is sold by this node: buyers are asked to come again.
    pub async fn begin_to_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        if !self.layout.is_own() {
            // Other nodes go on selling from these slots.
            return;
        }
        for item in self.warm_items() {
            // Whoever tends the item looks at `stopping` under this lock before it lets the slots
            // go on.
            let _alone = item.work.tending.lock().await;
            for &slot in &item.slots {
                if let Err(error) = self.slots.stop(slot, true).await {
                    tracing::warn!(%error, %slot, "a slot could not be stopped");
                }
            }
        }
    }

    /// Refuses what is new, settles what was accepted, and closes the store.
    pub async fn stop(&self) {
        self.begin_to_stop().await;
        let drained = if self.layout.is_own() {
            self.drain(&self.own_slots(), Instant::now() + DRAIN_MAX).await
        } else {
            self.hear_all().await
        };
        if let Err(error) = drained {
            tracing::warn!(%error, "stopping with tickets in flight: they will be returned, or settled by others");
        }
        if !self.layout.is_alone()
            && let Err(error) = self.leave().await
        {
            tracing::warn!(%error, "this node's units go to others when its lease lapses");
        }
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        match tokio::time::timeout(HAND_BACK_MAX, self.slots.release_tickets()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "tickets that were read and not settled wait for others longer")
            }
            Err(_) => {
                tracing::warn!("tickets that were read and not settled wait for others longer")
            }
        }
        self.store.close().await;
    }

    fn own_slots(&self) -> Vec<SlotKey> {
        self.warm_items().iter().flat_map(|item| item.slots.iter().copied()).collect()
    }

    /// Waits until every ticket of these slots is settled and acknowledged. A slot that cannot be
    /// asked holds up none behind it.
    pub(crate) async fn drain(&self, slots: &[SlotKey], until: Instant) -> Result<(), EngineError> {
        let mut drained = Ok(());
        for &slot in slots {
            loop {
                match self.slots.view(slot).await {
                    Ok(Some(view)) if view.unacknowledged > 0 => self.wait_for_batch(until).await?,
                    Ok(_) => break,
                    Err(error) => {
                        drained = Err(error.into());
                        break;
                    }
                }
            }
        }
        drained
    }

    /// Waits until every ticket of this node has its verdict, or cannot be consumed any more. What
    /// is left then is settled by others.
    async fn hear_all(&self) -> Result<(), EngineError> {
        let until = Instant::now() + HEAR_MAX;
        while self.waiters().are_open(self.now()) {
            self.wait_for_batch(until).await?;
        }
        Ok(())
    }

    async fn wait_for_batch(&self, until: Instant) -> Result<(), EngineError> {
        if Instant::now() > until {
            return Err(EngineError::Drain);
        }
        // Told after each batch; looked at now and then all the same.
        drop(tokio::time::timeout(DRAIN_LOOK, self.drained.notified()).await);
        Ok(())
    }

    /// Gives back at once what would go back when this node's leases lapse.
    async fn leave(&self) -> Result<(), EngineError> {
        if self.layout.is_own() {
            let mine = self.own_slots();
            for grant in
                self.store.open_grants().await?.iter().filter(|grant| mine.contains(&grant.slot))
            {
                self.store.close_grant(grant.id, CloseCause::LeaseLapsed).await?;
            }
        }
        self.store.renew_node_lease(self.node, 0).await?;
        if self.control().leads() {
            self.store.take_leader_lease(self.node.0, 0).await?;
        }
        Ok(())
    }
}

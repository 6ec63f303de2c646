//! Forgets what is of use to nobody any more, a little at a time: events that are about no order,
//! deliveries and tickets that were given up, messages of providers that had their effect. The
//! leader does it; an order's history is kept, and so is what became of a ticket.
use std::time::Duration;

use doorbuster_store::RetentionCutoffs;

use super::Outbox;

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(60);
/// Rows of each kind that one transaction forgets, so that purchases are not held up behind a long
/// one.
const DELETE_BATCH_MAX: usize = 500;
/// Shortest rest between two of these.
const PAGE_PAUSE: Duration = Duration::from_millis(200);
const DAY_MS: i64 = 86_400_000;
/// How long events are kept that are about no order; whoever was told nothing for longer has missed
/// them.
const EVENTS_MS: i64 = 30 * DAY_MS;
/// How long dead and discarded deliveries are kept, and dead letters of tickets.
const DEAD_MS: i64 = 90 * DAY_MS;
/// How long messages of providers are known by their ids.
const INBOX_MS: i64 = 90 * DAY_MS;

impl Outbox {
    /// Forgets until the program stops.
    pub(super) async fn delete_expired(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            // A clock that was set may call everything old.
            while self.engine.control().leads() && !self.engine.clock_stepped() {
                let now = self.engine.store().monotonic_now();
                let what = RetentionCutoffs {
                    events_before: now.plus(-EVENTS_MS),
                    dead_before: now.plus(-DEAD_MS),
                    inbox_before: now.plus(-INBOX_MS),
                };
                match self.engine.store().delete_expired(what, DELETE_BATCH_MAX).await {
                    Ok(0) => break,
                    Ok(rows) => self.meter.delete_expired(rows),
                    Err(error) => {
                        tracing::warn!(%error, "what is old could not be forgotten yet");
                        break;
                    }
                }
                tokio::time::sleep(PAGE_PAUSE).await;
            }
        }
    }
}

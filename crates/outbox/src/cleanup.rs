//! Deletes expired rows in small batches; only the leader does this. The cleanup never deletes the
//! histories of orders or the results of tickets.

use doorbuster_engine::outage_log;
use doorbuster_engine::scheduler::{NextRun, Work};
use doorbuster_store::RetentionCutoffs;

use super::Outbox;

/// One transaction deletes at most this many rows of each kind. The number is small, because
/// purchases wait while the transaction runs.
const DELETE_BATCH_MAX: usize = 500;
const DAY_MS: i64 = 86_400_000;
/// How long events that do not belong to an order are kept. An event is kept longer if an enabled
/// endpoint has not received it yet. An endpoint that is disabled for a longer time never gets the
/// events that were deleted meanwhile.
const EVENTS_MS: i64 = 30 * DAY_MS;
/// How long dead letters of events and tickets are kept, even if no operator resolved them.
const DEAD_MS: i64 = 90 * DAY_MS;
/// How long the ids of payment providers' webhook messages are kept.
const INBOX_MS: i64 = 90 * DAY_MS;
/// How long operators' actions are kept.
const ACTIONS_MS: i64 = 366 * DAY_MS;
/// How long a sale's statistics for each second are kept.
const SECONDS_MS: i64 = DAY_MS;
/// How long a sale's statistics for each minute are kept after the sale closed.
const MINUTES_MS: i64 = 30 * DAY_MS;
/// The maximum number of browser subscriptions that the store keeps. If there are more, the cleanup
/// deletes the subscriptions that end first.
const SUBSCRIPTIONS_MAX: u32 = 200_000;

impl Outbox {
    pub(super) async fn delete_expired(&self) {
        let (mut turns, mut next) = (self.node.turns(Work::Cleanup), NextRun::Now);
        loop {
            turns.wait(next).await;
            next = self.delete_batch().await;
        }
    }

    async fn delete_batch(&self) -> NextRun {
        // After a jump of the clock, rows may seem expired although they are not. So no rows are
        // deleted then.
        if self.node.clock_stepped() {
            return NextRun::Idle;
        }
        let now = self.node.store().monotonic_now();
        let what = RetentionCutoffs {
            events_before: now.plus(-EVENTS_MS),
            dead_before: now.plus(-DEAD_MS),
            inbox_before: now.plus(-INBOX_MS),
            actions_before: now.plus(-ACTIONS_MS),
            seconds_before: now.plus(-SECONDS_MS),
            minutes_before: now.plus(-MINUTES_MS),
            subscriptions_before: now,
            subscriptions_max: SUBSCRIPTIONS_MAX,
        };
        match self.node.store().delete_expired(what, DELETE_BATCH_MAX).await {
            Ok(0) => NextRun::Idle,
            Ok(rows) => {
                self.meter.deleted.add(rows as u64);
                NextRun::Now
            }
            Err(error) => {
                outage_log::warn!(
                    self.node.outage_log(),
                    error,
                    event = "webhook.cleanup_failed",
                    "failed to delete expired rows; will retry"
                );
                NextRun::Idle
            }
        }
    }
}

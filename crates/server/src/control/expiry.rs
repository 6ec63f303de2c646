//! Expires reserved orders whose payment window has passed. Sleeps until the next one is due; rests while another node leads, and while the machine's clock
//! cannot be trusted where it is the store's.
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::failpoint::{self, Point};

/// Orders that one transaction expires at most, and at least if so many are due.
const BATCH_MAX: usize = 500;
const BATCH_MIN: usize = 50;
/// How long one transaction should take: purchases wait behind it. When it takes twice as long, the next one has half as many orders.
const BATCH_TIME: Duration = Duration::from_millis(8);
/// Longest sleep: an order that was made meanwhile is due a second after it at the earliest.
const LOOK_AT_LEAST: Duration = Duration::from_millis(500);
/// Shortest sleep when nothing is due.
const LOOK_AT_MOST: Duration = Duration::from_millis(10);

/// Expires orders until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut pace = Pace { batch: BATCH_MAX, more: false };
    loop {
        let rests = (engine.layout().is_alone() && engine.clock().has_alarm()) || !engine.control().leads();
        let wait = if rests { LOOK_AT_LEAST } else { expire(&engine, &mut pace).await };
        tokio::time::sleep(wait).await;
    }
}

/// How expiry goes on.
struct Pace {
    /// How many orders the next transaction expires.
    batch: usize,
    /// The last one had as many as it was asked for: there may be more.
    more: bool,
}

async fn expire(engine: &Engine, pace: &mut Pace) -> Duration {
    if std::mem::take(&mut pace.more) {
        return expire_some(engine, pace).await;
    }
    match engine.store().next_due().await {
        Ok(Some(due)) if due <= engine.store().careful_now() => expire_some(engine, pace).await,
        Ok(Some(due)) => {
            let until = Duration::from_millis((due.0 - engine.store().careful_now().0).max(0).unsigned_abs());
            until.clamp(LOOK_AT_MOST, LOOK_AT_LEAST)
        }
        Ok(None) => LOOK_AT_LEAST,
        Err(error) => {
            tracing::warn!(%error, "the next due order is not known");
            LOOK_AT_LEAST
        }
    }
}

/// Expires a batch; the wait before the next one.
async fn expire_some(engine: &Engine, pace: &mut Pace) -> Duration {
    failpoint::pass(Point::ExpiryDue);
    let asked = Instant::now();
    let expired = match engine.store().expire_due(pace.batch).await {
        Ok(expired) => expired,
        Err(error) => {
            tracing::warn!(%error, "orders could not be expired yet");
            return LOOK_AT_LEAST;
        }
    };
    if expired.is_empty() {
        return LOOK_AT_MOST;
    }
    failpoint::pass(Point::ExpiryDone);
    engine.meter().expire(expired.len());
    let took = asked.elapsed();
    pace.more = expired.len() >= pace.batch;
    pace.batch = next(pace.batch, took);
    // One transaction after the other: a writer takes turns by itself, and a database gives one session no more than its share. Pauses between them made
    // the last order wait longer and nobody else less.
    Duration::ZERO
}

/// How many orders the next transaction expires, after one with so many took so long.
fn next(batch: usize, took: Duration) -> usize {
    let wanted = match () {
        () if took > BATCH_TIME * 2 => batch / 2,
        () if took < BATCH_TIME => batch + batch / 4,
        () => batch,
    };
    wanted.clamp(BATCH_MIN, BATCH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_takes_about_as_long_as_a_purchase_may_wait() {
        // What an order costs, in microseconds, and how many are expired together.
        for (order_us, expected) in [(1, BATCH_MAX), (15, BATCH_MAX), (80, 130), (10_000, BATCH_MIN)] {
            let mut batch = BATCH_MAX;
            for _ in 0..50 {
                batch = next(batch, Duration::from_micros(order_us * batch as u64));
            }
            assert!(batch.abs_diff(expected) * 2 <= expected, "{order_us} µs: {batch}");
        }
    }
}

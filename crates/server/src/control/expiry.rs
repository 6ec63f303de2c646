//! Expires reserved orders whose payment window has passed. Sleeps until the next one is due; rests
//! while another node leads, and while the machine's clock cannot be trusted where it is the
//! store's.
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::engine::Engine;
use crate::failpoint::{self, Point};

/// Orders that one transaction expires at most, and at least if so many are due.
const BATCH_MAX: usize = 500;
const BATCH_MIN: usize = 50;
/// How long one transaction should take where the store is a database: when it takes twice as long,
/// the next one has half as many orders.
const BATCH_TIME: Duration = Duration::from_millis(8);
/// The same where one writer does everything in turn: a purchase waits for the transaction that is
/// under way, and for the next one.
const BATCH_TIME_ALONE: Duration = Duration::from_millis(3);
/// Batches under way where the store is a database: while one is told of, the next one is at its
/// rows. They commit one after the other.
const AHEAD: usize = 2;
/// Longest sleep: an order that was made meanwhile is due a second after it at the earliest.
const LOOK_AT_LEAST: Duration = Duration::from_millis(500);
/// Shortest sleep when nothing is due.
const LOOK_AT_MOST: Duration = Duration::from_millis(10);

/// Expires orders until the program stops.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut batch = BATCH_MAX;
    loop {
        let wait = if rests(&engine) { LOOK_AT_LEAST } else { expire(&engine, &mut batch).await };
        tokio::time::sleep(wait).await;
    }
}

/// Whether this node lets orders be.
fn rests(engine: &Engine) -> bool {
    (engine.layout().is_alone() && engine.clock().has_alarm()) || !engine.control().leads()
}

async fn expire(engine: &Engine, batch: &mut usize) -> Duration {
    match engine.store().next_due().await {
        Ok(Some(due)) if due <= engine.store().monotonic_now() => expire_all(engine, batch).await,
        Ok(Some(due)) => {
            let until = Duration::from_millis(
                (due.0 - engine.store().monotonic_now().0).max(0).unsigned_abs(),
            );
            until.clamp(LOOK_AT_MOST, LOOK_AT_LEAST)
        }
        Ok(None) => LOOK_AT_LEAST,
        Err(error) => {
            tracing::warn!(%error, "the next due order is not known");
            LOOK_AT_LEAST
        }
    }
}

/// Expires batch after batch until one has fewer orders than it was asked for; the wait before the
/// next look.
///
/// There are no pauses: a writer takes turns by itself, and a database gives one session no more
/// than its share. Pauses made the last order wait longer and nobody else less.
async fn expire_all(engine: &Engine, batch: &mut usize) -> Duration {
    // A writer's groups have what waits for it: a batch that waited there would be in one with the
    // batch before, twice as long.
    let (ahead, time) =
        if engine.layout().is_alone() { (1, BATCH_TIME_ALONE) } else { (AHEAD, BATCH_TIME) };
    let (mut under_way, mut more, mut wait) = (FuturesUnordered::new(), true, Duration::ZERO);
    let mut began = Instant::now();
    loop {
        while more && under_way.len() < ahead {
            failpoint::pass(Point::ExpiryDue);
            let asked = *batch;
            under_way.push(async move { (asked, engine.store().expire_due(asked).await) });
        }
        let Some((asked, expired)) = under_way.next().await else { return wait };
        match expired {
            Ok(expired) if expired.is_empty() => (more, wait) = (false, wait.max(LOOK_AT_MOST)),
            Ok(expired) => {
                failpoint::pass(Point::ExpiryDone);
                engine.meter().expire(expired.len());
                more &= expired.len() >= asked && !rests(engine);
                *batch = next(*batch, began.elapsed(), time);
            }
            Err(error) => {
                tracing::warn!(%error, "orders could not be expired yet");
                (more, wait) = (false, LOOK_AT_LEAST);
            }
        }
        // A batch takes from the end of the one before: until then it waits for its turn.
        began = Instant::now();
    }
}

/// How many orders the next transaction expires, after one with so many took so long in place of
/// the time that one should take.
fn next(batch: usize, took: Duration, time: Duration) -> usize {
    let wanted = match () {
        () if took > time * 2 => batch / 2,
        () if took < time => batch + batch / 4,
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
        for (order_us, expected) in
            [(1, BATCH_MAX), (15, BATCH_MAX), (80, 130), (10_000, BATCH_MIN)]
        {
            let mut batch = BATCH_MAX;
            for _ in 0..50 {
                batch = next(batch, Duration::from_micros(order_us * batch as u64), BATCH_TIME);
            }
            assert!(batch.abs_diff(expected) * 2 <= expected, "{order_us} µs: {batch}");
        }
    }
}

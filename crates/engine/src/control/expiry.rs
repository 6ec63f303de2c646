//! Expires orders that were not paid within their payment window. On a single node, the machine's
//! clock decides whether a window has ended. So this job pauses there while the clock is not
//! trusted.
use std::sync::Arc;
use std::time::{Duration, Instant};

use doorbuster_base::failpoint::{self, Failpoint};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::node::Node;
use crate::outage_log;
use crate::scheduler::{NextRun, Work};

/// A batch requests at most this many orders from the store, and at least [`BATCH_MIN`].
const BATCH_MAX: usize = 500;
const BATCH_MIN: usize = 50;
/// The intended duration of a batch if the store is a database server. The batch size is adapted
/// until batches take about this time.
const BATCH_TIME: Duration = Duration::from_millis(8);
/// The intended duration of a batch if one writer runs all transactions in turn. The duration is
/// short, because purchases wait while the writer runs the batch's transaction.
const BATCH_TIME_ALONE: Duration = Duration::from_millis(1);
/// How many batches run at the same time if the store is a database server. While one batch
/// publishes its events, the next batch reads its rows.
const BATCHES_AHEAD: usize = 2;

/// A run ends after about this time, even if more orders must expire. So a run that takes much
/// longer is stuck. The metric for the duration of a run makes this visible to an alarm.
const RUN_MAX: Duration = Duration::from_secs(5);

pub(super) async fn run(node: Arc<Node>) {
    let mut batch = BATCH_MAX;
    let (mut turns, mut next) = (node.turns(Work::Expiry), NextRun::Now);
    loop {
        turns.wait(next).await;
        next = if is_resting(&node) { NextRun::Idle } else { expire(&node, &mut batch).await };
    }
}

fn is_resting(node: &Node) -> bool {
    (node.layout().is_single_node() && node.clock().has_alarm()) || !node.control().leads()
}

async fn expire(node: &Node, batch: &mut usize) -> NextRun {
    match node.store().next_due().await {
        Ok(Some(due)) if due <= node.store().monotonic_now() => expire_all(node, batch).await,
        Ok(Some(due)) => NextRun::At(due),
        Ok(None) => NextRun::Idle,
        Err(error) => {
            outage_log::warn!(
                node.outage_log(),
                error,
                event = "order.expiry_read_failed",
                "failed to read the next order to expire; will retry"
            );
            NextRun::Idle
        }
    }
}

/// Expires one batch after another, until a batch has fewer orders than its limit or [`RUN_MAX`]
/// has passed.
///
/// The batches need no pause between them, because they block no other transaction for long. A
/// single writer runs the waiting transactions between two batches. A database server divides its
/// time among all sessions.
async fn expire_all(node: &Node, batch: &mut usize) -> NextRun {
    // A single writer commits all waiting transactions as one group. Two concurrent batches would
    // be in the same group, and the group would take twice as long.
    let (ahead, time) = if node.layout().is_single_node() {
        (1, BATCH_TIME_ALONE)
    } else {
        (BATCHES_AHEAD, BATCH_TIME)
    };
    let (mut under_way, mut more, mut next) = (FuturesUnordered::new(), true, NextRun::Now);
    let started = Instant::now();
    let mut began = started;
    loop {
        while more && under_way.len() < ahead {
            failpoint::reach(Failpoint::ExpiryDue);
            let limit = *batch;
            under_way.push(async move { (limit, node.store().expire_due(limit).await) });
        }
        let Some((limit, expired)) = under_way.next().await else { return next };
        match expired {
            Ok(expired) if expired.is_empty() => more = false,
            Ok(expired) => {
                failpoint::reach(Failpoint::ExpiryDone);
                node.meter().expired.add(expired.len() as u64);
                more &= expired.len() >= limit && !is_resting(node) && started.elapsed() < RUN_MAX;
                *batch = next_batch(*batch, began.elapsed(), time);
            }
            Err(error) => {
                outage_log::warn!(
                    node.outage_log(),
                    error,
                    event = "order.expiry_failed",
                    "failed to expire orders; will retry"
                );
                (more, next) = (false, NextRun::Idle);
            }
        }
        // The duration of the next batch is measured from now, because that batch may have waited
        // until this batch ended.
        began = Instant::now();
    }
}

/// Returns the largest number of orders for the next batch. The last batch was for at most `batch`
/// orders, and lasted `took`. `time` is the intended duration of a batch.
fn next_batch(batch: usize, took: Duration, time: Duration) -> usize {
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
    fn the_batch_size_follows_the_time_that_a_batch_takes() {
        // Each case: the time for one order in microseconds, and the batch size that results.
        for (order_us, expected) in
            [(1, BATCH_MAX), (15, BATCH_MAX), (80, 130), (10_000, BATCH_MIN)]
        {
            let mut batch = BATCH_MAX;
            for _ in 0..50 {
                batch =
                    next_batch(batch, Duration::from_micros(order_us * batch as u64), BATCH_TIME);
            }
            assert!(batch.abs_diff(expected) * 2 <= expected, "{order_us} µs: {batch}");
        }
    }
}

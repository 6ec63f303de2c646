//! The faults of a run. The moments at which they happen depend on the seed.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use crate::driver::Progress;
use crate::limits::{ARRIVALS_WITH_FAULT, SNAPSHOT_AGE};
use crate::servers::RedisReturn;
use crate::system::System;

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// There is no fault.
    None,
    /// Each process that takes units is killed once, at a random time, and started again. If only
    /// one process takes units, this process is killed twice.
    Crash,
    /// On one database connection in ten, all data is delayed by 200 ms in each direction.
    Slow,
    /// Redis is killed. Then it starts again, either empty or from a snapshot that is one second
    /// old.
    Restart,
}

impl Fault {
    /// All faults. `None` is first, so the runs without a fault come first.
    pub const ALL: [Self; 4] = [Self::None, Self::Crash, Self::Slow, Self::Restart];

    /// Returns the name of the fault in the command line and in the report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Crash => "crash",
            Self::Slow => "slow",
            Self::Restart => "restart",
        }
    }
}

/// Injects the fault while the buyers buy. Returns `false` if the fault cannot have had an effect,
/// for example because no process uses Redis. Call this function on the thread that started the
/// servers: the operating system ends a server when the thread that started it ends.
pub async fn inject(
    fault: Fault,
    seed: u64,
    goal: u64,
    progress: &Progress,
    system: &mut System<'_>,
) -> Result<bool> {
    let mut dice = SmallRng::seed_from_u64(seed ^ 0xfa17);
    let mut part = |from: f64, to: f64| (goal as f64 * dice.random_range(from..to)) as u64;
    match fault {
        Fault::None | Fault::Slow => Ok(true),
        Fault::Crash => {
            let (first, second) = (part(0.1, 0.5), part(0.5, 0.9));
            let leader_first = dice.random::<bool>();
            until_sold(first, progress).await;
            system.crash(usize::from(!leader_first)).await?;
            until_sold(second, progress).await;
            system.crash(usize::from(leader_first)).await?;
            Ok(true)
        }
        Fault::Restart => {
            let at = part(0.2, 0.5);
            let how =
                if dice.random::<bool>() { RedisReturn::Empty } else { RedisReturn::Snapshot };
            until_sold(at, progress).await;
            system.save_redis()?;
            tokio::time::sleep(SNAPSHOT_AGE).await;
            system.restart_redis(how)
        }
    }
}

/// Waits until this many buyers got the answer "sold", but not longer than half of
/// [`ARRIVALS_WITH_FAULT`].
async fn until_sold(orders: u64, progress: &Progress) {
    let until = Instant::now() + ARRIVALS_WITH_FAULT / 2;
    while progress.sold.load(Ordering::Relaxed) < orders
        && Instant::now() < until
        && !progress.stop.load(Ordering::Relaxed)
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

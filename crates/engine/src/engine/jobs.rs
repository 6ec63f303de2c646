//! Starts the jobs that run as long as the program.
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use doorbuster_core::Millis;
use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Engine;
use crate::outage_log::OutageLog;
use crate::scheduler::{Turns, Work};

impl Engine {
    /// Returns the outages that this node sees.
    pub fn outage_log(&self) -> &OutageLog {
        &self.outage_log
    }

    /// Returns the turns of a kind of delayed work. Call this once for each kind.
    pub fn turns(&self, work: Work) -> Turns<'_, impl Fn() -> Millis> {
        self.control().scheduler().turns(work, || self.store().monotonic_now())
    }
}

/// Starts jobs that must not end before the program ends.
pub struct Jobs {
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
}

impl Jobs {
    /// Starts a job. Without its jobs, the server might not settle tickets, refill slots or expire
    /// orders. So the program must end if a job ends too early or panics.
    pub fn start(&self, name: &'static str, job: impl Future<Output = ()> + Send + 'static) {
        let (stop, on_fatal) = (self.stop.clone(), self.on_fatal.clone());
        self.tasks.spawn(async move {
            let ended = tokio::select! {
                () = stop.cancelled() => false,
                _ = AssertUnwindSafe(job).catch_unwind() => true,
            };
            if ended && !stop.is_cancelled() {
                on_fatal(&format!("the job `{name}` ended"));
            }
        });
    }
}

//! Decides when delayed work runs, such as the expiry of orders. The store's rows say which work
//! must be done, so nothing is lost if a restarted scheduler has forgotten everything.
//!
//! Each kind of [`Work`] is a loop. It waits for its turn ([`Turns`]), runs, and says when it must
//! run again ([`NextRun`]). Only the leader runs delayed work. The different kinds do not wait for
//! each other.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use doorbuster_core::Millis;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

doorbuster_core::labels! {
    /// A kind of delayed work.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Work {
        /// Open and close sales.
        Phases = "phases",
        /// Expire orders that were not paid in time.
        Expiry = "expiry",
        /// Ask the payment provider about the result of ended checkouts.
        Checkouts = "checkouts",
        /// Request refunds from the provider, and ask the provider about their progress.
        Refunds = "refunds",
        /// Give returned units to waitlists.
        Waitlists = "waitlists",
        /// Add partitions to items with an automatic spread.
        Partitions = "partitions",
        /// Delete the data of unused slots.
        Retirement = "retirement",
        /// Check that all units are accounted for.
        Audit = "audit",
        /// Delete rows that are older than their retention.
        Cleanup = "cleanup",
        /// Delete old documents of the sandbox.
        SandboxCleanup = "sandbox_cleanup",
    }
}

#[derive(Clone, Copy, Debug)]
struct Timing {
    /// The pause before the first run after this node has become the leader.
    first: Duration,
    /// The shortest pause between two runs.
    spacing: Duration,
    /// The longest pause between two runs. Only the work itself can ask for a longer pause
    /// ([`NextRun::After`]). The scheduler may miss that work has become due earlier, because of a
    /// lost signal, an adjusted clock, or a change by another node. The work is then late by at
    /// most this time.
    idle: Duration,
}

/// When a kind of work is due again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRun {
    /// After the shortest pause.
    Now,
    /// At this time of the store's clock, because the next work is due at this time.
    At(Millis),
    /// After this pause.
    After(Duration),
    /// After the longest pause, because no work is known, or because the run failed.
    Idle,
}

impl Work {
    fn timing(self) -> Timing {
        let timing = |first, spacing, idle| Timing {
            first: Duration::from_millis(first),
            spacing: Duration::from_millis(spacing),
            idle: Duration::from_millis(idle),
        };
        match self {
            Self::Phases => timing(0, 1, 500),
            // An order's payment window is at least a second. So an order expires in time even if
            // it is created during the longest pause.
            Self::Expiry => timing(0, 10, 500),
            Self::Checkouts => timing(0, 0, 250),
            Self::Refunds => timing(0, 20, 1_000),
            Self::Waitlists => timing(0, 1, 1_000),
            Self::Partitions => timing(1_000, 0, 1_000),
            Self::Retirement => timing(2_000, 0, 2_000),
            Self::Audit => timing(4_000, 0, 4_000),
            Self::Cleanup | Self::SandboxCleanup => timing(60_000, 200, 60_000),
        }
    }
}

impl Timing {
    fn pause(self, next: NextRun, now: impl FnOnce() -> Millis) -> Duration {
        match next {
            NextRun::Now => self.spacing,
            NextRun::At(due) => {
                let left = (due.0 - now().0).max(0).unsigned_abs();
                Duration::from_millis(left).clamp(self.spacing, self.idle)
            }
            NextRun::After(pause) => pause.max(self.spacing),
            NextRun::Idle => self.idle,
        }
    }
}

/// Whether a run is the first since this node became the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The first run. What the work remembers from earlier runs may be out of date, because another
    /// node may have been the leader in between.
    First,
    /// A later run.
    Later,
}

/// The value in [`Scheduler::due`] of work that this node does not run.
const NOT_PLANNED: u64 = u64::MAX;

/// Says when each kind of work runs.
#[derive(Debug)]
pub struct Scheduler {
    began: Instant,
    woken: [Notify; Work::ALL.len()],
    /// For each kind of work, in milliseconds since `began`: during a run, the time at which this
    /// run was due; between two runs, the time at which the next run is due.
    due: [AtomicU64; Work::ALL.len()],
    leads: watch::Sender<bool>,
}

impl Default for Scheduler {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            woken: Default::default(),
            due: std::array::from_fn(|_| AtomicU64::new(NOT_PLANNED)),
            leads: watch::Sender::new(false),
        }
    }
}

impl Scheduler {
    /// Makes a kind of work due at once. If the work is running now, it runs once more afterwards.
    pub fn wake(&self, work: Work) {
        self.woken[work as usize].notify_one();
    }

    /// Returns whether this node is now the leader.
    pub fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// Records whether this node is the leader. Returns whether the recorded value changed.
    pub(crate) fn set_leads(&self, leads: bool) -> bool {
        self.leads.send_if_modified(|value| std::mem::replace(value, leads) != leads)
    }

    /// Returns by how many seconds this kind of work is late. During a run, this is the time since
    /// the run was due. Between two runs, it is the time since the next run was due, or 0 if the
    /// next run is not due yet. Returns `None` if this node does not run this work.
    pub fn delay_secs(&self, work: Work) -> Option<f64> {
        match self.due[work as usize].load(Ordering::Relaxed) {
            _ if !self.leads() => None,
            NOT_PLANNED => None,
            due => Some(self.now_ms().saturating_sub(due) as f64 / 1_000.0),
        }
    }

    /// Returns the [`Turns`], with which the caller waits for each run of this kind of work. Each
    /// kind may have only one. `now` returns the store's time.
    pub fn turns<C: Fn() -> Millis>(&self, work: Work, now: C) -> Turns<'_, C> {
        Turns { scheduler: self, work, now, leads: self.leads.subscribe(), is_first: true }
    }

    /// Waits for this pause. [`Scheduler::wake`] ends the wait early, but not before the shortest
    /// pause of this kind of work.
    async fn pause(&self, work: Work, pause: Duration) {
        let (spacing, due) = (work.timing().spacing, &self.due[work as usize]);
        due.store(self.now_ms() + millis(pause), Ordering::Relaxed);
        // If the shortest pause is 0, there is no sleep, because even a sleep of 0 lasts until the
        // timer's next tick.
        let shortest = spacing.min(pause);
        if !shortest.is_zero() {
            tokio::time::sleep(shortest).await;
        }
        let rest = pause.saturating_sub(spacing);
        if rest.is_zero() {
            return;
        }
        if tokio::time::timeout(rest, self.woken[work as usize].notified()).await.is_ok() {
            due.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    fn now_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(NOT_PLANNED / 2)
}

/// Says when the runs of one kind of work begin. The caller waits for each run with [`Self::wait`].
pub struct Turns<'a, C> {
    scheduler: &'a Scheduler,
    work: Work,
    now: C,
    leads: watch::Receiver<bool>,
    is_first: bool,
}

impl<C: Fn() -> Millis> Turns<'_, C> {
    /// Waits until this node is the leader and the next run is due. `next` is the result of the
    /// previous run, and says when the next run is due. If this node lost leadership since the
    /// previous run, `next` has no effect, and the pause is `Timing::first`.
    pub async fn wait(&mut self, next: NextRun) -> Turn {
        let (scheduler, timing) = (self.scheduler, self.work.timing());
        loop {
            if scheduler.leads() {
                let pause =
                    if self.is_first { timing.first } else { timing.pause(next, &self.now) };
                scheduler.pause(self.work, pause).await;
            }
            if scheduler.leads() {
                let is_first = std::mem::replace(&mut self.is_first, false);
                return if is_first { Turn::First } else { Turn::Later };
            }
            self.is_first = true;
            scheduler.due[self.work as usize].store(NOT_PLANNED, Ordering::Relaxed);
            // The wait cannot fail, because the sender lives as long as the scheduler.
            drop(self.leads.wait_for(|leads| *leads).await);
        }
    }
}

#[cfg(test)]
mod tests;

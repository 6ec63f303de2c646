//! The end of the program: whether this node is stopping, and which tasks must end before the
//! program ends.
//!
//! This part of a node owns the signal that ends the jobs, and the tracker of all tasks. It calls
//! no other part of the node. The stop of the node (`stock/stop`) ends the jobs and waits for the
//! tasks. The handlers of requests ask this part whether the node is stopping. Other parts start
//! their tasks with this part.
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{FatalError, OnFatal};

/// Whether this node is stopping, and the tasks that must end before the program ends.
#[derive(Debug, Default)]
pub struct Lifecycle {
    is_stopping: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// Returns whether this node is stopping. It then accepts no new requests.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Returns the tracker of tasks that must finish before the node stops.
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Calls `then` after the pause. If the program ends during the pause, does not call it.
    pub(crate) fn run_after(&self, pause: Duration, then: impl FnOnce() + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => then(),
            }
        });
    }

    /// Returns a [`Jobs`], with which the caller starts jobs. If a job ends before the stop,
    /// `on_fatal` is called.
    pub(crate) fn jobs(&self, on_fatal: OnFatal) -> Jobs {
        Jobs { tasks: self.tasks.clone(), stop: self.stop.clone(), on_fatal }
    }

    pub(crate) fn refuse_requests(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }

    pub(crate) fn end_jobs(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn wait_for_tasks(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Starts jobs. A job must not end before the program ends.
pub struct Jobs {
    tasks: TaskTracker,
    stop: CancellationToken,
    on_fatal: OnFatal,
}

impl Jobs {
    /// Starts a job. If the job ends too early or panics, calls `on_fatal`, which must end the
    /// program. Without one of its jobs, a node might no longer settle tickets, refill slots or
    /// expire orders.
    pub fn start(&self, name: &'static str, job: impl Future<Output = ()> + Send + 'static) {
        let (stop, on_fatal) = (self.stop.clone(), self.on_fatal.clone());
        self.tasks.spawn(async move {
            let ended = tokio::select! {
                () = stop.cancelled() => false,
                _ = AssertUnwindSafe(job).catch_unwind() => true,
            };
            if ended && !stop.is_cancelled() {
                on_fatal(&FatalError::JobEnded(name));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_is_reported_by_its_name() {
        let (report, mut reports) = tokio::sync::mpsc::channel(1);
        let lifecycle = Lifecycle::default();
        let jobs = lifecycle.jobs(Arc::new(move |error: &FatalError| {
            report.try_send(error.clone()).expect("the test listens");
        }));
        jobs.start("audit", async { panic!("this panic is part of the test") });
        let error = reports.recv().await.expect("a report");
        assert!(matches!(error, FatalError::JobEnded("audit")), "{error}");
    }
}

//! The event loop of a server: its threads, and how often a thread looks for tasks of other
//! threads.

use std::io;

use doorbuster_store::limits::PG_JOB_THREADS_MAX;
use tokio::runtime::Runtime;

/// At most this many threads do blocking work, such as transactions, look-ups of names, and reads
/// of key files. Even if the transactions and the look-ups reach their own bounds, some of these
/// threads stay free. Other threads serve HTTP.
const BLOCKING_THREADS_MAX: usize = 32;
const _: () = assert!(
    PG_JOB_THREADS_MAX < BLOCKING_THREADS_MAX,
    "transactions must leave threads for renewals of leases and for other blocking work"
);

/// Creates the server's event loop, with this number of threads.
///
/// # Errors
/// If the threads cannot be created.
pub fn runtime(workers: usize) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("doorbuster")
        // Before each task, a worker checks for tasks that other threads woke, such as the settler.
        // Otherwise a flood of requests would delay the settler by tens of milliseconds.
        .global_queue_interval(1)
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Poll;

    use super::*;

    /// The test keeps this many tasks ready, which is more than a worker's own queue can hold.
    const BUSY: usize = 512;
    const ASKED: usize = 50;

    #[test]
    fn a_flood_of_tasks_does_not_delay_a_task_that_another_thread_wakes() {
        let polled: &'static AtomicU64 = Box::leak(Box::default());
        let runtime = runtime(1).expect("a thread");
        for _ in 0..BUSY {
            drop(runtime.spawn(poll_fn(|context| {
                polled.fetch_add(1, Ordering::Relaxed);
                context.waker().wake_by_ref();
                Poll::<()>::Pending
            })));
        }
        let (ask, mut requests) = tokio::sync::mpsc::channel(1);
        let (answer, answers) = std::sync::mpsc::sync_channel(1);
        drop(runtime.spawn(async move {
            while let Some(at) = requests.recv().await {
                let _ = answer.send(polled.load(Ordering::Relaxed) - at);
            }
        }));
        let mut waits: Vec<u64> = std::iter::repeat_with(|| {
            ask.blocking_send(polled.load(Ordering::Relaxed)).expect("the task listens");
            answers.recv().expect("the task answers")
        })
        .take(ASKED)
        .collect();
        waits.sort_unstable();
        // Each value in `waits` is the number of polls of other tasks during one wait. With Tokio's
        // default interval, there are 32,000 polls in a wait.
        assert!(waits[ASKED / 2] <= 4 * BUSY as u64, "{waits:?}");
        runtime.shutdown_background();
    }
}

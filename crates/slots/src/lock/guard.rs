//! A lock that this process holds and renews.
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Locks;

/// A lock that this process holds. The lock is released when the guard is dropped.
///
/// The guard does not prove that the lock is still held at the time of a write. So every write
/// carries [`LockGuard::fence`].
#[derive(Debug)]
pub struct LockGuard {
    fence: u64,
    /// The lock is certainly held until this time. Afterwards it counts as lost.
    pub(super) until: watch::Receiver<Instant>,
    /// When this value is dropped, the renewals stop, and the lock is released.
    done: DropGuard,
    renewer: JoinHandle<()>,
}

impl LockGuard {
    pub(super) fn new(locks: Locks, name: &str, owner: String, fence: u64, until: Instant) -> Self {
        let (say, until) = watch::channel(until);
        let done = CancellationToken::new();
        let renewer =
            tokio::spawn(renew_until_done(locks, name.to_owned(), owner, fence, say, done.clone()));
        Self { fence, until, done: done.drop_guard(), renewer }
    }

    /// Returns the fencing number, which is greater than the number of every earlier holder.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Returns whether the lock is still held, by this process's clock. Call this function before
    /// each step of the work under the lock.
    #[must_use]
    pub fn is_held(&self) -> bool {
        Instant::now() < *self.until.borrow()
    }

    /// Releases the lock on all servers that can be reached.
    pub async fn release(self) {
        drop(self.done);
        // If the release fails, the lock expires by itself.
        drop(self.renewer.await);
    }
}

/// Renews the lock until the guard is dropped or the lock is lost. Then releases the lock on the
/// servers where this owner still has it.
async fn renew_until_done(
    locks: Locks,
    name: String,
    owner: String,
    fence: u64,
    until: watch::Sender<Instant>,
    done: CancellationToken,
) {
    loop {
        tokio::select! {
            biased;
            () = done.cancelled() => break,
            () = tokio::time::sleep(locks.renew_interval()) => {}
        }
        let started = Instant::now();
        if started >= *until.borrow() {
            // The process slept past its lease. Even if a renewal succeeds now, another owner may
            // have had the lock meanwhile.
            break;
        }
        match locks.renew(&name, &owner, fence).await {
            Ok(true) => drop(until.send_replace(started + locks.valid_for())),
            Ok(false) => {
                until.send_replace(started);
                break;
            }
            // The result of the renewal is unknown. The loop tries again while the lease lasts.
            Err(_) => {}
        }
    }
    locks.release(&name, &owner).await;
}

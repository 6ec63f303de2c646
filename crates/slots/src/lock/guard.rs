//! A lock that this process holds and renews.
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Locks;

/// A lock that this process holds. Dropping the guard releases the lock.
///
/// At the time of a write, the lock may already have expired. So every write must carry
/// [`LockGuard::fence`], and the resource must refuse a number that is too low.
#[derive(Debug)]
pub struct LockGuard {
    fence: u64,
    /// Until this time, no other process can have the lock. After this time, the lock counts as
    /// lost.
    pub(super) until: watch::Receiver<Instant>,
    /// Dropping this value stops the renewals and releases the lock.
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

    /// Returns whether this process still holds the lock, according to the process's own clock.
    /// Call this before each step of the work under the lock.
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

/// Renews the lock until the guard is dropped or the lock is lost. After that, releases the lock on
/// the servers where it still belongs to this owner.
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
            // The process slept longer than its lease. A renewal might succeed now, but another
            // owner may have had the lock in between.
            break;
        }
        match locks.renew(&name, &owner, fence).await {
            Ok(true) => drop(until.send_replace(started + locks.valid_for())),
            Ok(false) => {
                until.send_replace(started);
                break;
            }
            // It is unknown whether the lock was renewed. The loop tries again as long as the lease
            // lasts.
            Err(_) => {}
        }
    }
    locks.release(&name, &owner).await;
}

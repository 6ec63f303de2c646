//! A lock that this process holds. A task renews the lock until the last handle is dropped, and
//! then releases the lock.
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Locks;

/// A handle of a lock that this process holds. The lock is released when its last handle is
/// dropped.
///
/// A handle does not prove that the lock is still held at the time of a write. So every write
/// carries [`LockGuard::fence`].
#[derive(Debug)]
pub struct LockGuard {
    shared: Arc<SharedGuard>,
}

#[derive(Debug)]
struct SharedGuard {
    fence: u64,
    /// The time until which the lock is certainly held. After that time the lock is lost.
    until: watch::Receiver<Instant>,
    /// Stops the renewals, after which the lock is released.
    done: CancellationToken,
    renewer: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for SharedGuard {
    fn drop(&mut self) {
        self.done.cancel();
    }
}

impl LockGuard {
    pub(super) fn new(locks: Locks, name: &str, owner: String, fence: u64, until: Instant) -> Self {
        let (say, until) = watch::channel(until);
        let done = CancellationToken::new();
        let renewer =
            tokio::spawn(renew_until_done(locks, name.to_owned(), owner, fence, say, done.clone()));
        Self {
            shared: Arc::new(SharedGuard {
                fence,
                until,
                done,
                renewer: Mutex::new(Some(renewer)),
            }),
        }
    }

    /// Returns another handle of the same lock, for nested work.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { shared: self.shared.clone() }
    }

    /// Returns the fencing number, which is greater than the number of every earlier holder.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.shared.fence
    }

    /// Returns whether the lock is still held, by this process's clock. Call this function before
    /// each step of the work under the lock.
    #[must_use]
    pub fn is_held(&self) -> bool {
        Instant::now() < *self.shared.until.borrow()
    }

    /// Waits until the lock is lost. A release does not count as a loss.
    pub async fn lost(&self) {
        let mut until = self.shared.until.clone();
        loop {
            let end = *until.borrow_and_update();
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(end) => return,
                changed = until.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Drops this handle. If this is the last handle, the function first releases the lock on all
    /// servers that can be reached.
    pub async fn release(self) {
        if let Some(shared) = Arc::into_inner(self.shared) {
            shared.done.cancel();
            let renewer = shared.renewer.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(renewer) = renewer {
                // If the release fails, the lock expires by itself.
                drop(renewer.await);
            }
        }
    }
}

/// Renews the lock until the last handle is dropped, then releases it. Stops if another owner has
/// the lock.
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

//! A lock that somebody has: renewed in the background until the last handle is gone, then
//! released.
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Locks;

/// A handle of a lock. The lock is released when the last handle of it is gone.
///
/// To have a lock proves nothing at the moment of a write: what is written carries
/// [`LockGuard::fence`].
#[derive(Debug)]
pub struct LockGuard {
    shared: Arc<SharedGuard>,
}

#[derive(Debug)]
struct SharedGuard {
    fence: u64,
    /// Until when it is held for sure. Past: it was lost.
    until: watch::Receiver<Instant>,
    /// Ends the renewing, which then releases.
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

    /// Another handle of the same lock, for work inside the work.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { shared: self.shared.clone() }
    }

    /// Greater than that of every holder before.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.shared.fence
    }

    /// Whether it is held still, as far as this process's clock can tell. To be asked before each
    /// step of the work.
    #[must_use]
    pub fn is_held(&self) -> bool {
        Instant::now() < *self.shared.until.borrow()
    }

    /// Waits until it is not held any more though nobody released it.
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

    /// Gives this handle up. With the last one the lock is released when this returns, where
    /// servers can be reached.
    pub async fn release(self) {
        if let Some(shared) = Arc::into_inner(self.shared) {
            shared.done.cancel();
            let renewer = shared.renewer.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(renewer) = renewer {
                // It ends by itself, however it ends.
                drop(renewer.await);
            }
        }
    }
}

/// Renews until the last handle is gone or the lock is somebody else's, then releases.
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
        let asked = Instant::now();
        if asked >= *until.borrow() {
            // It slept through its time: somebody else may have had the lock, also if it could be
            // renewed now.
            break;
        }
        match locks.renew(&name, &owner, fence).await {
            Ok(true) => drop(until.send_replace(asked + locks.valid_for())),
            Ok(false) => {
                until.send_replace(asked);
                break;
            }
            // Asked again as long as there is time.
            Err(_) => {}
        }
    }
    locks.release(&name, &owner).await;
}

//! A lock that somebody has: renewed in the background until the last handle is gone, then released.
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Locks;

/// A handle of a lock. The lock is released when the last handle of it is gone.
///
/// To have a lock proves nothing at the moment of a write: what is written carries [`Held::fence`].
#[derive(Debug)]
pub struct Held {
    one: Arc<One>,
}

#[derive(Debug)]
struct One {
    fence: u64,
    /// Until when it is held for sure. Past: it was lost.
    until: watch::Receiver<Instant>,
    /// Ends the renewing, which then releases.
    done: CancellationToken,
    keeping: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for One {
    fn drop(&mut self) {
        self.done.cancel();
    }
}

impl Held {
    pub(super) fn new(locks: Locks, name: &str, owner: String, fence: u64, until: Instant) -> Self {
        let (say, until) = watch::channel(until);
        let done = CancellationToken::new();
        let keeping = tokio::spawn(keep(locks, name.to_owned(), owner, fence, say, done.clone()));
        Self { one: Arc::new(One { fence, until, done, keeping: Mutex::new(Some(keeping)) }) }
    }

    /// Another handle of the same lock, for work inside the work.
    #[must_use]
    pub fn enter(&self) -> Self {
        Self { one: self.one.clone() }
    }

    /// Greater than that of every holder before.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.one.fence
    }

    /// Whether it is held still, as far as this process's clock can tell. To be asked before each step of the work.
    #[must_use]
    pub fn is_held(&self) -> bool {
        Instant::now() < *self.one.until.borrow()
    }

    /// Waits until it is not held any more though nobody released it.
    pub async fn lost(&self) {
        let mut until = self.one.until.clone();
        loop {
            let end = *until.borrow_and_update();
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(end) => return,
                changed = until.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Gives this handle up. With the last one the lock is released when this returns, where servers can be reached.
    pub async fn release(self) {
        if let Some(one) = Arc::into_inner(self.one) {
            one.done.cancel();
            let keeping = one.keeping.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(keeping) = keeping {
                // It ends by itself, however it ends.
                drop(keeping.await);
            }
        }
    }
}

/// Renews until the last handle is gone or the lock is somebody else's, then releases.
async fn keep(
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
            () = tokio::time::sleep(locks.renew_every()) => {}
        }
        let asked = Instant::now();
        if asked >= *until.borrow() {
            // It slept through its time: somebody else may have had the lock, also if it could be renewed now.
            break;
        }
        match locks.renew(&name, &owner, fence).await {
            Ok(true) => drop(until.send_replace(asked + locks.safe())),
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

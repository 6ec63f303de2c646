//! Resolves host names. A look-up blocks a thread and cannot be cancelled, so only a few look-ups
//! run at the same time. For each name, at most one look-up runs. So a name whose DNS server does
//! not answer blocks only one thread, and the other threads resolve other names.
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

use crate::limits::ENDPOINTS_MAX;

/// The maximum number of look-ups at the same time. Further look-ups wait. The number is small,
/// because look-ups use the same pool of blocking threads as transactions.
pub(super) const LOOKUPS_MAX: usize = 8;
/// The maximum number of names whose look-up runs or waits. Further look-ups fail. The bound is
/// twice the maximum number of endpoints. So even if the look-ups for all endpoints wait, look-ups
/// for new endpoints do not fail.
pub(super) const NAMES_MAX: usize = 2 * ENDPOINTS_MAX;

/// A function that resolves a name. The call blocks the thread.
type Resolver = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// The result of a look-up, for all callers that wait for it. The value is `None` while the look-up
/// waits or runs.
type LookupResult = Option<Result<Vec<SocketAddr>, String>>;

/// The look-ups of a guard.
#[derive(Clone)]
pub(super) struct DnsLookups {
    resolver: Resolver,
    places: Arc<Semaphore>,
    running: Arc<Mutex<HashMap<String, watch::Receiver<LookupResult>>>>,
}

impl DnsLookups {
    pub(super) fn new(
        resolver: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            resolver: Arc::new(resolver),
            places: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            running: Arc::default(),
        }
    }

    /// Returns the addresses of a name.
    pub(super) async fn addresses(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let mut answer = self.join(name)?;
        let found = answer.wait_for(Option::is_some).await.map_err(io::Error::other)?.clone();
        found.unwrap_or_else(|| Err("the look-up failed".to_owned())).map_err(io::Error::other)
    }

    /// Returns the receiver of the running look-up of a name. If no look-up of this name runs,
    /// starts one.
    fn join(&self, name: &str) -> io::Result<watch::Receiver<LookupResult>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = running.get(name) {
            return Ok(answer.clone());
        }
        if running.len() >= NAMES_MAX {
            return Err(io::Error::other("too many names are being looked up"));
        }
        let (sender, answer) = watch::channel(None);
        running.insert(name.to_owned(), answer.clone());
        // The look-up runs in a separate task, so that it continues even if no caller waits any
        // more.
        tokio::spawn(self.clone().look_up(name.to_owned(), sender));
        Ok(answer)
    }

    async fn look_up(self, name: String, sender: watch::Sender<LookupResult>) {
        let found = self.resolve_limited(name.clone()).await.map_err(|error| error.to_string());
        // After this removal, the next caller with this name starts a new look-up.
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        sender.send_replace(Some(found));
    }

    /// Resolves a name as soon as fewer than [`LOOKUPS_MAX`] look-ups run. A look-up counts as
    /// running until its function has returned.
    async fn resolve_limited(&self, name: String) -> io::Result<Vec<SocketAddr>> {
        let _place = self.places.acquire().await.map_err(io::Error::other)?;
        let resolver = self.resolver.clone();
        tokio::task::spawn_blocking(move || resolver(&name)).await.map_err(io::Error::other)?
    }

    /// Returns how many more look-ups may run now.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.places.available_permits()
    }
}

//! Resolves host names. A look-up blocks a thread and cannot be cancelled, so only a few run at a
//! time, and only one for each name. So a name whose DNS server does not answer blocks only one
//! thread.
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

use crate::limits::ENDPOINTS_MAX;

/// The maximum number of look-ups at the same time. It is small, because transactions use the same
/// pool of blocking threads.
pub(super) const LOOKUPS_MAX: usize = 8;
/// The maximum number of names whose look-up runs or waits. Further look-ups fail. The bound leaves
/// room for new endpoints, even if the look-ups for all endpoints wait.
pub(super) const NAMES_MAX: usize = 2 * ENDPOINTS_MAX;

/// Resolves a name. The call blocks the thread.
type Resolver = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// `None` while the look-up waits or runs.
type LookupResult = Option<Result<Vec<SocketAddr>, String>>;

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

    pub(super) async fn addresses(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let mut answer = self.join(name)?;
        let found = answer.wait_for(Option::is_some).await.map_err(io::Error::other)?.clone();
        found.unwrap_or_else(|| Err("the look-up failed".to_owned())).map_err(io::Error::other)
    }

    /// Returns the receiver of the name's look-up, and starts a look-up if none runs.
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
        // In a task, the look-up continues even if no caller waits any more.
        tokio::spawn(self.clone().look_up(name.to_owned(), sender));
        Ok(answer)
    }

    async fn look_up(self, name: String, sender: watch::Sender<LookupResult>) {
        let found = self.resolve_limited(name.clone()).await.map_err(|error| error.to_string());
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        sender.send_replace(Some(found));
    }

    /// A look-up counts as running until its function has returned.
    async fn resolve_limited(&self, name: String) -> io::Result<Vec<SocketAddr>> {
        let _place = self.places.acquire().await.map_err(io::Error::other)?;
        let resolver = self.resolver.clone();
        tokio::task::spawn_blocking(move || resolver(&name)).await.map_err(io::Error::other)?
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.places.available_permits()
    }
}

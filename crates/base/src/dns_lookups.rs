//! Resolves host names. A look-up blocks a thread and cannot be cancelled. So only a few look-ups
//! run at the same time, and no two of them are for the same name. A name whose DNS server does not
//! answer blocks at most one thread.
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

/// Resolves a name. The call blocks the thread.
type Resolver = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// The result of a look-up; `None` while the look-up waits or runs.
type LookupResult = Option<Result<Vec<SocketAddr>, String>>;

/// Bounds of look-ups.
#[derive(Clone, Copy, Debug)]
pub struct LookupBounds {
    /// The maximum number of look-ups at the same time.
    pub at_once: usize,
    /// The maximum number of names whose look-up runs or waits. Look-ups of further names fail.
    pub names: usize,
}

/// Looks up names. All clones share their look-ups and the limits.
#[derive(Clone)]
pub struct DnsLookups {
    resolver: Resolver,
    places: Arc<Semaphore>,
    names_max: usize,
    running: Arc<Mutex<HashMap<String, watch::Receiver<LookupResult>>>>,
}

impl DnsLookups {
    /// Creates look-ups with this resolver.
    pub fn new(
        LookupBounds { at_once, names }: LookupBounds,
        resolver: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            resolver: Arc::new(resolver),
            places: Arc::new(Semaphore::new(at_once)),
            names_max: names,
            running: Arc::default(),
        }
    }

    /// Returns the addresses of a name. If a look-up of this name already runs, waits for its
    /// result.
    ///
    /// # Errors
    /// If the look-up fails, or too many names are being looked up.
    pub async fn addresses(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let mut answer = self.join(name)?;
        let found = answer.wait_for(Option::is_some).await.map_err(io::Error::other)?.clone();
        found.unwrap_or_else(|| Err("the look-up failed".to_owned())).map_err(io::Error::other)
    }

    /// Returns a receiver for the result of the name's look-up. Starts a look-up if none runs for
    /// this name.
    fn join(&self, name: &str) -> io::Result<watch::Receiver<LookupResult>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = running.get(name) {
            return Ok(answer.clone());
        }
        if running.len() >= self.names_max {
            return Err(io::Error::other("too many names are being looked up"));
        }
        let (sender, answer) = watch::channel(None);
        running.insert(name.to_owned(), answer.clone());
        // The look-up is a task of its own, so it continues if its callers stop waiting.
        tokio::spawn(self.clone().look_up(name.to_owned(), sender));
        Ok(answer)
    }

    async fn look_up(self, name: String, sender: watch::Sender<LookupResult>) {
        let found = self.resolve_limited(name.clone()).await.map_err(|error| error.to_string());
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        sender.send_replace(Some(found));
    }

    /// Waits until fewer than the allowed number of look-ups run, and then runs this look-up. The
    /// look-up counts as running until its function returns, even if no caller waits for the
    /// result.
    async fn resolve_limited(&self, name: String) -> io::Result<Vec<SocketAddr>> {
        let _place = self.places.acquire().await.map_err(io::Error::other)?;
        let resolver = self.resolver.clone();
        tokio::task::spawn_blocking(move || resolver(&name)).await.map_err(io::Error::other)?
    }

    /// Returns how many more look-ups could run now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.places.available_permits()
    }
}

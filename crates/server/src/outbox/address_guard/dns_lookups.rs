//! Looking names up. A look-up blocks a thread and cannot be broken off, so that there are places
//! for a few. A name has one look-up at a time, whoever asks for it: one that nobody answers for
//! takes one place, and others are not kept waiting by it.
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};

use crate::outbox::ENDPOINTS_MAX;

/// Names that are looked up at once; more wait. Each has a thread of those that transactions need
/// as well.
pub(super) const LOOKUPS_MAX: usize = 8;
/// Names that are looked up or wait for that: those of all endpoints, and as many that operators
/// are about to add. What is more cannot be looked up yet.
pub(super) const NAMES_MAX: usize = 2 * ENDPOINTS_MAX;

/// What names stand for. It blocks.
type Resolver = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// What came of a look-up, for all who wait for it; `None`: it is not over.
type LookupResult = Option<Result<Vec<SocketAddr>, String>>;

/// Looks names up.
#[derive(Clone)]
pub(super) struct DnsLookups {
    resolver: Resolver,
    places: Arc<Semaphore>,
    under_way: Arc<Mutex<HashMap<String, watch::Receiver<LookupResult>>>>,
}

impl DnsLookups {
    pub(super) fn new(
        resolver: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            resolver: Arc::new(resolver),
            places: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            under_way: Arc::default(),
        }
    }

    /// What a name stands for.
    pub(super) async fn addresses(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        let mut answer = self.join(name)?;
        let found = answer.wait_for(Option::is_some).await.map_err(io::Error::other)?.clone();
        found.unwrap_or_else(|| Err("it was not looked up".to_owned())).map_err(io::Error::other)
    }

    /// The look-up of a name that is under way, or a new one.
    fn join(&self, name: &str) -> io::Result<watch::Receiver<LookupResult>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = under_way.get(name) {
            return Ok(answer.clone());
        }
        if under_way.len() >= NAMES_MAX {
            return Err(io::Error::other("too many names are being looked up"));
        }
        let (tell, answer) = watch::channel(None);
        under_way.insert(name.to_owned(), answer.clone());
        // Not a part of whoever asks: it goes on when nobody waits any more, as its thread does.
        tokio::spawn(self.clone().look_up(name.to_owned(), tell));
        Ok(answer)
    }

    async fn look_up(self, name: String, tell: watch::Sender<LookupResult>) {
        let found = self.resolve_limited(name.clone()).await.map_err(|error| error.to_string());
        // Whoever asks from here on has it looked up anew.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        tell.send_replace(Some(found));
    }

    /// Looks a name up in its turn. Its place is free again once its thread is.
    async fn resolve_limited(&self, name: String) -> io::Result<Vec<SocketAddr>> {
        let _place = self.places.acquire().await.map_err(io::Error::other)?;
        let resolver = self.resolver.clone();
        tokio::task::spawn_blocking(move || resolver(&name)).await.map_err(io::Error::other)?
    }

    /// Places that are free.
    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.places.available_permits()
    }
}

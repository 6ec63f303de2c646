//! Resolves the host names of peers. A look-up blocks a thread and cannot be cancelled. So only a
//! few look-ups run at the same time, and only one for each name. Otherwise look-ups without an
//! answer could block every thread that the store needs.
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// The maximum number of look-ups at the same time. Further look-ups wait. It is small, because
/// transactions use the same pool of blocking threads.
const LOOKUPS_MAX: usize = 4;

/// How long a caller waits for a look-up.
const LOOKUP_WAIT: Duration = Duration::from_secs(1);

/// Resolves a name. The call blocks the thread.
type Resolver = Arc<dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Resolves the names in `store.peers`, and remembers their addresses. Clones share one memory.
#[derive(Clone)]
pub(super) struct PeerNames {
    resolver: Resolver,
    places: Arc<Semaphore>,
    names: Arc<Mutex<HashMap<String, Arc<PeerName>>>>,
}

#[derive(Default)]
struct PeerName {
    /// Whether a look-up of this name waits or runs.
    is_looked_up: AtomicBool,
    /// The addresses that the last successful look-up found. Each look-up notifies the receivers.
    addresses: watch::Sender<Vec<SocketAddr>>,
}

impl PeerNames {
    /// Uses the system's resolver.
    pub(super) fn new() -> Self {
        Self::with_resolver(|name| Ok((name, 0).to_socket_addrs()?.collect()))
    }

    fn with_resolver(
        resolver: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            resolver: Arc::new(resolver),
            places: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            names: Arc::default(),
        }
    }

    /// Looks up the addresses of a name. If the look-up fails or takes too long, returns the known
    /// addresses.
    pub(super) async fn look_up(&self, name: &str) -> Vec<SocketAddr> {
        let peer = self.peer(name);
        let mut addresses = peer.addresses.subscribe();
        if !peer.is_looked_up.swap(true, Ordering::AcqRel) {
            // The look-up is a task of its own, so it continues if its callers stop waiting.
            tokio::spawn(self.clone().resolve_peer(name.to_owned(), peer));
        }
        // The wait ends without a change only if it times out.
        drop(timeout(LOOKUP_WAIT, addresses.changed()).await);
        addresses.borrow().clone()
    }

    fn peer(&self, name: &str) -> Arc<PeerName> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        names.entry(name.to_owned()).or_default().clone()
    }

    async fn resolve_peer(self, name: String, peer: Arc<PeerName>) {
        let found = self.resolve_limited(name).await;
        peer.is_looked_up.store(false, Ordering::Release);
        peer.addresses.send_modify(|addresses| {
            if let Ok(found) = found {
                *addresses = found;
            }
        });
    }

    /// Runs the look-up as soon as fewer than [`LOOKUPS_MAX`] others run. The look-up counts until
    /// its function returns, even if no caller waits for it.
    async fn resolve_limited(&self, name: String) -> io::Result<Vec<SocketAddr>> {
        let _place = self.places.acquire().await.map_err(io::Error::other)?;
        let resolver = self.resolver.clone();
        tokio::task::spawn_blocking(move || resolver(&name)).await.map_err(io::Error::other)?
    }
}

/// Gives the known addresses to the HTTP client, which itself looks up no name.
impl Resolve for PeerNames {
    fn resolve(&self, name: Name) -> Resolving {
        let known = self.peer(name.as_str()).addresses.borrow().clone();
        Box::pin(std::future::ready(Ok(Box::new(known.into_iter()) as Addrs)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use futures_util::future::join_all;
    use tokio::sync::mpsc::channel;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_name_without_an_answer_has_one_look_up_and_keeps_its_addresses() {
        let (begin, mut begun) = channel(64);
        let (answer, answers) = mpsc::sync_channel(64);
        let answers = Mutex::new(answers);
        let names = PeerNames::with_resolver(move |name| {
            begin.try_send(name.to_owned()).expect("the test listens");
            answers.lock().expect("no thread panicked").recv().map_err(io::Error::other)
        });
        let [first, second] =
            ["10.0.0.7:0", "10.0.0.8:0"].map(|text| text.parse::<SocketAddr>().expect("valid"));
        answer.send(vec![first]).expect("the resolver exists");
        assert_eq!(names.look_up("node-2").await, [first]);
        for _ in 0..3 {
            let no_answer = tokio::time::advance(2 * LOOKUP_WAIT);
            let (known, ()) = tokio::join!(names.look_up("node-2"), no_answer);
            assert_eq!(known, [first]);
        }
        for _ in 0..2 {
            assert_eq!(begun.recv().await.as_deref(), Some("node-2"));
        }
        let late = async { answer.send(vec![second]).expect("the resolver exists") };
        let (known, ()) = tokio::join!(names.look_up("node-2"), late);
        assert_eq!(known, [second]);
        assert!(begun.try_recv().is_err(), "only one look-up must run without an answer");
    }

    #[tokio::test]
    async fn few_look_ups_run_at_the_same_time() {
        let (running, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let most_running = most.clone();
        let names = PeerNames::with_resolver(move |_| {
            let now = running.fetch_add(1, Ordering::SeqCst) + 1;
            most_running.fetch_max(now, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
            running.fetch_sub(1, Ordering::SeqCst);
            Err(io::Error::other("no such name"))
        });
        let peers: Vec<String> = (0..64).map(|number| format!("node-{number}")).collect();
        let found = join_all(peers.iter().map(|peer| names.look_up(peer))).await;
        assert!(found.iter().all(Vec::is_empty));
        let most = most.load(Ordering::SeqCst);
        assert!((1..=LOOKUPS_MAX).contains(&most), "{most}");
    }
}

//! Resolves the host names of peers, and remembers their addresses.
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorbuster_base::dns_lookups::{DnsLookups, LookupBounds};
use doorbuster_config::PEERS_MAX;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::time::timeout;

/// Few look-ups run at the same time, because transactions use the same pool of blocking threads.
const LOOKUP_BOUNDS: LookupBounds = LookupBounds { at_once: 4, names: PEERS_MAX };

/// How long a caller waits for a look-up.
const LOOKUP_WAIT: Duration = Duration::from_secs(1);

/// Resolves the names in `store.peers`, and remembers their addresses. Clones share these
/// addresses.
#[derive(Clone)]
pub(super) struct PeerNames {
    look_ups: DnsLookups,
    known: KnownAddresses,
}

/// The addresses of the last successful look-up of each name.
#[derive(Clone, Default)]
struct KnownAddresses(Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>);

impl PeerNames {
    /// Uses the system's resolver.
    pub(super) fn new() -> Self {
        Self::with_resolver(|name| Ok((name, 0).to_socket_addrs()?.collect()))
    }

    fn with_resolver(
        resolver: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        let known = KnownAddresses::default();
        let remembered = known.clone();
        // A look-up stores its result itself, because its callers may have stopped waiting.
        let look_ups = DnsLookups::new(LOOKUP_BOUNDS, move |name| {
            let found = resolver(name)?;
            remembered.lock().insert(name.to_owned(), found.clone());
            Ok(found)
        });
        Self { look_ups, known }
    }

    /// Looks up the addresses of a name. If the look-up fails or takes too long, returns the known
    /// addresses.
    pub(super) async fn look_up(&self, name: &str) -> Vec<SocketAddr> {
        drop(timeout(LOOKUP_WAIT, self.look_ups.addresses(name)).await);
        self.known.of(name)
    }
}

impl KnownAddresses {
    fn of(&self, name: &str) -> Vec<SocketAddr> {
        self.lock().get(name).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<SocketAddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the HTTP client the known addresses, so that the client makes no look-ups itself.
impl Resolve for PeerNames {
    fn resolve(&self, name: Name) -> Resolving {
        let known = self.known.of(name.as_str());
        Box::pin(std::future::ready(Ok(Box::new(known.into_iter()) as Addrs)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
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
        assert!(begun.try_recv().is_err(), "while a look-up runs, no other look-up must begin");
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
        assert!((1..=LOOKUP_BOUNDS.at_once).contains(&most), "{most}");
    }
}

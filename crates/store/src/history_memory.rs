//! The newest history of the database that this deployment is known to have used.
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use doorbuster_core::history::DatabaseHistory;

/// Keeps a history that a node has just learned, for its next start. Called before the database is
/// used.
pub type Remember = Box<dyn Fn(&str, &DatabaseHistory) + Send + Sync>;
/// Asks the other places that remember the newest history: Redis and other nodes.
pub type AskElsewhere =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Vec<DatabaseHistory>> + Send>> + Send + Sync>;

/// The histories that this process knows. Cheap to clone; all clones are one memory.
///
/// A deployment is named by the fingerprint of its key of order ids, because several deployments
/// may share a data directory.
#[derive(Clone, Default)]
pub struct HistoryMemory(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changes: watch::Sender<i64>,
    remember: OnceLock<Remember>,
    elsewhere: OnceLock<AskElsewhere>,
}

#[derive(Default)]
struct State {
    /// The newest history of each deployment.
    known: BTreeMap<String, DatabaseHistory>,
    /// What other nodes of this deployment know.
    of_peers: Option<DatabaseHistory>,
    /// This process's deployment, once it is known.
    deployment: Option<String>,
    /// When the history of this deployment last rose. Older connections are checked again.
    raised_at: Option<Instant>,
}

impl HistoryMemory {
    /// A memory that begins with what an earlier process kept.
    #[must_use]
    pub fn new(kept: BTreeMap<String, DatabaseHistory>, remember: Remember) -> Self {
        let memory = Self::default();
        memory.state().known = kept;
        // The cell is empty: the memory is new.
        let _ = memory.0.remember.set(remember);
        memory
    }

    /// Sets the function that asks the other places. Only the first call has an effect.
    pub fn set_elsewhere(&self, ask: AskElsewhere) {
        let _ = self.0.elsewhere.set(ask);
    }

    /// The newest known history of this process's deployment.
    #[must_use]
    pub fn known(&self) -> Option<DatabaseHistory> {
        let state = self.state();
        state.known_to(state.deployment.as_deref()).cloned()
    }

    /// Wakes at every change. The value is the fencing number, or 0.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.0.changes.subscribe()
    }

    /// Learns what another node of this deployment knows, or what Redis remembers.
    pub fn learn_from_peer(&self, history: DatabaseHistory) {
        let mut state = self.state();
        let before = state.newest();
        if state.of_peers.as_ref().is_none_or(|known| known.fence < history.fence) {
            state.of_peers = Some(history);
        }
        self.announce(state, before);
    }

    /// Sets this process's deployment.
    pub(crate) fn bind(&self, deployment: &str) {
        self.state().deployment = Some(deployment.to_owned());
    }

    /// The known history for a database that belongs to this deployment. A process that does not
    /// know its deployment yet takes the database's.
    pub(crate) fn known_for(&self, deployment: Option<&str>) -> Option<DatabaseHistory> {
        let state = self.state();
        let deployment = state.deployment.as_deref().or(deployment);
        state.known_to(deployment).cloned()
    }

    /// Learns the history of a database that is about to be used.
    pub(crate) fn learn(&self, deployment: &str, history: &DatabaseHistory) {
        let mut state = self.state();
        let before = state.newest();
        let known = state.known.get(deployment);
        if known.is_some_and(|known| known.fence >= history.fence) {
            return;
        }
        if let Some(remember) = self.0.remember.get() {
            remember(deployment, history);
        }
        state.known.insert(deployment.to_owned(), history.clone());
        self.announce(state, before);
    }

    /// Whether a connection that was opened at this time must be checked again.
    pub(crate) fn is_outdated(&self, opened: Instant) -> bool {
        self.state().raised_at.is_some_and(|raised_at| opened < raised_at)
    }

    /// Asks the other places, and learns what they know.
    pub async fn ask_elsewhere(&self) {
        let Some(ask) = self.0.elsewhere.get() else { return };
        for history in ask().await {
            self.learn_from_peer(history);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces another newest history. Two histories with one number differ by their tokens.
    fn announce(&self, mut state: MutexGuard<'_, State>, before: Option<(i64, String)>) {
        let after = state.newest();
        if after != before {
            state.raised_at = Some(Instant::now());
            drop(state);
            self.0.changes.send_replace(after.map_or(0, |(fence, _)| fence));
        }
    }
}

impl State {
    /// The number and the token of the newest history.
    fn newest(&self) -> Option<(i64, String)> {
        let known = self.known_to(self.deployment.as_deref());
        known.map(|known| (known.fence, known.token.clone()))
    }

    fn known_to(&self, deployment: Option<&str>) -> Option<&DatabaseHistory> {
        let own = deployment.and_then(|deployment| self.known.get(deployment));
        [own, self.of_peers.as_ref()].into_iter().flatten().max_by_key(|known| known.fence)
    }
}

impl fmt::Debug for HistoryMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryMemory").field("known", &self.known()).finish_non_exhaustive()
    }
}

//! Remembers the newest database history that this deployment has used. The store refuses a
//! database with an older history, such as an old primary after a failover.
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use doorbuster_core::database_history::DatabaseHistory;

/// A function that stores a deployment's history for the next start of this node. The store calls
/// this function before it uses a database that has a newer history.
pub type SaveHistory = Box<dyn Fn(&str, &DatabaseHistory) + Send + Sync>;
/// A function that asks Redis and other nodes for the newest history that they remember.
pub type AskPeersForHistory =
    Box<dyn Fn() -> Pin<Box<dyn Future<Output = Vec<DatabaseHistory>> + Send>> + Send + Sync>;

/// Maps the token of a history to the highest known position in the write-ahead log of this
/// history.
pub(crate) type Positions = BTreeMap<String, i64>;

/// The histories that this process knows. Clones are cheap and share one memory.
///
/// Several deployments may share a data directory, so each history is stored under its deployment.
/// A deployment is identified by the fingerprint of its key for order ids.
#[derive(Clone, Default)]
pub struct KnownHistories(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changes: watch::Sender<i64>,
    remember: OnceLock<SaveHistory>,
    ask_peers: OnceLock<AskPeersForHistory>,
}

#[derive(Default)]
struct State {
    /// The newest history of each deployment.
    known: BTreeMap<String, DatabaseHistory>,
    /// The newest history that other nodes of this deployment know.
    of_peers: Option<DatabaseHistory>,
    /// This process's deployment, once it is known.
    deployment: Option<String>,
    /// The time at which this node last learned of a newer history of this deployment. Connections
    /// that were opened before this time are checked again.
    raised_at: Option<Instant>,
    /// Whether a thread stores new positions now.
    stores_positions: bool,
}

impl KnownHistories {
    /// Returns a memory that begins with the histories that an earlier process stored.
    #[must_use]
    pub fn new(kept: BTreeMap<String, DatabaseHistory>, remember: SaveHistory) -> Self {
        let memory = Self::default();
        memory.state().known = kept;
        // `set` fails only if the cell already has a function, and a new memory's cell is empty.
        let _ = memory.0.remember.set(remember);
        memory
    }

    /// Sets the function that asks Redis and other nodes for the newest history that they know.
    /// Only the first call has an effect.
    pub fn set_ask_peers(&self, ask: AskPeersForHistory) {
        let _ = self.0.ask_peers.set(ask);
    }

    /// Returns the newest known history of this process's deployment.
    #[must_use]
    pub fn known(&self) -> Option<DatabaseHistory> {
        let state = self.state();
        state.known_to(state.deployment.as_deref()).cloned()
    }

    /// Returns a receiver that wakes whenever the newest known history changes. The receiver's
    /// value is the fencing number of this history, or 0 if no history is known.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<i64> {
        self.0.changes.subscribe()
    }

    /// Learns a history from Redis or from another node of this deployment.
    pub fn learn_from_peer(&self, history: DatabaseHistory) {
        let mut state = self.state();
        let before = state.newest();
        state.raise_position(&history.token, history.position);
        if state.of_peers.as_ref().is_none_or(|known| known.fence < history.fence) {
            state.of_peers = Some(history);
        }
        self.announce(state, before);
    }

    /// Learns a position in the write-ahead log of the history with this token. The log is durable
    /// up to this position. So even after a crash, a database without this position is an older
    /// copy.
    pub(crate) fn learn_position(&self, token: &str, position: i64) {
        let mut state = self.state();
        state.raise_position(token, position);
        let is_own = state.own().is_some_and(|(_, known)| known.token == token);
        if !is_own || std::mem::replace(&mut state.stores_positions, true) {
            return;
        }
        drop(state);
        let memory = self.clone();
        tokio::task::spawn_blocking(move || memory.store_positions());
    }

    /// Stores the newest history of this process's deployment, and repeats this until no newer
    /// history is known. Only one thread runs this function at a time. So a disk that does not
    /// answer blocks at most one thread.
    fn store_positions(&self) {
        let mut stored = None;
        loop {
            let mut state = self.state();
            let own = state.own();
            if own == stored {
                state.stores_positions = false;
                return;
            }
            drop(state);
            if let Some((remember, (deployment, known))) = self.0.remember.get().zip(own.as_ref()) {
                remember(deployment, known);
            }
            stored = own;
        }
    }

    pub(crate) fn positions(&self) -> Positions {
        let state = self.state();
        let known = state.of_peers.iter().chain(state.known.values());
        let mut positions = Positions::new();
        for DatabaseHistory { token, position, .. } in known {
            let highest = positions.entry(token.clone()).or_default();
            *highest = (*position).max(*highest);
        }
        positions
    }

    pub(crate) fn bind(&self, deployment: &str) {
        self.state().deployment = Some(deployment.to_owned());
    }

    /// Returns the newest known history of this process's deployment. If this process does not know
    /// its deployment yet, returns the newest known history of `deployment`, which is the
    /// deployment that a database names.
    #[must_use]
    pub fn known_history(&self, deployment: Option<&str>) -> Option<DatabaseHistory> {
        let state = self.state();
        let deployment = state.deployment.as_deref().or(deployment);
        state.known_to(deployment).cloned()
    }

    /// Remembers the history of a database, unless it already remembers this history or a newer
    /// one. The caller does this before it uses the database.
    pub(crate) fn learn(&self, deployment: &str, history: &DatabaseHistory) {
        let is_known = |state: &State| {
            state.known.get(deployment).is_some_and(|known| known.fence >= history.fence)
        };
        if is_known(&self.state()) {
            return;
        }
        // This call may wait for the disk, so the state is not locked during the call.
        if let Some(remember) = self.0.remember.get() {
            remember(deployment, history);
        }
        let mut state = self.state();
        if is_known(&state) {
            return;
        }
        let before = state.newest();
        state.known.insert(deployment.to_owned(), history.clone());
        self.announce(state, before);
    }

    /// Returns whether a connection that was opened at this time must be checked again.
    pub(crate) fn is_outdated(&self, opened: Instant) -> bool {
        self.state().raised_at.is_some_and(|raised_at| opened < raised_at)
    }

    /// Asks Redis and other nodes, and learns their histories.
    pub async fn ask_peers(&self) {
        let Some(ask) = self.0.ask_peers.get() else { return };
        for history in ask().await {
            self.learn_from_peer(history);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the receivers of changes if the newest history differs from `before`. Two histories
    /// can have the same fencing number, so the tokens are also compared.
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
    fn raise_position(&mut self, token: &str, position: i64) {
        let histories = self.known.values_mut().chain(&mut self.of_peers);
        for history in histories.filter(|history| history.token == token) {
            history.position = history.position.max(position);
        }
    }

    /// Returns this process's deployment, and the newest history of this deployment that this node
    /// has used.
    fn own(&self) -> Option<(String, DatabaseHistory)> {
        let deployment = self.deployment.clone()?;
        let known = self.known.get(&deployment)?.clone();
        Some((deployment, known))
    }

    fn newest(&self) -> Option<(i64, String)> {
        let known = self.known_to(self.deployment.as_deref());
        known.map(|known| (known.fence, known.token.clone()))
    }

    fn known_to(&self, deployment: Option<&str>) -> Option<&DatabaseHistory> {
        let own = deployment.and_then(|deployment| self.known.get(deployment));
        [own, self.of_peers.as_ref()].into_iter().flatten().max_by_key(|known| known.fence)
    }
}

impl fmt::Debug for KnownHistories {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownHistories").field("known", &self.known()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn positions_wait_for_a_hung_disk_in_one_thread_and_only_the_newest_is_stored() {
        let history = DatabaseHistory {
            fence: 1,
            token: "t".to_owned(),
            system_id: "7".to_owned(),
            timeline: 1,
            position: 0,
        };
        let (stored, mut positions) = tokio::sync::mpsc::channel(256);
        let (answer, disk) = std::sync::mpsc::sync_channel(256);
        let disk = Mutex::new(disk);
        let remember = move |_: &str, history: &DatabaseHistory| {
            stored.try_send(history.position).expect("the test listens");
            disk.lock().expect("no thread panicked").recv().expect("the disk answers");
        };
        let kept = BTreeMap::from([("a".to_owned(), history)]);
        let memory = KnownHistories::new(kept, Box::new(remember));
        memory.bind("a");
        memory.learn_position("t", 1);
        assert_eq!(positions.recv().await, Some(1));
        for position in 2..100 {
            memory.learn_position("t", position);
        }
        answer.send(()).expect("the disk hangs");
        assert_eq!(positions.recv().await, Some(99));
        answer.send(()).expect("the disk hangs");
        memory.learn_position("t", 100);
        assert_eq!(positions.recv().await, Some(100));
        answer.send(()).expect("the disk hangs");
    }
}

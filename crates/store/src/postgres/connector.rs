//! Opens every connection to the database. A connection is used only if its database has the newest
//! history that this deployment has used.
mod refusal;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use doorbuster_postgres_tls::Address;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::{timeout, timeout_at};
use tokio_postgres::Client;

use doorbuster_core::database_history::{DatabaseDecision, DatabaseHistory, decide, must_pause};

use crate::contract::Replication;
use crate::failure::{Done, Failure};
use crate::history_memory::{KnownHistories, Positions};
use crate::limits::{PG_ANSWER_WAIT, PG_CONNECT_WAIT, PG_OTHER_HOSTS_WAIT};

use super::hosts::{self, DatabaseHost};
use super::inspect_database::{self, Inspected};
use super::standbys;

mod certificates;
mod session;

use session::drive;
pub(super) use session::{Session, SessionListener, SessionMessage};

/// The value of [`Inner::current`] that makes the next connection inspect all hosts.
const NO_HOST: usize = usize::MAX;
/// If other nodes keep changing the history, opening a session fails after this many attempts.
const REGISTER_TRIES: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectorUse {
    /// The store uses the connection. If the database's history has changed, the connector first
    /// registers the change.
    Store,
    /// The connection is for one query that changes nothing.
    Read,
}

/// Opens connections. Clones are cheap and share one connector.
#[derive(Clone)]
pub(crate) struct Connector(Arc<Inner>);

struct Inner {
    hosts: Vec<DatabaseHost>,
    memory: KnownHistories,
    purpose: ConnectorUse,
    /// The number of the row that this node writes in its commit checks.
    slot: i32,
    /// The index of the host that passed the last inspection. After a connection to this host has
    /// failed, the value is [`NO_HOST`].
    current: AtomicUsize,
    /// Whether a connection was accepted before. If so, each later inspection of all hosts commits
    /// a row on the connection that it accepts. A synchronous standby confirms this commit only
    /// when it also has all earlier commits. So no caller sees commits that the standby lacks.
    used: AtomicBool,
    /// When the standby last failed to confirm a commit. The standby may lack this commit, but
    /// every open session can see it. So the store must not use a session that was opened before
    /// this time.
    unconfirmed_at: Mutex<Option<Instant>>,
    /// Whether commits waited for a standby when this node last checked.
    was_synchronous: AtomicBool,
    /// The state of the standbys, if the last connection was refused because standbys are missing.
    missing_standbys: Mutex<Option<Replication>>,
    /// Locked during an inspection of all hosts. A caller that waited for the lock uses the result
    /// of that inspection.
    inspecting: tokio::sync::Mutex<()>,
    /// The failure of the last connection that could not be opened.
    failure: Mutex<String>,
}

/// An open session with a database, and the result of the inspection of this database.
struct Opened {
    host: usize,
    session: Session,
    found: Inspected,
    /// The log positions that this node knew before it inspected the database.
    positions: Positions,
}

impl Opened {
    /// Returns the known history of this database's deployment, with the position that this node
    /// knew before the inspection. During the inspection, this node may learn a later position.
    /// Compared with the later position, the inspected database would look like an older copy.
    fn known(&self, memory: &KnownHistories) -> Option<DatabaseHistory> {
        let known = memory.known_history(self.found.deployment.as_deref())?;
        let position = self.positions.get(&known.token).copied().unwrap_or(0);
        Some(DatabaseHistory { position, ..known })
    }
}

impl Connector {
    pub(super) fn new(
        address: &Address,
        memory: KnownHistories,
        purpose: ConnectorUse,
        slot: i32,
    ) -> Self {
        Self(Arc::new(Inner {
            hosts: hosts::split(address),
            memory,
            purpose,
            slot,
            current: AtomicUsize::new(NO_HOST),
            used: AtomicBool::new(false),
            unconfirmed_at: Mutex::default(),
            was_synchronous: AtomicBool::new(false),
            missing_standbys: Mutex::default(),
            inspecting: tokio::sync::Mutex::default(),
            failure: Mutex::default(),
        }))
    }

    /// Opens a session with a database that nodes may use. Its messages go to `listener`.
    pub(super) async fn open(
        &self,
        options: &str,
        listener: Option<SessionListener>,
    ) -> Done<Session> {
        let listener = listener.map(Arc::new);
        let opened = match self.open_at_current(options, listener.clone()).await {
            Some(session) => Ok(session),
            None => {
                let _guard = self.0.inspecting.lock().await;
                match self.open_at_current(options, listener.clone()).await {
                    Some(session) => Ok(session),
                    None => self.open_newest(options, listener).await,
                }
            }
        };
        if let Err(failure) = &opened {
            *self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure.to_string();
        }
        opened
    }

    pub(super) fn memory(&self) -> &KnownHistories {
        &self.0.memory
    }

    pub(super) fn slot(&self) -> i32 {
        self.0.slot
    }

    pub(super) fn is_outdated(&self, opened: Instant) -> bool {
        self.0.memory.is_outdated(opened) || self.may_see_unconfirmed(opened)
    }

    /// Makes the next connection inspect all hosts.
    pub(super) fn distrust_host(&self) {
        self.0.current.store(NO_HOST, Ordering::Release);
    }

    pub(super) fn set_synchronous(&self, is_synchronous: bool) {
        self.0.was_synchronous.store(is_synchronous, Ordering::Release);
    }

    /// Opens a session at the host that passed the last inspection, if the host passes a new
    /// inspection.
    async fn open_at_current(
        &self,
        options: &str,
        listener: Option<Arc<SessionListener>>,
    ) -> Option<Session> {
        let host = self.0.current.load(Ordering::Acquire);
        if host == NO_HOST {
            return None;
        }
        let began = Instant::now();
        let opened = self.connect(host, options, listener).await.ok()?;
        if !self.accepts(&opened) || self.may_see_unconfirmed(began) {
            self.distrust_host();
            return None;
        }
        self.learn(&opened.found, opened.found.seen.newest());
        Some(opened.session)
    }

    /// Inspects all hosts, and opens a session at the host with the newest history.
    async fn open_newest(
        &self,
        options: &str,
        listener: Option<Arc<SessionListener>>,
    ) -> Done<Session> {
        for _ in 0..REGISTER_TRIES {
            if let Some(session) = self.try_newest(options, listener.clone()).await? {
                return Ok(session);
            }
        }
        Err(Failure::NoConnection("other nodes keep changing the database's history".to_owned()))
    }

    /// Makes one attempt. Returns `None` if another node registered a change of the history
    /// meanwhile. The next attempt reads that node's row.
    async fn try_newest(
        &self,
        options: &str,
        listener: Option<Arc<SessionListener>>,
    ) -> Done<Option<Session>> {
        let inspected = self.inspect_all(options, listener);
        let ((mut opened, mut failures), ()) = tokio::join!(inspected, self.0.memory.ask_peers());
        if opened.is_empty() {
            // No primary answers, so the recorded state of the standbys may be outdated.
            self.set_missing_standbys(None);
        }
        opened.sort_by_key(|opened| opened.found.seen.age_key());
        while let Some(newest) = opened.pop() {
            let host = newest.host;
            match self.accept(newest).await {
                Ok(Some(session)) => {
                    self.0.used.store(true, Ordering::Release);
                    self.0.current.store(host, Ordering::Release);
                    return Ok(Some(session));
                }
                Ok(None) => return Ok(None),
                // A refusal is more useful to the operator than other failures, so the refusal
                // comes first.
                Err(refused @ Failure::Refused(_)) => failures.insert(0, (host, refused)),
                Err(failure) => failures.push((host, failure)),
            }
        }
        Err(self.combine(failures))
    }

    /// Connects to all hosts at once, and returns the opened sessions and the failures. After the
    /// first answer, waits for the other hosts for a limited time.
    async fn inspect_all(
        &self,
        options: &str,
        listener: Option<Arc<SessionListener>>,
    ) -> (Vec<Opened>, Vec<(usize, Failure)>) {
        let (mut opened, mut failures, mut until) = (Vec::new(), Vec::new(), None);
        let connect = |host| {
            let connecting = self.connect(host, options, listener.clone());
            async move { connecting.await.map_err(|error| (host, error)) }
        };
        let mut connecting: FuturesUnordered<_> = (0..self.0.hosts.len()).map(connect).collect();
        loop {
            let next = match until {
                None => connecting.next().await,
                Some(until) => timeout_at(until, connecting.next()).await.unwrap_or(None),
            };
            match next {
                Some(Ok(found)) => {
                    // A process that has used no database yet waits until every host has answered
                    // or timed out.
                    let wait = match self.0.used.load(Ordering::Acquire) {
                        true => PG_OTHER_HOSTS_WAIT,
                        false => PG_CONNECT_WAIT,
                    };
                    until = until.or(Some(tokio::time::Instant::now() + wait));
                    opened.push(found);
                }
                Some(Err(failure)) => failures.push(failure),
                None => return (opened, failures),
            }
        }
    }

    /// Decides whether a database may be used. If its history has changed, registers the change,
    /// except for [`ConnectorUse::Read`]. Returns `None` if another node has already registered the
    /// change, or if this node has meanwhile learned of a newer history.
    async fn accept(&self, opened: Opened) -> Done<Option<Session>> {
        let known = opened.known(&self.0.memory);
        match decide(known.as_ref(), &opened.found.seen) {
            DatabaseDecision::OlderCopy => return Err(self.refusal_of_copy(opened.host)),
            DatabaseDecision::Older | DatabaseDecision::Forked => {
                return Err(self.refusal(opened.host, &opened.found, known));
            }
            DatabaseDecision::Register(_) if self.0.purpose == ConnectorUse::Read => {}
            DatabaseDecision::Register(_) => {
                let Opened { session: (client, driver), found, .. } = opened;
                let client = self.register(client, known, &found).await?;
                return Ok(client.map(|client| (client, driver)));
            }
            DatabaseDecision::Accept => {
                let Opened { session: (client, _), found, .. } = &opened;
                if self.0.used.load(Ordering::Acquire) && found.has_commit_check {
                    // If standbys are missing, the commit check below would wait. This call comes
                    // first, so that the operator learns why.
                    self.expect_standbys(client).await?;
                    let check = inspect_database::commit_check(client, self.0.slot);
                    let checked = timeout(PG_ANSWER_WAIT, check).await;
                    self.learn_position(checked.unwrap_or(Err(Failure::TimedOut))?);
                    // During the check, another node may have registered a newer history.
                    if !self.accepts(&opened) {
                        return Ok(None);
                    }
                }
                self.learn(found, found.seen.newest());
            }
        }
        Ok(Some(opened.session))
    }

    fn accepts(&self, opened: &Opened) -> bool {
        let known = opened.known(&self.0.memory);
        decide(known.as_ref(), &opened.found.seen) == DatabaseDecision::Accept
    }

    /// Returns an error if commits on this connection would wait for missing standbys.
    async fn expect_standbys(&self, client: &Client) -> Done<()> {
        let inspected = timeout(PG_CONNECT_WAIT, standbys::inspect(client)).await;
        let found = inspected.unwrap_or(Err(Failure::TimedOut))?;
        let lacking = Some(found).filter(Replication::lacks_standbys);
        let failure = lacking.as_ref().map(standbys::missing_text);
        self.set_missing_standbys(lacking);
        failure.map_or(Ok(()), |text| Err(Failure::NoConnection(text)))
    }

    fn set_missing_standbys(&self, found: Option<Replication>) {
        *self.0.missing_standbys.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    pub(super) fn missing_standbys(&self) -> Option<Replication> {
        self.0.missing_standbys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Registers a change of the history in a separate task. If the caller stops waiting, this task
    /// still ends the transaction. Otherwise, the transaction would stay open, and would keep its
    /// lock. Returns `None` if the registered history is not the newest known history.
    async fn register(
        &self,
        client: Client,
        known: Option<DatabaseHistory>,
        found: &Inspected,
    ) -> Done<Option<Client>> {
        let (connector, found) = (self.clone(), found.clone());
        let registered = tokio::spawn(async move {
            let was_synchronous = connector.0.was_synchronous.load(Ordering::Acquire);
            let seen = &found.seen;
            let pauses = |change| must_pause(change, was_synchronous, known.as_ref(), seen);
            let register = inspect_database::register(&client, known.as_ref(), pauses);
            let row = timeout(PG_ANSWER_WAIT, register).await.unwrap_or(Err(Failure::TimedOut))?;
            let Some((change, row)) = row else { return Ok(None) };
            tracing::warn!(
                fence = row.fence,
                timeline = row.timeline,
                ?change,
                was_synchronous,
                event = "database.registered",
                "the database has a new primary or a new cluster; recorded the change"
            );
            connector.learn(&found, Some(&row));
            let newest = connector.0.memory.known_history(found.deployment.as_deref());
            Ok(newest.is_none_or(|newest| newest.token == row.token).then_some(client))
        });
        registered.await.unwrap_or_else(|error| Err(Failure::Panicked(error.to_string())))
    }

    pub(super) fn learn_position(&self, position: Option<(String, i64)>) {
        if let Some((token, position)) = position {
            self.0.memory.learn_position(&token, position);
        }
    }

    fn learn(&self, found: &Inspected, row: Option<&DatabaseHistory>) {
        if let Some((deployment, row)) = found.deployment.as_ref().zip(row) {
            self.0.memory.learn(deployment, row);
        }
    }

    /// Connects to one host and inspects its database.
    async fn connect(
        &self,
        host: usize,
        options: &str,
        listener: Option<Arc<SessionListener>>,
    ) -> Done<Opened> {
        let Address { mut config, tls } = self.0.hosts[host].address.clone();
        let positions = self.0.memory.positions();
        let all = format!("{}{options}", config.get_options().unwrap_or_default());
        config.options(all);
        let connect = async {
            let (client, connection) = config.connect(tls).await?;
            let connector = Arc::downgrade(&self.0);
            let driver = tokio::spawn(drive(connection, listener, connector));
            match inspect_database::inspect(&client).await? {
                Some(found) => Ok(Opened { host, session: (client, driver), found, positions }),
                None => Err(Failure::NoConnection(
                    "this PostgreSQL is a standby and accepts no writes: set store.url to the \
                     primary"
                        .to_owned(),
                )),
            }
        };
        let opened = timeout(PG_CONNECT_WAIT, connect).await.unwrap_or(Err(Failure::TimedOut));
        if opened.is_err() && self.0.current.load(Ordering::Acquire) == host {
            self.distrust_host();
        }
        opened
    }
}

//! Where WebSockets sleep to which nothing happens. Of each its connection and its feed are kept,
//! and a task looks after thousands of them: it hears who says something, tells what a connection
//! takes at once, and pings. For anything else a sleeper is woken, and has a task of its own again.
//!
//! The task waits for nothing that is about one sleeper or one sale: a status that takes time to be
//! made is made beside it.
//!
//! A sleeper has a key, which no other ever has here: what was rung or heard for one who left
//! meanwhile is nobody's.

mod closing;
mod poller;
mod slots;

pub(super) use slots::IdleSlot;
pub(crate) use slots::IdleSlots;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet, yield_now};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::feed::{NextMessage, PendingStatus};
use super::frame::{PING, PONG_BYTES, are_pongs, write_text_frame};
use super::websocket::{WakeReason, WebSocketReader, resume};
use crate::metrics::GaugeGuard;
use crate::notify::{ReadyQueue, ReadyReaders};
use crate::web::App;
use crate::web::limits::{IDLE_BATCH_MAX, IDLE_EVENTS_MAX, IDLE_RETRY_AFTER};
use poller::Poller;

/// What is read at once of what a sleeper says: more than one that is well ever says.
const READ_BYTES: usize = 10 * PONG_BYTES;

/// A WebSocket that sleeps.
pub(super) struct IdleConnection {
    stream: TcpStream,
    reader: WebSocketReader,
    _idle_guard: Option<GaugeGuard>,
}

impl IdleConnection {
    /// One whose connection never waits.
    pub(super) fn new(stream: TcpStream, reader: WebSocketReader) -> Self {
        Self { stream, reader, _idle_guard: None }
    }

    /// Sends what the connection takes at once; how many bytes.
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.stream).write(bytes) {
            Err(error) if is_would_block(&error) => Ok(0),
            written => written,
        }
    }
}

/// Whether nothing is wrong, only nothing there, or no room.
fn is_would_block(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// One task's sleepers.
struct IdleConnections {
    app: Arc<App>,
    poller: Poller,
    /// Rung with the key of a sleeper for whom something waits.
    ready_queue: Arc<ReadyQueue>,
    /// For whom it was rung, to be told in turn: first those for whom something of their own waits.
    called: VecDeque<u64>,
    /// Then those for whom something waits that a crowd hears.
    crowd: VecDeque<u64>,
    /// Makes statuses, each in a task.
    making: JoinSet<()>,
    /// Of which sale each of these is.
    made: HashMap<Id, Arc<str>>,
    /// Who hears nothing before the status of a sale was made, and whether something of their own
    /// waits behind it.
    waiting: HashMap<Arc<str>, HashMap<u64, bool>>,
    connections: HashMap<u64, Box<IdleConnection>>,
    /// When each sleeper is to be pinged.
    pings: BTreeSet<(Instant, u64)>,
    /// The key of the next newcomer.
    next: u64,
    /// Room for what is being told.
    frame: Vec<u8>,
    /// When it last said that the kernel has no room.
    complained_at: Option<Instant>,
}

impl IdleConnections {
    fn new(app: Arc<App>, poller: Poller) -> Self {
        Self {
            app,
            poller,
            ready_queue: Arc::default(),
            called: VecDeque::new(),
            crowd: VecDeque::new(),
            making: JoinSet::new(),
            made: HashMap::new(),
            waiting: HashMap::new(),
            connections: HashMap::new(),
            pings: BTreeSet::new(),
            next: 0,
            frame: Vec::new(),
            complained_at: None,
        }
    }

    /// Looks after its sleepers until the server stops; then all are told so.
    async fn run(
        mut self,
        newcomers: &mut mpsc::Receiver<Box<IdleConnection>>,
        cut: &CancellationToken,
    ) {
        let app = self.app.clone();
        let mut blocks = app.gate.blocks.changes();
        loop {
            let due = self.pings.first().map(|&(due, _)| due);
            let is_called = !(self.called.is_empty() && self.crowd.is_empty());
            tokio::select! {
                () = app.stop.cancelled() => return self.close(newcomers, cut).await,
                // The sender lives as long as the server.
                _ = blocks.changed() => self.wake_blocked().await,
                rung = self.ready_queue.wait_ready() => self.queue_ready(rung),
                () = std::future::ready(()), if is_called => self.send_batch(),
                Some(made) = self.making.join_next_with_id() => self.resume_waiting(made),
                readable = self.poller.readable_keys() => match readable {
                    Ok(keys) => keys.into_iter().for_each(|key| self.read_input(key)),
                    Err(error) => {
                        tracing::warn!(%error, "sleeping WebSockets cannot be heard and are woken");
                        return self.wake_everyone(newcomers).await;
                    }
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.ping_due(),
                Some(idle) = newcomers.recv() => self.admit_batch(idle, newcomers),
            }
            // However many sleep here, whoever is awake has a turn.
            yield_now().await;
        }
    }

    /// Wakes everybody, and nobody sleeps here any more.
    async fn wake_everyone(mut self, newcomers: &mut mpsc::Receiver<Box<IdleConnection>>) {
        newcomers.close();
        // Whoever has a bed comes still.
        while let Some(idle) = newcomers.recv().await {
            resume(idle.stream, idle.reader, WakeReason::Recheck);
        }
        for (at, key) in self.keys().into_iter().enumerate() {
            if at.is_multiple_of(IDLE_BATCH_MAX) {
                yield_now().await;
            }
            self.resume(key, WakeReason::Recheck);
        }
    }

    fn keys(&self) -> Vec<u64> {
        self.connections.keys().copied().collect()
    }

    fn admit_batch(
        &mut self,
        first: Box<IdleConnection>,
        others: &mut mpsc::Receiver<Box<IdleConnection>>,
    ) {
        self.admit(first);
        for _ in 1..IDLE_BATCH_MAX {
            let Ok(idle) = others.try_recv() else { return };
            self.admit(idle);
        }
    }

    /// Lets a newcomer sleep. What came for it since it lay down is told first.
    fn admit(&mut self, idle: Box<IdleConnection>) {
        let Some(key) = self.register(idle) else { return };
        let is_turned_away =
            self.connections.get_mut(&key).is_some_and(|it| it.reader.feed.is_newly_blocked());
        match is_turned_away {
            true => self.resume(key, WakeReason::TurnedAway),
            false => self.send_waiting(key, false),
        }
    }

    /// Gives a newcomer its bed and its key. `None`: the kernel has no room to listen to it, and it
    /// is awake again.
    fn register(&mut self, mut idle: Box<IdleConnection>) -> Option<u64> {
        let key = self.next;
        self.next += 1;
        if let Err(error) = self.poller.add(&idle.stream, key) {
            if self.complained_at.is_none_or(|at| at.elapsed() >= IDLE_RETRY_AFTER) {
                tracing::warn!(%error, "WebSockets to which nothing happens cannot be put to sleep");
                self.complained_at = Some(Instant::now());
            }
            resume(idle.stream, idle.reader, WakeReason::CannotIdle);
            return None;
        }
        idle._idle_guard = Some(self.app.metrics.idle_sockets.hold());
        self.pings.insert((idle.reader.ping_at, key));
        self.connections.insert(key, idle);
        Some(key)
    }

    /// Takes a sleeper out of its bed.
    fn remove_connection(&mut self, key: u64) -> Option<(TcpStream, WebSocketReader)> {
        let idle = *self.connections.remove(&key)?;
        let IdleConnection { stream, mut reader, .. } = idle;
        self.pings.remove(&(reader.ping_at, key));
        reader.feed.unpark();
        self.poller.remove(&stream);
        Some((stream, reader))
    }

    fn resume(&mut self, key: u64, why: WakeReason) {
        if let Some((stream, reader)) = self.remove_connection(key) {
            resume(stream, reader, why);
        }
    }

    /// Wakes whom operators turn away.
    async fn wake_blocked(&mut self) {
        for (at, key) in self.keys().into_iter().enumerate() {
            if at.is_multiple_of(IDLE_BATCH_MAX) {
                yield_now().await;
            }
            if self
                .connections
                .get_mut(&key)
                .is_some_and(|idle| idle.reader.feed.is_newly_blocked())
            {
                self.resume(key, WakeReason::TurnedAway);
            }
        }
    }

    fn queue_ready(&mut self, rung: ReadyReaders) {
        self.called.extend(rung.own);
        self.crowd.extend(rung.crowd);
    }

    fn send_batch(&mut self) {
        for _ in 0..IDLE_BATCH_MAX {
            let own = self.called.pop_front().map(|key| (key, true));
            let Some((key, is_own)) = own.or_else(|| Some((self.crowd.pop_front()?, false))) else {
                // With the room that a crowd had.
                (self.called, self.crowd) = (VecDeque::new(), VecDeque::new());
                return;
            };
            self.send_waiting(key, is_own);
        }
    }

    /// Tells a sleeper what waits for it. A fault ends that sleeper, as it would end one in a task
    /// of its own, and nobody else.
    fn send_waiting(&mut self, key: u64, is_own: bool) {
        if catch_unwind(AssertUnwindSafe(|| self.send_events(key, is_own))).is_err() {
            drop(self.remove_connection(key));
        }
    }

    /// It sleeps on if its connection takes all, and there is not too much.
    fn send_events(&mut self, key: u64, is_own: bool) {
        let Some(idle) = self.connections.get_mut(&key) else { return };
        for _ in 0..IDLE_EVENTS_MAX {
            let json = match idle.reader.feed.next_or_park(&self.ready_queue, key) {
                None => return,
                Some(NextMessage::Json(json)) => json,
                Some(NextMessage::NotYet(status)) => {
                    return self.wait_for_status(status, key, is_own);
                }
                Some(NextMessage::TooSlow) => break,
            };
            self.frame.clear();
            write_text_frame(&json, &mut self.frame);
            match idle.send(&self.frame) {
                Ok(written) if written == self.frame.len() => {}
                Ok(written) => {
                    let unsent = self.frame[written..].to_vec();
                    return self.resume(key, WakeReason::Unsent(unsent));
                }
                Err(_) => return drop(self.remove_connection(key)),
            }
        }
        self.resume(key, WakeReason::Recheck);
    }

    /// Has a status made, unless one of that sale is being made, and a sleeper told once it is.
    /// Should it be one that is older than the sleeper's, the next is made then.
    fn wait_for_status(&mut self, status: PendingStatus, key: u64, is_own: bool) {
        let name = status.name.clone();
        if !self.waiting.contains_key(&name) {
            let app = self.app.clone();
            let task = self.making.spawn(async move {
                status.render_status(&app).await;
            });
            self.made.insert(task.id(), name.clone());
        }
        *self.waiting.entry(name).or_default().entry(key).or_default() |= is_own;
    }

    /// Goes on with those who waited for a status that was made.
    fn resume_waiting(&mut self, made: Result<(Id, ()), JoinError>) {
        let (id, is_made) = match made {
            Ok((id, ())) => (id, true),
            // A fault, which ends whoever follows that sale, as it would end them in tasks of their
            // own.
            Err(error) => (error.id(), false),
        };
        let waited = self.made.remove(&id).and_then(|name| self.waiting.remove(&name));
        for (key, is_own) in waited.into_iter().flatten() {
            match (is_made, is_own) {
                (false, _) => drop(self.remove_connection(key)),
                (true, true) => self.called.push_back(key),
                (true, false) => self.crowd.push_back(key),
            }
        }
    }

    /// Hears what a sleeper says. It sleeps on if that is only that it is there.
    fn read_input(&mut self, key: u64) {
        let Some(idle) = self.connections.get_mut(&key) else { return };
        let mut bytes = [0; READ_BYTES];
        match (&idle.stream).read(&mut bytes) {
            // Whoever says no farewell is told none.
            Ok(0) => drop(self.remove_connection(key)),
            // One who says more than that does not let others sleep.
            Ok(read) if read < READ_BYTES && are_pongs(&bytes[..read]) => {
                idle.reader.unanswered = 0
            }
            Ok(read) => self.resume(key, WakeReason::FeedEvent(bytes[..read].to_vec())),
            Err(error) if is_would_block(&error) => {}
            Err(_) => drop(self.remove_connection(key)),
        }
    }

    fn ping_due(&mut self) {
        let now = Instant::now();
        for _ in 0..IDLE_BATCH_MAX {
            match self.pings.first() {
                Some(&(due, key)) if due <= now => self.ping(key, now),
                _ => return,
            }
        }
    }

    /// Pings the sleeper that is the first to be pinged, or lets it go if it has answered none for
    /// long.
    fn ping(&mut self, key: u64, now: Instant) {
        let ping_policy = self.app.ping_policy;
        if self
            .connections
            .get(&key)
            .is_some_and(|idle| idle.reader.unanswered >= ping_policy.pings_max)
        {
            // It may have, just now.
            self.read_input(key);
        }
        // Whoever was woken by that is pinged by its task.
        let Some(idle) = self.connections.get_mut(&key) else { return };
        if idle.reader.unanswered >= ping_policy.pings_max {
            return drop(self.remove_connection(key));
        }
        self.pings.remove(&(idle.reader.ping_at, key));
        idle.reader.ping_at = now + ping_policy.ping_every;
        self.pings.insert((idle.reader.ping_at, key));
        idle.reader.unanswered += 1;
        match idle.send(&PING) {
            Ok(written) if written == PING.len() => {}
            Ok(written) => self.resume(key, WakeReason::Unsent(PING[written..].to_vec())),
            Err(_) => drop(self.remove_connection(key)),
        }
    }
}

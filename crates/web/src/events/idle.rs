//! Serves idle WebSocket connections. A shared task serves thousands of them: it reads pongs,
//! writes events if the socket accepts them at once, and sends pings. If a connection needs
//! anything else, the connection becomes active: it gets a task of its own.
//!
//! The shared task never waits for one connection or for one sale's status. Separate tasks render
//! the statuses.
//!
//! Each connection gets a key that no other connection had. So events and input for a closed
//! connection never reach another connection.

mod closing;
mod poller;
mod slots;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::Read;
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use doorbuster_engine::notify::{ReadyQueue, ReadyReaders};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet, yield_now};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::feed::{NextMessage, PendingStatus};
use super::frame::{PING, PONG_BYTES, are_pongs, write_text_frame};
use super::idle_connection::{IdleConnection, WebSocketReader, is_would_block};
use super::websocket::{WakeReason, resume};
use crate::App;
use crate::limits::{IDLE_BATCH_MAX, IDLE_EVENTS_MAX, IDLE_RETRY_AFTER};
use poller::Poller;

/// The size of one read. Usually a client sends only a few pongs, which fit into one read.
const READ_BYTES: usize = 10 * PONG_BYTES;

struct IdleConnections {
    app: Arc<App>,
    poller: Poller,
    /// The hub puts the key of each connection with a waiting event into this queue.
    ready_queue: Arc<ReadyQueue>,
    /// The connections that have a waiting event for their buyer alone. The task serves them first.
    for_one_buyer: VecDeque<u64>,
    /// The connections that have a waiting event for all readers of a sale. The task serves them
    /// last.
    for_all_readers: VecDeque<u64>,
    rendering: JoinSet<()>,
    /// The sale of each task in `rendering`.
    rendered_sales: HashMap<Id, Arc<str>>,
    /// For each sale, the connections that wait for its status. The flag of a connection is `true`
    /// if an event for its buyer alone may also wait.
    waiting: HashMap<Arc<str>, HashMap<u64, bool>>,
    connections: HashMap<u64, Box<IdleConnection>>,
    pings: BTreeSet<(Instant, u64)>,
    next: u64,
    frame: Vec<u8>,
    /// When the last warning about a failed registration of a connection was logged. Limits the
    /// number of such warnings.
    complained_at: Option<Instant>,
}

impl IdleConnections {
    fn new(app: Arc<App>, poller: Poller) -> Self {
        Self {
            app,
            poller,
            ready_queue: Arc::default(),
            for_one_buyer: VecDeque::new(),
            for_all_readers: VecDeque::new(),
            rendering: JoinSet::new(),
            rendered_sales: HashMap::new(),
            waiting: HashMap::new(),
            connections: HashMap::new(),
            pings: BTreeSet::new(),
            next: 0,
            frame: Vec::new(),
            complained_at: None,
        }
    }

    async fn run(
        mut self,
        newcomers: &mut mpsc::Receiver<Box<IdleConnection>>,
        cut: &CancellationToken,
    ) {
        let app = self.app.clone();
        let mut blocks = app.gate.blocks.changes();
        loop {
            let due = self.pings.first().map(|&(due, _)| due);
            let has_waiting = !(self.for_one_buyer.is_empty() && self.for_all_readers.is_empty());
            tokio::select! {
                () = app.stop.cancelled() => return self.close(newcomers, cut).await,
                // The sender lives as long as the server, so an error cannot occur.
                _ = blocks.changed() => self.wake_blocked().await,
                ready = self.ready_queue.wait_ready() => self.queue_ready(ready),
                () = std::future::ready(()), if has_waiting => self.send_batch(),
                Some(status) = self.rendering.join_next_with_id() => self.resume_waiting(status),
                readable = self.poller.readable_keys() => match readable {
                    Ok(keys) => keys.into_iter().for_each(|key| self.read_input(key)),
                    Err(error) => {
                        tracing::warn!(
                            %error,
                            event = "stream.poll_failed",
                            "failed to poll idle WebSockets, so each of them gets its own task"
                        );
                        return self.wake_everyone(newcomers).await;
                    }
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.ping_due()
                }
                Some(idle) = newcomers.recv() => self.admit_batch(idle, newcomers),
            }
            // Lets other tasks run, even if this task has very many connections.
            yield_now().await;
        }
    }

    async fn wake_everyone(mut self, newcomers: &mut mpsc::Receiver<Box<IdleConnection>>) {
        newcomers.close();
        // A connection that reserved its place in the channel before `close` still arrives.
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

    /// Adds a connection that has become idle. Sends the events that arrived after the connection
    /// had reserved its slot.
    fn admit(&mut self, idle: Box<IdleConnection>) {
        let Some(key) = self.register(idle) else { return };
        let is_turned_away =
            self.connections.get_mut(&key).is_some_and(|it| it.reader.feed.is_newly_blocked());
        match is_turned_away {
            true => self.resume(key, WakeReason::TurnedAway),
            false => self.send_waiting(key, false),
        }
    }

    /// Adds a connection to the poller and returns its key. If this fails, makes the connection
    /// active and returns `None`.
    fn register(&mut self, mut idle: Box<IdleConnection>) -> Option<u64> {
        let key = self.next;
        self.next += 1;
        if let Err(error) = self.poller.add(&idle.stream, key) {
            if self.complained_at.is_none_or(|at| at.elapsed() >= IDLE_RETRY_AFTER) {
                tracing::warn!(
                    %error,
                    event = "stream.register_failed",
                    "failed to register an idle WebSocket, so this WebSocket keeps its own task"
                );
                self.complained_at = Some(Instant::now());
            }
            resume(idle.stream, idle.reader, WakeReason::CannotIdle);
            return None;
        }
        idle._idle_guard = Some(self.app.metrics.idle_sockets.hold());
        idle.reader.ping_at = idle.reader.ping_at.min(idle.reader.feed.ends_at());
        self.pings.insert((idle.reader.ping_at, key));
        self.connections.insert(key, idle);
        Some(key)
    }

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

    /// Makes the connections of blocked buyers active, so that their own tasks close them.
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

    fn queue_ready(&mut self, ready: ReadyReaders) {
        self.for_one_buyer.extend(ready.own);
        self.for_all_readers.extend(ready.crowd);
    }

    fn send_batch(&mut self) {
        for _ in 0..IDLE_BATCH_MAX {
            let own = self.for_one_buyer.pop_front().map(|key| (key, true));
            let Some((key, is_own)) =
                own.or_else(|| Some((self.for_all_readers.pop_front()?, false)))
            else {
                // A burst of events may have made these queues large, so their memory is released.
                (self.for_one_buyer, self.for_all_readers) = (VecDeque::new(), VecDeque::new());
                return;
            };
            self.send_waiting(key, is_own);
        }
    }

    /// Sends the waiting events of a connection. A panic during this work ends only this
    /// connection.
    fn send_waiting(&mut self, key: u64, is_own: bool) {
        if catch_unwind(AssertUnwindSafe(|| self.send_events(key, is_own))).is_err() {
            drop(self.remove_connection(key));
        }
    }

    /// Sends the waiting events. If only a few events wait and the socket accepts them at once, the
    /// connection stays idle.
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

    /// Lets the connection wait for a sale's status. If no task renders this status yet, starts
    /// such a task. If the rendered status turns out to be older than this connection's event, the
    /// connection waits again.
    fn wait_for_status(&mut self, status: PendingStatus, key: u64, is_own: bool) {
        let name = status.name.clone();
        if !self.waiting.contains_key(&name) {
            let app = self.app.clone();
            let task = self.rendering.spawn(async move {
                status.render_status(&app).await;
            });
            self.rendered_sales.insert(task.id(), name.clone());
        }
        *self.waiting.entry(name).or_default().entry(key).or_default() |= is_own;
    }

    fn resume_waiting(&mut self, rendered: Result<(Id, ()), JoinError>) {
        let (id, is_rendered) = match rendered {
            Ok((id, ())) => (id, true),
            // The task that renders the status panicked, so the connections that wait for it are
            // closed.
            Err(error) => (error.id(), false),
        };
        let waited = self.rendered_sales.remove(&id).and_then(|name| self.waiting.remove(&name));
        for (key, is_own) in waited.into_iter().flatten() {
            match (is_rendered, is_own) {
                (false, _) => drop(self.remove_connection(key)),
                (true, true) => self.for_one_buyer.push_back(key),
                (true, false) => self.for_all_readers.push_back(key),
            }
        }
    }

    /// Reads a connection's input. The connection stays idle if the input has only pongs. After any
    /// other input, the connection becomes active.
    fn read_input(&mut self, key: u64) {
        let Some(idle) = self.connections.get_mut(&key) else { return };
        let mut bytes = [0; READ_BYTES];
        match (&idle.stream).read(&mut bytes) {
            // The client closed the socket without a close frame, so the server sends no close
            // frame either.
            Ok(0) => drop(self.remove_connection(key)),
            Ok(read) if read < READ_BYTES && are_pongs(&bytes[..read]) => {
                idle.reader.unanswered = 0
            }
            Ok(read) => self.resume(key, WakeReason::Input(bytes[..read].to_vec())),
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

    /// Sends a ping, or closes the connection if the client left too many pings unanswered.
    fn ping(&mut self, key: u64, now: Instant) {
        let ping_policy = self.app.ping_policy;
        if self
            .connections
            .get(&key)
            .is_some_and(|idle| idle.reader.unanswered >= ping_policy.pings_max)
        {
            // A pong may have just arrived, so the input is read before the connection is closed.
            self.read_input(key);
        }
        // The read may have made the connection active. In this case, the connection's own task
        // sends the pings.
        let Some(idle) = self.connections.get_mut(&key) else { return };
        if idle.reader.feed.ends_at() <= now {
            return self.resume(key, WakeReason::Recheck);
        }
        if idle.reader.unanswered >= ping_policy.pings_max {
            return drop(self.remove_connection(key));
        }
        self.pings.remove(&(idle.reader.ping_at, key));
        idle.reader.ping_at = (now + ping_policy.ping_every).min(idle.reader.feed.ends_at());
        self.pings.insert((idle.reader.ping_at, key));
        idle.reader.unanswered += 1;
        match idle.send(&PING) {
            Ok(written) if written == PING.len() => {}
            Ok(written) => self.resume(key, WakeReason::Unsent(PING[written..].to_vec())),
            Err(_) => drop(self.remove_connection(key)),
        }
    }
}

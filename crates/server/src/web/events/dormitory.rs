//! Where WebSockets sleep to which nothing happens. Of each its connection and its feed are kept, and a task looks after thousands of them: it hears who says
//! something, tells what a connection takes at once, and pings. For anything else a sleeper is woken, and has a task of its own again.
//!
//! The task waits for nothing that is about one sleeper or one sale: a status that takes time to be made is made beside it.
//!
//! A sleeper has a key, which no other ever has here: what was rung or heard for one who left meanwhile is nobody's.

mod beds;
mod ears;
mod leaving;

pub(super) use beds::Bed;
pub(crate) use beds::Beds;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet, yield_now};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::feed::{Told, Unmade};
use super::frame::{PING, PONG_BYTES, are_pongs, put_text};
use super::socket::{Reader, Wake, wake};
use crate::metrics::Present;
use crate::notify::{Bell, Rung};
use crate::web::App;
use crate::web::limits::{SLEEPERS_AT_ONCE, SLEEPLESS, TOLD_ASLEEP_MAX};
use ears::Ears;

/// What is read at once of what a sleeper says: more than one that is well ever says.
const HEARD_BYTES: usize = 10 * PONG_BYTES;

/// A WebSocket that sleeps.
pub(super) struct Sleeper {
    stream: TcpStream,
    reader: Reader,
    _asleep: Option<Present>,
}

impl Sleeper {
    /// One whose connection never waits.
    pub(super) fn new(stream: TcpStream, reader: Reader) -> Self {
        Self { stream, reader, _asleep: None }
    }

    /// Sends what the connection takes at once; how many bytes.
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.stream).write(bytes) {
            Err(error) if is_later(&error) => Ok(0),
            written => written,
        }
    }
}

/// Whether nothing is wrong, only nothing there, or no room.
fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// One task's sleepers.
struct Dormitory {
    app: Arc<App>,
    ears: Ears,
    /// Rung with the key of a sleeper for whom something waits.
    bell: Arc<Bell>,
    /// For whom it was rung, to be told in turn: first those for whom something of their own waits.
    called: VecDeque<u64>,
    /// Then those for whom something waits that a crowd hears.
    crowd: VecDeque<u64>,
    /// Makes statuses, each in a task.
    making: JoinSet<()>,
    /// Of which sale each of these is.
    made: HashMap<Id, Arc<str>>,
    /// Who hears nothing before the status of a sale was made, and whether something of their own waits behind it.
    waiting: HashMap<Arc<str>, HashMap<u64, bool>>,
    sleepers: HashMap<u64, Box<Sleeper>>,
    /// When each sleeper is to be pinged.
    pings: BTreeSet<(Instant, u64)>,
    /// The key of the next newcomer.
    next: u64,
    /// Room for what is being told.
    frame: Vec<u8>,
    /// When it last said that the kernel has no room.
    complained_at: Option<Instant>,
}

impl Dormitory {
    fn new(app: Arc<App>, ears: Ears) -> Self {
        Self {
            app,
            ears,
            bell: Arc::default(),
            called: VecDeque::new(),
            crowd: VecDeque::new(),
            making: JoinSet::new(),
            made: HashMap::new(),
            waiting: HashMap::new(),
            sleepers: HashMap::new(),
            pings: BTreeSet::new(),
            next: 0,
            frame: Vec::new(),
            complained_at: None,
        }
    }

    /// Looks after its sleepers until the server stops; then all are told so.
    async fn tend(mut self, newcomers: &mut mpsc::Receiver<Box<Sleeper>>, cut: &CancellationToken) {
        let app = self.app.clone();
        let mut blocks = app.gate.blocks.changes();
        loop {
            let due = self.pings.first().map(|&(due, _)| due);
            let is_called = !(self.called.is_empty() && self.crowd.is_empty());
            tokio::select! {
                () = app.stop.cancelled() => return self.close(newcomers, cut).await,
                // The sender lives as long as the server.
                _ = blocks.changed() => self.turn_away().await,
                rung = self.bell.rung() => self.call(rung),
                () = std::future::ready(()), if is_called => self.tell_some(),
                Some(made) = self.making.join_next_with_id() => self.go_on(made),
                spoke = self.ears.speakers() => match spoke {
                    Ok(keys) => keys.into_iter().for_each(|key| self.hear(key)),
                    Err(error) => {
                        tracing::warn!(%error, "sleeping WebSockets cannot be heard and are woken");
                        return self.wake_all(newcomers).await;
                    }
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.ping_some(),
                Some(sleeper) = newcomers.recv() => self.admit_some(sleeper, newcomers),
            }
            // However many sleep here, whoever is awake has a turn.
            yield_now().await;
        }
    }

    /// Wakes everybody, and nobody sleeps here any more.
    async fn wake_all(mut self, newcomers: &mut mpsc::Receiver<Box<Sleeper>>) {
        newcomers.close();
        // Whoever has a bed comes still.
        while let Some(sleeper) = newcomers.recv().await {
            wake(sleeper.stream, sleeper.reader, Wake::Look);
        }
        for (at, key) in self.keys().into_iter().enumerate() {
            if at.is_multiple_of(SLEEPERS_AT_ONCE) {
                yield_now().await;
            }
            self.wake(key, Wake::Look);
        }
    }

    fn keys(&self) -> Vec<u64> {
        self.sleepers.keys().copied().collect()
    }

    fn admit_some(&mut self, first: Box<Sleeper>, others: &mut mpsc::Receiver<Box<Sleeper>>) {
        self.admit(first);
        for _ in 1..SLEEPERS_AT_ONCE {
            let Ok(sleeper) = others.try_recv() else { return };
            self.admit(sleeper);
        }
    }

    /// Lets a newcomer sleep. What came for it since it lay down is told first.
    fn admit(&mut self, sleeper: Box<Sleeper>) {
        let Some(key) = self.lay_down(sleeper) else { return };
        let is_turned_away =
            self.sleepers.get_mut(&key).is_some_and(|it| it.reader.feed.is_turned_away());
        match is_turned_away {
            true => self.wake(key, Wake::TurnedAway),
            false => self.tell(key, false),
        }
    }

    /// Gives a newcomer its bed and its key. `None`: the kernel has no room to listen to it, and it is awake again.
    fn lay_down(&mut self, mut sleeper: Box<Sleeper>) -> Option<u64> {
        let key = self.next;
        self.next += 1;
        if let Err(error) = self.ears.add(&sleeper.stream, key) {
            if self.complained_at.is_none_or(|at| at.elapsed() >= SLEEPLESS) {
                tracing::warn!(%error, "WebSockets to which nothing happens cannot be put to sleep");
                self.complained_at = Some(Instant::now());
            }
            wake(sleeper.stream, sleeper.reader, Wake::Sleepless);
            return None;
        }
        sleeper._asleep = Some(self.app.metrics.asleep.enter());
        self.pings.insert((sleeper.reader.ping_at, key));
        self.sleepers.insert(key, sleeper);
        Some(key)
    }

    /// Takes a sleeper out of its bed.
    fn take(&mut self, key: u64) -> Option<(TcpStream, Reader)> {
        let sleeper = *self.sleepers.remove(&key)?;
        let Sleeper { stream, mut reader, .. } = sleeper;
        self.pings.remove(&(reader.ping_at, key));
        reader.feed.rouse();
        self.ears.remove(&stream);
        Some((stream, reader))
    }

    fn wake(&mut self, key: u64, why: Wake) {
        if let Some((stream, reader)) = self.take(key) {
            wake(stream, reader, why);
        }
    }

    /// Wakes whom operators turn away.
    async fn turn_away(&mut self) {
        for (at, key) in self.keys().into_iter().enumerate() {
            if at.is_multiple_of(SLEEPERS_AT_ONCE) {
                yield_now().await;
            }
            if self
                .sleepers
                .get_mut(&key)
                .is_some_and(|sleeper| sleeper.reader.feed.is_turned_away())
            {
                self.wake(key, Wake::TurnedAway);
            }
        }
    }

    fn call(&mut self, rung: Rung) {
        self.called.extend(rung.own);
        self.crowd.extend(rung.crowd);
    }

    fn tell_some(&mut self) {
        for _ in 0..SLEEPERS_AT_ONCE {
            let own = self.called.pop_front().map(|key| (key, true));
            let Some((key, is_own)) = own.or_else(|| Some((self.crowd.pop_front()?, false))) else {
                // With the room that a crowd had.
                (self.called, self.crowd) = (VecDeque::new(), VecDeque::new());
                return;
            };
            self.tell(key, is_own);
        }
    }

    /// Tells a sleeper what waits for it. A fault ends that sleeper, as it would end one in a task of its own, and nobody else.
    fn tell(&mut self, key: u64, is_own: bool) {
        if catch_unwind(AssertUnwindSafe(|| self.tell_all(key, is_own))).is_err() {
            drop(self.take(key));
        }
    }

    /// It sleeps on if its connection takes all, and there is not too much.
    fn tell_all(&mut self, key: u64, is_own: bool) {
        let Some(sleeper) = self.sleepers.get_mut(&key) else { return };
        for _ in 0..TOLD_ASLEEP_MAX {
            let json = match sleeper.reader.feed.rest(&self.bell, key) {
                None => return,
                Some(Told::Json(json)) => json,
                Some(Told::NotYet(status)) => return self.wait_for(status, key, is_own),
                Some(Told::TooSlow) => break,
            };
            self.frame.clear();
            put_text(&json, &mut self.frame);
            match sleeper.send(&self.frame) {
                Ok(written) if written == self.frame.len() => {}
                Ok(written) => {
                    let unsent = self.frame[written..].to_vec();
                    return self.wake(key, Wake::Unsent(unsent));
                }
                Err(_) => return drop(self.take(key)),
            }
        }
        self.wake(key, Wake::Look);
    }

    /// Has a status made, unless one of that sale is being made, and a sleeper told once it is. Should it be one that is older than the sleeper's, the next is
    /// made then.
    fn wait_for(&mut self, status: Unmade, key: u64, is_own: bool) {
        let name = status.name.clone();
        if !self.waiting.contains_key(&name) {
            let app = self.app.clone();
            let task = self.making.spawn(async move {
                status.make(&app).await;
            });
            self.made.insert(task.id(), name.clone());
        }
        *self.waiting.entry(name).or_default().entry(key).or_default() |= is_own;
    }

    /// Goes on with those who waited for a status that was made.
    fn go_on(&mut self, made: Result<(Id, ()), JoinError>) {
        let (id, is_made) = match made {
            Ok((id, ())) => (id, true),
            // A fault, which ends whoever follows that sale, as it would end them in tasks of their own.
            Err(error) => (error.id(), false),
        };
        let waited = self.made.remove(&id).and_then(|name| self.waiting.remove(&name));
        for (key, is_own) in waited.into_iter().flatten() {
            match (is_made, is_own) {
                (false, _) => drop(self.take(key)),
                (true, true) => self.called.push_back(key),
                (true, false) => self.crowd.push_back(key),
            }
        }
    }

    /// Hears what a sleeper says. It sleeps on if that is only that it is there.
    fn hear(&mut self, key: u64) {
        let Some(sleeper) = self.sleepers.get_mut(&key) else { return };
        let mut bytes = [0; HEARD_BYTES];
        match (&sleeper.stream).read(&mut bytes) {
            // Whoever says no farewell is told none.
            Ok(0) => drop(self.take(key)),
            // One who says more than that does not let others sleep.
            Ok(read) if read < HEARD_BYTES && are_pongs(&bytes[..read]) => {
                sleeper.reader.unanswered = 0
            }
            Ok(read) => self.wake(key, Wake::Heard(bytes[..read].to_vec())),
            Err(error) if is_later(&error) => {}
            Err(_) => drop(self.take(key)),
        }
    }

    fn ping_some(&mut self) {
        let now = Instant::now();
        for _ in 0..SLEEPERS_AT_ONCE {
            match self.pings.first() {
                Some(&(due, key)) if due <= now => self.ping(key, now),
                _ => return,
            }
        }
    }

    /// Pings the sleeper that is the first to be pinged, or lets it go if it has answered none for long.
    fn ping(&mut self, key: u64, now: Instant) {
        let silence = self.app.silence;
        if self
            .sleepers
            .get(&key)
            .is_some_and(|sleeper| sleeper.reader.unanswered >= silence.pings_max)
        {
            // It may have, just now.
            self.hear(key);
        }
        // Whoever was woken by that is pinged by its task.
        let Some(sleeper) = self.sleepers.get_mut(&key) else { return };
        if sleeper.reader.unanswered >= silence.pings_max {
            return drop(self.take(key));
        }
        self.pings.remove(&(sleeper.reader.ping_at, key));
        sleeper.reader.ping_at = now + silence.ping_every;
        self.pings.insert((sleeper.reader.ping_at, key));
        sleeper.reader.unanswered += 1;
        match sleeper.send(&PING) {
            Ok(written) if written == PING.len() => {}
            Ok(written) => self.wake(key, Wake::Unsent(PING[written..].to_vec())),
            Err(_) => drop(self.take(key)),
        }
    }
}

//! Where WebSockets sleep to which nothing happens. Of each its connection and its feed are kept, and a task looks after thousands of them: it hears who says
//! something, tells what a connection takes at once, and pings. For anything else a sleeper is woken, and has a task of its own again.
//!
//! A sleeper has a key, which no other ever has here: what was rung or heard for one who left meanwhile is nobody's.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep_until};

use super::feed::Told;
use super::frame::{PING, PONG_BYTES, are_pongs, put_text};
use super::socket::{Reader, Wake, wake};
use crate::metrics::Present;
use crate::notify::Bell;
use crate::web::App;
use crate::web::limits::{DORMITORIES_MAX, NEWCOMERS_MAX, SLEEPERS_AT_ONCE, TOLD_ASLEEP_MAX};

/// What is read at once of what a sleeper says: more than one that is well ever says.
const HEARD_BYTES: usize = 10 * PONG_BYTES;

/// A place in a dormitory, for one who is about to sleep.
pub(super) type Bed = mpsc::OwnedPermit<Box<Sleeper>>;

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

/// The ways into the dormitories.
pub(crate) struct Beds {
    dormitories: Vec<mpsc::Sender<Box<Sleeper>>>,
    next: AtomicUsize,
}

impl Beds {
    /// Opens dormitories, until the server stops, or `tasks` are gone: then whoever sleeps there is left.
    pub(crate) fn open(app: &Arc<App>, tasks: &mut JoinSet<()>) -> Self {
        let workers = Handle::current().metrics().num_workers();
        let mut dormitories = Vec::new();
        for _ in 0..workers.min(DORMITORIES_MAX) {
            match listen() {
                Ok(epoll) => {
                    let (bed, newcomers) = mpsc::channel(NEWCOMERS_MAX);
                    tasks.spawn(Dormitory::new(app.clone(), epoll).tend(newcomers));
                    dormitories.push(bed);
                }
                Err(error) => tracing::warn!(%error, "WebSockets to which nothing happens cannot be put to sleep"),
            }
        }
        Self { dormitories, next: AtomicUsize::default() }
    }

    /// A bed in one of them, in turn, if it has one and is open.
    pub(super) fn one(&self) -> Option<Bed> {
        let at = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.dormitories.len())?;
        self.dormitories[at].clone().try_reserve_owned().ok()
    }
}

/// Something that wakes this task when any of many connections has something to say.
#[allow(deprecated, reason = "what is said in its place is unsafe, and a file handle that is owned cannot be misused")]
fn listen() -> io::Result<AsyncFd<OwnedFd>> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    AsyncFd::with_interest(epoll, Interest::READABLE)
}

/// The keys of some that have something to say. Nobody has: it would block.
fn speakers(epoll: &OwnedFd) -> io::Result<Vec<u64>> {
    let mut events: Vec<epoll::Event> = Vec::with_capacity(SLEEPERS_AT_ONCE);
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match epoll::wait(epoll, spare_capacity(&mut events), Some(&at_once)) {
        Ok(0) => Err(ErrorKind::WouldBlock.into()),
        Ok(_) => Ok(events.into_iter().map(|event| event.data.u64()).collect()),
        Err(Errno::INTR) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// One task's sleepers.
struct Dormitory {
    app: Arc<App>,
    epoll: AsyncFd<OwnedFd>,
    /// Rung with the key of a sleeper for whom something waits.
    bell: Arc<Bell>,
    /// For whom it was rung, to be told in turn.
    called: VecDeque<u64>,
    sleepers: HashMap<u64, Box<Sleeper>>,
    /// When each sleeper is to be pinged.
    pings: BTreeSet<(Instant, u64)>,
    /// The key of the next newcomer.
    next: u64,
    /// Room for what is being told.
    frame: Vec<u8>,
}

impl Dormitory {
    fn new(app: Arc<App>, epoll: AsyncFd<OwnedFd>) -> Self {
        Self {
            app,
            epoll,
            bell: Arc::default(),
            called: VecDeque::new(),
            sleepers: HashMap::new(),
            pings: BTreeSet::new(),
            next: 0,
            frame: Vec::new(),
        }
    }

    /// Looks after its sleepers until the server stops; then all are woken, to hear of it.
    async fn tend(mut self, mut newcomers: mpsc::Receiver<Box<Sleeper>>) {
        let app = self.app.clone();
        let mut blocks = app.gate.blocks.changes();
        loop {
            let due = self.pings.first().map(|&(due, _)| due);
            tokio::select! {
                () = app.stop.cancelled() => break,
                // The sender lives as long as the server.
                _ = blocks.changed() => self.turn_away().await,
                rung = self.bell.rung() => self.called.extend(rung),
                () = std::future::ready(()), if !self.called.is_empty() => self.tell_some().await,
                spoke = self.epoll.async_io(Interest::READABLE, speakers) => match spoke {
                    Ok(keys) => keys.into_iter().for_each(|key| self.hear(key)),
                    Err(error) => {
                        tracing::warn!(%error, "sleeping WebSockets cannot be heard and are woken");
                        break;
                    }
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.ping_some(),
                Some(sleeper) = newcomers.recv() => self.admit_some(sleeper, &mut newcomers).await,
            }
            // However many sleep here, whoever is awake has a turn.
            yield_now().await;
        }
        // Nobody lies down here any more; whoever has a bed comes still.
        newcomers.close();
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

    async fn admit_some(&mut self, first: Box<Sleeper>, others: &mut mpsc::Receiver<Box<Sleeper>>) {
        self.admit(first).await;
        for _ in 1..SLEEPERS_AT_ONCE {
            let Ok(sleeper) = others.try_recv() else { return };
            self.admit(sleeper).await;
        }
    }

    /// Lets a newcomer sleep. What came for it since it lay down is told first.
    async fn admit(&mut self, mut sleeper: Box<Sleeper>) {
        let key = self.next;
        self.next += 1;
        if self.listen_to(&sleeper.stream, key).is_err() {
            // The kernel has no room for it.
            return wake(sleeper.stream, sleeper.reader, Wake::Look);
        }
        sleeper._asleep = Some(self.app.metrics.asleep.enter());
        let is_turned_away = sleeper.reader.feed.is_turned_away();
        self.pings.insert((sleeper.reader.ping_at, key));
        self.sleepers.insert(key, sleeper);
        match is_turned_away {
            true => self.wake(key, Wake::TurnedAway),
            false => self.tell(key).await,
        }
    }

    /// Has this task woken whenever something is to be heard there, also if it is there already.
    fn listen_to(&self, stream: &TcpStream, key: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        epoll::add(self.epoll.get_ref(), stream, epoll::EventData::new_u64(key), flags).map_err(io::Error::from)
    }

    /// Takes a sleeper out of its bed.
    fn take(&mut self, key: u64) -> Option<(TcpStream, Reader)> {
        let sleeper = *self.sleepers.remove(&key)?;
        let Sleeper { stream, mut reader, .. } = sleeper;
        self.pings.remove(&(reader.ping_at, key));
        reader.feed.rouse();
        // It is there: it was added, and is removed here alone.
        let _ = epoll::delete(self.epoll.get_ref(), &stream);
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
            if self.sleepers.get_mut(&key).is_some_and(|sleeper| sleeper.reader.feed.is_turned_away()) {
                self.wake(key, Wake::TurnedAway);
            }
        }
    }

    async fn tell_some(&mut self) {
        for _ in 0..SLEEPERS_AT_ONCE {
            let Some(key) = self.called.pop_front() else {
                // With the room that a crowd had.
                self.called = VecDeque::new();
                return;
            };
            self.tell(key).await;
        }
    }

    /// Tells a sleeper what waits for it. It sleeps on if its connection takes it, and there is not too much.
    async fn tell(&mut self, key: u64) {
        let Some(sleeper) = self.sleepers.get_mut(&key) else { return };
        for _ in 0..TOLD_ASLEEP_MAX {
            let json = match sleeper.reader.feed.rest(&self.bell, key).await {
                None => return,
                Some(Told::Event(_, json)) => json,
                Some(Told::TooSlow | Told::TurnedAway) => break,
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

    /// Hears what a sleeper says. It sleeps on if that is only that it is there.
    fn hear(&mut self, key: u64) {
        let Some(sleeper) = self.sleepers.get_mut(&key) else { return };
        let mut bytes = [0; HEARD_BYTES];
        match (&sleeper.stream).read(&mut bytes) {
            Ok(read) if are_pongs(&bytes[..read]) => sleeper.reader.unanswered = 0,
            // Also the end of what it says, which its task sees again.
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
        if self.sleepers.get(&key).is_some_and(|sleeper| sleeper.reader.unanswered >= silence.pings_max) {
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

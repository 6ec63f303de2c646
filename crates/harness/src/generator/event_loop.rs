//! The event loop of the load generator. One thread drives many keep-alive connections with one
//! epoll instance. The loop does the IO. A [`Source`], which does no IO, decides what the
//! connections send and what the answers mean.

mod socket;

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};

const EVENTS_MAX: usize = 512;
/// If epoll returned fewer events than this, a loop with a [`LoopOptions::tick`] sleeps for one
/// tick.
const EVENTS_TOGETHER: usize = 64;
const READ_BYTES_MAX: usize = 64 * 1024;
/// The largest size of an incomplete answer, in bytes. If an incomplete answer becomes larger, the
/// loop treats its connection as broken.
const PARTIAL_BYTES_MAX: usize = 512 * 1024;
/// How often the loop looks for connections that take too long to open, and for answers that take
/// too long.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// The loop waits at most this long for an event, and then asks the source whether the run is over.
const WAIT_MAX: Duration = Duration::from_millis(20);

/// Why a request has no answer, or why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No connection could be made.
    Connect,
    /// The connection broke or was closed before the answer was complete.
    Broken,
    /// The answer was not complete in time.
    TimedOut,
    /// Bytes arrived without a request.
    Unexpected,
}

/// What a free connection does next.
#[derive(Debug)]
pub enum Next<R> {
    /// The connection sends the request that the source wrote. The value in this variant identifies
    /// the request: the loop returns it to the source together with the answer.
    Request(R),
    /// No request is due before this time.
    At(Instant),
    /// The source has no request until another answer arrives.
    Nothing,
}

/// What the source found in the bytes that arrived for a request.
#[derive(Debug)]
pub enum Progress<R> {
    /// The answer is not complete. The loop keeps these bytes, and passes them to the source again
    /// together with the bytes that follow.
    Incomplete(R),
    /// A part of an endless answer, such as an event stream. The source has processed these bytes,
    /// so the loop discards them.
    Consumed(R),
    /// The answer is complete, and the connection can send another request.
    Done,
    /// The answer is complete, or the bytes are not an answer. The connection must not send another
    /// request, so the loop closes it.
    DoneAndClosed,
}

/// Decides what the connections send and what the answers mean.
pub trait Source {
    /// The value by which the source recognizes a request when its answer arrives.
    type Request;

    /// Writes the next due request into `out`, which is empty. The loop calls this method only if a
    /// connection is free.
    fn next(&mut self, now: Instant, out: &mut Vec<u8>) -> Next<Self::Request>;

    /// The loop calls this method if no connection is free.
    fn all_busy(&mut self, _now: Instant) {}

    /// Handles the bytes of an answer that have arrived by `now`.
    fn read(
        &mut self,
        request: Self::Request,
        bytes: &mut [u8],
        now: Instant,
    ) -> Progress<Self::Request>;

    /// Called when a connection ended. `request` is the request that waited for an answer on this
    /// connection, if there was one.
    fn failed(&mut self, request: Option<Self::Request>, fault: Fault);

    /// Writes a request that gets a new connection of its own, such as the request for an event
    /// stream. Returns `None` if there is no such request.
    fn extra(&mut self, _out: &mut Vec<u8>) -> Option<Self::Request> {
        None
    }

    /// Returns whether the run is over. `under_way` is the number of requests that wait for an
    /// answer.
    fn is_over(&mut self, now: Instant, under_way: usize) -> bool;
}

/// The settings for a loop's connections.
#[derive(Debug, Clone)]
pub struct LoopOptions {
    /// The addresses of the server. The connections are distributed over them in turn.
    pub addrs: Vec<SocketAddr>,
    /// The number of connections.
    pub connections: usize,
    /// If true, the loop opens each ended connection again.
    pub reopens: bool,
    /// How long an answer may take. After that time, the loop closes the connection. `None` means
    /// no limit.
    pub answer_within: Option<Duration>,
    /// The loop sends all requests that become due within one tick together. Otherwise the
    /// generator and the server would wake up once for each request, which costs more than the
    /// request itself. Zero means that requests are sent at once.
    pub tick: Duration,
}

struct Connection<R> {
    addr: SocketAddr,
    stream: Option<TcpStream>,
    is_connecting: bool,
    /// Whether the connection was opened for a single request of [`Source::extra`].
    is_extra: bool,
    request: Option<R>,
    /// The bytes of an incomplete answer. While a connection with [`Self::is_extra`] is still
    /// opening, these are the bytes of its request, which is not sent yet.
    partial: Vec<u8>,
    /// When the request was sent, or when the connection began to open.
    since: Instant,
    /// How many attempts to open this connection have failed since the last success.
    failures: u32,
}

/// The connections, and the requests under way.
pub struct EventLoop<R> {
    options: LoopOptions,
    epoll: OwnedFd,
    connections: Vec<Connection<R>>,
    free: Vec<u32>,
    /// For each closed connection: the earliest time at which the loop may open it again, and the
    /// connection's number.
    closed: VecDeque<(Instant, u32)>,
    connecting: usize,
    under_way: usize,
    events: Vec<epoll::Event>,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    checked_at: Instant,
}

impl<R> EventLoop<R> {
    /// Creates the loop and tries to open each connection once.
    ///
    /// # Errors
    /// Fails if epoll fails.
    pub fn open<S: Source<Request = R>>(options: LoopOptions, source: &mut S) -> io::Result<Self> {
        let now = Instant::now();
        let addrs = options.addrs.iter().cycle().take(options.connections);
        let mut this = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            connections: addrs.map(|&addr| Connection::closed(addr, now)).collect(),
            free: Vec::with_capacity(options.connections),
            // The number of connections fits a u32: it is far below the largest u32.
            closed: (0..options.connections as u32).map(|number| (now, number)).collect(),
            connecting: 0,
            under_way: 0,
            events: Vec::with_capacity(EVENTS_MAX),
            inbox: vec![0; READ_BYTES_MAX],
            outbox: Vec::with_capacity(1024),
            checked_at: now,
            options,
        };
        let untried = |this: &Self| {
            let mut closed = this.closed.iter();
            this.connecting > 0
                || closed.any(|&(_, number)| this.connections[number as usize].failures == 0)
        };
        while untried(&this) {
            this.maintain(source, Instant::now());
            this.wait(Some(WAIT_MAX))?;
            this.handle_events(source, false);
        }
        // The loop takes the last entry of `free`, so the descending order makes it use connections
        // with low numbers first.
        this.free.sort_unstable_by(|a, b| b.cmp(a));
        Ok(this)
    }

    /// Returns the number of connections that are open and free.
    #[must_use]
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Returns the number of requests that wait for an answer.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Sends and receives until the source says that the run is over.
    ///
    /// # Errors
    /// Fails if epoll fails.
    pub fn run<S: Source<Request = R>>(&mut self, source: &mut S) -> io::Result<()> {
        // The number of events that the last call of epoll returned.
        let mut handled = 0;
        loop {
            let now = Instant::now();
            self.maintain(source, now);
            let next = self.feed(source, now);
            if source.is_over(now, self.under_way) {
                return Ok(());
            }
            let pause = next.map_or(WAIT_MAX, |at| at.saturating_duration_since(now).min(WAIT_MAX));
            let tick = self.options.tick;
            if tick.is_zero() || pause >= tick && self.under_way == 0 {
                self.wait(Some(pause))?;
            } else {
                // Many events in one call mean that the loop is late, so the loop does not sleep.
                if handled < EVENTS_TOGETHER {
                    std::thread::sleep(tick);
                }
                self.wait(None)?;
            }
            handled = self.events.len();
            self.handle_events(source, true);
        }
    }

    /// Sends the due requests. Returns the due time of the next request. Returns `None` if the next
    /// request must wait for an answer or for a free connection.
    fn feed<S: Source<Request = R>>(&mut self, source: &mut S, now: Instant) -> Option<Instant> {
        loop {
            let Some(&number) = self.free.last() else {
                source.all_busy(now);
                return None;
            };
            self.outbox.clear();
            match source.next(now, &mut self.outbox) {
                Next::Request(request) => {
                    self.free.pop();
                    self.send(number, request, source, now);
                }
                Next::At(at) => return Some(at),
                Next::Nothing => return None,
            }
        }
    }

    fn send<S: Source<Request = R>>(
        &mut self,
        number: u32,
        request: R,
        source: &mut S,
        now: Instant,
    ) {
        let connection = &mut self.connections[number as usize];
        connection.request = Some(request);
        connection.since = now;
        self.under_way += 1;
        let sent = connection.stream.as_mut().map(|stream| stream.write(&self.outbox));
        // The connection was free, so its socket buffer is empty and has room for a whole request.
        // If a write is incomplete, something is wrong with the connection.
        if !matches!(sent, Some(Ok(count)) if count == self.outbox.len()) {
            self.fail(number, Fault::Broken, source, now);
        }
    }

    /// Waits for events for at most `pause`. If `pause` is `None`, does not wait, and takes only
    /// the events that have already arrived.
    fn wait(&mut self, pause: Option<Duration>) -> io::Result<()> {
        let pause = pause.unwrap_or_default();
        let timeout =
            Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: pause.subsec_nanos().into() };
        self.events.clear();
        let buffer = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, buffer, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn handle_events<S: Source<Request = R>>(&mut self, source: &mut S, sends: bool) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            let number = event.data.u64() as u32;
            if self.connections[number as usize].is_connecting {
                self.finish_connecting(number, source);
            } else {
                let flags = event.flags;
                let ends = flags.intersects(
                    epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR,
                );
                self.receive(number, ends, source);
            }
            if sends {
                self.feed(source, Instant::now());
            }
        }
        self.events = events;
    }

    /// `ends` is true if the server has closed the connection.
    fn receive<S: Source<Request = R>>(&mut self, number: u32, ends: bool, source: &mut S) {
        loop {
            let connection = &mut self.connections[number as usize];
            let Some(stream) = &mut connection.stream else { return };
            let read = stream.read(&mut self.inbox);
            let now = Instant::now();
            match read {
                Ok(0) => return self.fail(number, Fault::Broken, source, now),
                Ok(count) => {
                    self.handle_bytes(number, count, source, now);
                    // If the bytes do not fill the buffer, no more bytes have arrived.
                    if count < self.inbox.len() && !ends {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.fail(number, Fault::Broken, source, now),
            }
        }
    }

    fn handle_bytes<S: Source<Request = R>>(
        &mut self,
        number: u32,
        count: usize,
        source: &mut S,
        now: Instant,
    ) {
        let connection = &mut self.connections[number as usize];
        let Some(request) = connection.request.take() else {
            return self.fail(number, Fault::Unexpected, source, now);
        };
        let is_whole = connection.partial.is_empty();
        let progress = if is_whole {
            source.read(request, &mut self.inbox[..count], now)
        } else {
            connection.partial.extend_from_slice(&self.inbox[..count]);
            source.read(request, &mut connection.partial, now)
        };
        match progress {
            Progress::Incomplete(request) => {
                connection.request = Some(request);
                if is_whole {
                    connection.partial.extend_from_slice(&self.inbox[..count]);
                }
                if connection.partial.len() > PARTIAL_BYTES_MAX {
                    self.fail(number, Fault::Broken, source, now);
                }
            }
            Progress::Consumed(request) => {
                connection.request = Some(request);
                connection.partial.clear();
            }
            Progress::Done if !connection.is_extra => {
                connection.partial.clear();
                self.under_way -= 1;
                self.free.push(number);
            }
            Progress::Done | Progress::DoneAndClosed => {
                self.under_way -= usize::from(!connection.is_extra);
                self.close(number, now);
            }
        }
    }

    fn fail<S: Source<Request = R>>(
        &mut self,
        number: u32,
        fault: Fault,
        source: &mut S,
        now: Instant,
    ) {
        let connection = &mut self.connections[number as usize];
        let request = connection.request.take();
        if request.is_none() {
            self.free.retain(|&free| free != number);
        } else if !connection.is_extra {
            self.under_way -= 1;
        }
        self.close(number, now);
        source.failed(request, fault);
    }
}

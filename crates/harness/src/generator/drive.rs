//! The event loop of the generator.
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rustix::event::{Timespec, epoll};

use super::cores;
use super::{AnswerKind, Load, Pace, RunResult, Script};

/// The longest wait for answers after the end of a round. Later answers count as lost.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(10);
/// The largest number of events per call of epoll.
const EVENTS_MAX: usize = 512;
/// The largest size of an answer, in bytes.
const ANSWER_MAX: usize = 64 * 1024;
/// The seed of the arrival times, which is the same in every run.
const SEED: u64 = 0x00d0_04b5;
/// At this rate or more, the requests that are due within [`TICK`] are sent together. Otherwise the
/// generator and the server would wake for each request, which costs more than the request.
const TICK_FROM_RATE: f64 = 20_000.0;
/// The longest time that a request is delayed so that it can be sent with others. The delay counts
/// as latency.
const TICK: Duration = Duration::from_micros(250);
/// The largest number of queued requests. Further ones are given up, because the run has failed to
/// keep its pace.
const BACKLOG_MAX: usize = 1_000_000;

struct Connection {
    stream: TcpStream,
    /// The received part of an incomplete answer.
    partial_answer: Vec<u8>,
    /// When the outstanding request was due.
    due: Instant,
    asks: bool,
}

struct Driver<'a, S> {
    script: &'a mut S,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    free: Vec<u32>,
    backlog: VecDeque<Instant>,
    run: RunResult,
    request: Vec<u8>,
    under_way: usize,
    ended: bool,
    opens_at: Instant,
    closes_at: Instant,
}

/// Runs the load, as [`Load::run_at`] describes.
pub(super) fn run(
    load: &Load,
    addrs: &[SocketAddr],
    script: &mut impl Script,
) -> Result<RunResult> {
    let mut driver = Driver::connect(load, addrs, script)?;
    let cpu_time = cores::thread_cpu_time();
    let start = Instant::now();
    driver.opens_at = start + load.warm_up;
    driver.closes_at = driver.opens_at + load.time;
    let last = match load.pace {
        Pace::Closed => driver.closed()?,
        Pace::Open(rate) => driver.open(rate, true)?,
        Pace::Crowd(rate) => driver.open(rate, false)?,
    };
    let spent = cores::thread_cpu_time().saturating_sub(cpu_time);
    driver.run.generator_busy =
        spent.as_secs_f64() / last.duration_since(start).as_secs_f64().max(f64::MIN_POSITIVE);
    driver.run.time =
        if driver.ended { last.duration_since(driver.opens_at).min(load.time) } else { load.time };
    driver.run.lost = driver.under_way as u64;
    Ok(driver.run)
}

impl<'a, S: Script> Driver<'a, S> {
    fn connect(load: &Load, addrs: &[SocketAddr], script: &'a mut S) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
        let mut connections = Vec::with_capacity(load.connections);
        for (number, addr) in (0..load.connections).zip(addrs.iter().cycle()) {
            let stream =
                TcpStream::connect(addr).with_context(|| format!("connection {number}"))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, &stream, data, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
            connections.push(Connection {
                stream,
                partial_answer: Vec::new(),
                due: Instant::now(),
                asks: false,
            });
        }
        Ok(Self {
            script,
            epoll,
            free: (0..load.connections as u32).rev().collect(),
            connections,
            backlog: VecDeque::new(),
            run: RunResult::default(),
            request: Vec::with_capacity(1024),
            under_way: 0,
            ended: false,
            opens_at: Instant::now(),
            closes_at: Instant::now(),
        })
    }

    /// Runs the closed loop. Returns the time of the last answer.
    fn closed(&mut self) -> Result<Instant> {
        while let Some(number) = self.free.pop() {
            self.send_next(number, Instant::now())?;
        }
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut inbox = vec![0; ANSWER_MAX];
        let mut last = Instant::now();
        while self.under_way > 0 && Instant::now() < self.closes_at + DRAIN_WITHIN {
            self.wait(&mut events, Duration::from_millis(100))?;
            for event in events.drain(..) {
                let number = event.data.u64() as u32;
                if let Some(at) = self.read_from(number, &mut inbox)? {
                    last = at;
                    if at < self.closes_at && !self.ended {
                        self.send_next(number, at)?;
                    }
                }
            }
        }
        Ok(last)
    }

    /// Sends requests at random instants. Returns the time of the last answer.
    fn open(&mut self, rate: f64, queues_when_busy: bool) -> Result<Instant> {
        let mut rng = SmallRng::seed_from_u64(SEED);
        let mut gap =
            || Duration::from_secs_f64(-rng.random::<f64>().max(f64::MIN_POSITIVE).ln() / rate);
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut inbox = vec![0; ANSWER_MAX];
        let mut last = Instant::now();
        let mut due = last + gap();
        loop {
            let now = Instant::now();
            while due <= now && due < self.closes_at && !self.ended {
                match self.free.pop() {
                    Some(number) => self.send_next(number, due)?,
                    None if queues_when_busy && self.backlog.len() < BACKLOG_MAX => {
                        self.backlog.push_back(due)
                    }
                    None => self.run.given_up += 1,
                }
                due += gap();
            }
            let over = due >= self.closes_at || self.ended;
            if over && self.under_way == 0 && self.backlog.is_empty()
                || now > self.closes_at + DRAIN_WITHIN
            {
                return Ok(last);
            }
            let pause = match over {
                true => Duration::from_millis(100),
                false if rate < TICK_FROM_RATE => due.saturating_duration_since(now),
                false => {
                    std::thread::sleep(TICK);
                    Duration::ZERO
                }
            };
            self.wait(&mut events, pause)?;
            for event in events.drain(..) {
                let number = event.data.u64() as u32;
                if let Some(at) = self.read_from(number, &mut inbox)? {
                    last = at;
                    match self.backlog.pop_front() {
                        Some(due) => self.send_next(number, due)?,
                        None => self.free.push(number),
                    }
                }
            }
        }
    }

    fn wait(&self, events: &mut Vec<epoll::Event>, pause: Duration) -> Result<()> {
        let timeout =
            Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: pause.subsec_nanos().into() };
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("epoll"),
        }
    }

    /// Sends the next request over this connection.
    fn send_next(&mut self, number: u32, due: Instant) -> Result<()> {
        self.request.clear();
        if !self.script.next(&mut self.request) {
            self.ended = true;
            return Ok(());
        }
        let connection = &mut self.connections[number as usize];
        match connection.stream.write(&self.request) {
            Ok(written) if written == self.request.len() => {
                connection.due = due;
                connection.asks = true;
                self.under_way += 1;
                self.run.sent += 1;
                self.run.sent_in_time += u64::from(due >= self.opens_at);
            }
            // This cannot happen, because a request is far smaller than the socket's empty buffer.
            Ok(_) => bail!("a request did not fit into a socket"),
            Err(error) if is_closed(error.kind()) => {
                self.run.closed += 1;
                self.run.lost += 1;
            }
            Err(error) => return Err(error).context("sending a request"),
        }
        Ok(())
    }

    /// Reads the received bytes of this connection. Returns the time of a complete answer.
    fn read_from(&mut self, number: u32, inbox: &mut [u8]) -> Result<Option<Instant>> {
        let connection = &mut self.connections[number as usize];
        let read = match connection.stream.read(inbox) {
            Ok(0) => return Ok(self.drop_connection(number)),
            Ok(read) => read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(None);
            }
            Err(error) if is_closed(error.kind()) => return Ok(self.drop_connection(number)),
            Err(error) => return Err(error).context("reading an answer"),
        };
        let kind = if connection.partial_answer.is_empty() {
            let kind = self.script.read(&inbox[..read])?;
            if kind.is_none() {
                connection.partial_answer.extend_from_slice(&inbox[..read]);
            }
            kind
        } else {
            connection.partial_answer.extend_from_slice(&inbox[..read]);
            let kind = self.script.read(&connection.partial_answer)?;
            if kind.is_some() {
                connection.partial_answer.clear();
            }
            kind
        };
        let Some(kind) = kind else { return Ok(None) };
        if !connection.asks {
            bail!("an answer without a request");
        }
        connection.asks = false;
        let at = Instant::now();
        self.count(kind, at.duration_since(self.connections[number as usize].due), at);
        Ok(Some(at))
    }

    fn count(&mut self, kind: AnswerKind, latency: Duration, at: Instant) {
        self.under_way -= 1;
        self.run.answer(kind, latency, at >= self.opens_at && at <= self.closes_at);
    }

    /// Stops using a connection that the server closed.
    fn drop_connection(&mut self, number: u32) -> Option<Instant> {
        let connection = &mut self.connections[number as usize];
        if connection.asks {
            connection.asks = false;
            self.under_way -= 1;
            self.run.lost += 1;
        }
        self.run.closed += 1;
        None
    }
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted
    )
}

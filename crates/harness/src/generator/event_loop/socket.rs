//! Opens connections without waiting for them, and closes connections that take too long to open.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use socket2::{Domain, Protocol, Socket, Type};

use super::{CHECK_INTERVAL, Connection, EventLoop, Fault, Source};

/// The largest number of connections that are being opened at the same time. More connections could
/// overflow the server's listen queue.
const CONNECTING_MAX: usize = 64;
/// How long opening a connection may take. After that time the attempt counts as failed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The first pause after a failed attempt to open a connection. Each further pause is twice as
/// long.
const RECONNECT_MIN: Duration = Duration::from_millis(50);
/// The pause doubles at most this many times; after that, the pause stays the same.
const RECONNECT_DOUBLINGS_MAX: u32 = 4;

impl<R> Connection<R> {
    pub(super) fn closed(addr: SocketAddr, now: Instant) -> Self {
        Self {
            addr,
            stream: None,
            is_connecting: false,
            is_extra: false,
            request: None,
            partial: Vec::new(),
            since: now,
            failures: 0,
        }
    }
}

impl<R> EventLoop<R> {
    /// Opens closed connections whose pause is over. Ends connections that take too long to open,
    /// and connections whose answer takes too long.
    pub(super) fn maintain<S: Source<Request = R>>(&mut self, source: &mut S, now: Instant) {
        while self.connecting < CONNECTING_MAX
            && let Some(&(due, number)) = self.closed.front()
            && due <= now
        {
            self.closed.pop_front();
            self.connect(number, source, now);
        }
        self.outbox.clear();
        while let Some(request) = source.extra(&mut self.outbox) {
            let addr = self.connections[0].addr;
            let mut connection = Connection::closed(addr, now);
            (connection.is_extra, connection.request) = (true, Some(request));
            connection.partial = std::mem::take(&mut self.outbox);
            self.connections.push(connection);
            // The number of connections fits a u32: it is far below the largest u32.
            self.connect(self.connections.len() as u32 - 1, source, now);
        }
        if now.duration_since(self.checked_at) >= CHECK_INTERVAL {
            self.checked_at = now;
            self.end_overdue(source, now);
        }
    }

    fn end_overdue<S: Source<Request = R>>(&mut self, source: &mut S, now: Instant) {
        for number in 0..self.connections.len() as u32 {
            let connection = &self.connections[number as usize];
            let waited = now.duration_since(connection.since);
            let waits = connection.request.is_some() && !connection.is_extra;
            if connection.is_connecting && waited > CONNECT_TIMEOUT {
                self.connecting -= 1;
                self.connections[number as usize].is_connecting = false;
                self.fail_to_connect(number, source, now);
            } else if waits && self.options.answer_within.is_some_and(|limit| waited > limit) {
                self.fail(number, Fault::TimedOut, source, now);
            }
        }
    }

    fn connect<S: Source<Request = R>>(&mut self, number: u32, source: &mut S, now: Instant) {
        let connection = &mut self.connections[number as usize];
        connection.since = now;
        let opened = begin(connection.addr).and_then(|stream| {
            let flags = epoll::EventFlags::IN
                | epoll::EventFlags::OUT
                | epoll::EventFlags::RDHUP
                | epoll::EventFlags::ET;
            epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(number.into()), flags)?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => {
                connection.stream = Some(stream);
                connection.is_connecting = true;
                self.connecting += 1;
            }
            Err(_) => self.fail_to_connect(number, source, now),
        }
    }

    fn fail_to_connect<S: Source<Request = R>>(
        &mut self,
        number: u32,
        source: &mut S,
        now: Instant,
    ) {
        self.connections[number as usize].failures += 1;
        self.fail(number, Fault::Connect, source, now);
    }

    /// Handles the first event of a connection, which shows whether the connection is open or the
    /// attempt failed.
    pub(super) fn finish_connecting<S: Source<Request = R>>(
        &mut self,
        number: u32,
        source: &mut S,
    ) {
        let now = Instant::now();
        self.connecting -= 1;
        let connection = &mut self.connections[number as usize];
        connection.is_connecting = false;
        let is_open = connection.stream.as_ref().is_some_and(|stream| {
            matches!(stream.take_error(), Ok(None)) && stream.peer_addr().is_ok()
        });
        if !is_open {
            return self.fail_to_connect(number, source, now);
        }
        connection.failures = 0;
        if !connection.is_extra {
            self.free.push(number);
            return;
        }
        let bytes = std::mem::take(&mut connection.partial);
        let stream = connection.stream.as_ref();
        let sent = stream.and_then(|mut stream| io::Write::write(&mut stream, &bytes).ok());
        if sent != Some(bytes.len()) {
            self.fail(number, Fault::Broken, source, now);
        }
    }

    pub(super) fn close(&mut self, number: u32, now: Instant) {
        let connection = &mut self.connections[number as usize];
        connection.stream = None;
        connection.partial = Vec::new();
        if self.options.reopens && !connection.is_extra {
            let pause = match connection.failures {
                0 => Duration::ZERO,
                count => RECONNECT_MIN * (1 << (count - 1).min(RECONNECT_DOUBLINGS_MAX)),
            };
            self.closed.push_back((now + pause, number));
        }
    }
}

/// Begins to open a connection. Turns off Nagle's algorithm, which would delay small writes.
fn begin(addr: SocketAddr) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&addr.into()) {
        Ok(()) => {}
        // The connection is not open yet. A later event reports when it opens.
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

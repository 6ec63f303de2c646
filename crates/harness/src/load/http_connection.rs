//! One keep-alive connection. It opens itself if needed, sends one request at a time, and reads one
//! whole answer.
//!
//! It allocates nothing for an answer of ordinary size. Each connection has one timer. The timer is
//! adjusted only when it fires, so a request sets no timer.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::limits;
use super::response::{self, Head, Reply};

/// The reason why a request has no answer.
#[derive(Debug)]
pub(super) enum ConnectionFault {
    /// No connection could be made.
    Connect,
    /// The connection broke or was closed before the answer was complete.
    Broken,
    /// The answer was not complete in time.
    TimedOut,
    /// The answer is not valid HTTP/1.1 or violates the contract.
    Malformed(&'static str),
}

impl From<io::Error> for ConnectionFault {
    fn from(_: io::Error) -> Self {
        Self::Broken
    }
}

/// A connection to the server. It may be closed.
#[derive(Debug)]
pub(super) struct HttpConnection {
    addr: SocketAddr,
    answer_timeout: Duration,
    stream: Option<TcpStream>,
    used: Instant,
    inbox: Vec<u8>,
    timer: Pin<Box<Sleep>>,
}

impl HttpConnection {
    /// Creates a closed connection. An answer may take `answer_timeout`.
    pub fn new(addr: SocketAddr, answer_timeout: Duration) -> Self {
        let inbox = vec![0; limits::ANSWER_BYTES_START];
        Self {
            addr,
            answer_timeout,
            stream: None,
            used: Instant::now(),
            inbox,
            timer: Box::pin(sleep(answer_timeout)),
        }
    }

    /// Opens the connection if it is closed. The server may close an idle connection, which is not
    /// a fault.
    pub async fn open(&mut self) -> Result<(), ConnectionFault> {
        let idle = self.used.elapsed() > limits::IDLE_CHECK_AFTER;
        self.used = Instant::now();
        if idle && self.stream.as_ref().is_some_and(|stream| !is_quiet(stream)) {
            self.stream = None;
        }
        if self.stream.is_none() {
            self.stream = Some(connect(self.addr).await?);
        }
        Ok(())
    }

    /// Sends `request` and reads its answer: head and body. After a fault the connection is closed.
    pub async fn exchange(&mut self, request: &[u8]) -> Result<(Head, &[u8]), ConnectionFault> {
        self.open().await?;
        let stream = self.stream.as_mut().expect("just opened");
        let exchange = send_and_read(stream, &mut self.inbox, request);
        let outcome =
            with_deadline(self.timer.as_mut(), self.used + self.answer_timeout, exchange).await;
        match outcome {
            Ok(reply) => {
                if reply.head.closes {
                    self.stream = None;
                }
                Ok((reply.head, &self.inbox[reply.body]))
            }
            Err(fault) => {
                self.stream = None;
                Err(fault)
            }
        }
    }

    /// Closes the connection, because its data cannot be trusted any more.
    pub fn close(&mut self) {
        self.stream = None;
    }
}

/// Opens one connection without Nagle's delay.
pub(super) async fn connect(addr: SocketAddr) -> Result<TcpStream, ConnectionFault> {
    match timeout(limits::CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
        Ok(Ok(stream)) if stream.set_nodelay(true).is_ok() => Ok(stream),
        _ => Err(ConnectionFault::Connect),
    }
}

async fn send_and_read(
    stream: &mut TcpStream,
    inbox: &mut Vec<u8>,
    request: &[u8],
) -> Result<Reply, ConnectionFault> {
    stream.write_all(request).await?;
    let mut filled = 0;
    loop {
        if filled == inbox.len() {
            if filled >= limits::ANSWER_BYTES_MAX {
                return Err(ConnectionFault::Malformed("larger than the limit for an answer"));
            }
            inbox.resize(filled * 2, 0);
        }
        let more = stream.read(&mut inbox[filled..]).await?;
        if more == 0 {
            return Err(ConnectionFault::Broken);
        }
        filled += more;
        if let Some(reply) =
            response::read(&mut inbox[..filled]).map_err(ConnectionFault::Malformed)?
        {
            return Ok(reply);
        }
    }
}

/// Returns whether an idle connection has no unread data and was not closed by the server.
fn is_quiet(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Runs `work` until `deadline` at most. The timer is set again only when it fires, not for each
/// request.
async fn with_deadline<T>(
    mut timer: Pin<&mut Sleep>,
    deadline: Instant,
    work: impl Future<Output = Result<T, ConnectionFault>>,
) -> Result<T, ConnectionFault> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(outcome) = work.as_mut().poll(cx) {
            return Poll::Ready(outcome);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(Err(ConnectionFault::TimedOut));
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await
}

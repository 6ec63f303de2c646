//! A TCP stream that handles two kinds of clients: clients that do not read, and clients that close
//! their side right after a request.
//!
//! A write fails if the client does not read for some time; the server's other timeouts are only
//! for reads. If the client has closed its side, the stream reports the end of the input one poll
//! late. So the server starts a request that has completely arrived before it notices the end. A
//! purchase that has started runs to its verdict.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A TCP connection whose writes fail if they make no progress for a given time.
pub(crate) struct GuardedStream {
    stream: TcpStream,
    /// Bytes that were read from the socket earlier. The next reads return these bytes first.
    before: Bytes,
    read: u64,
    /// Whether the peer has closed its side of the stream.
    ended: bool,
    /// How long a write may make no progress before it fails.
    stall: Duration,
    /// The timer for `stall`. It exists only while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl GuardedStream {
    /// `before` contains the bytes that were already read from `stream`.
    pub(crate) fn new(stream: TcpStream, before: Vec<u8>, stall: Duration) -> Self {
        Self { stream, before: before.into(), read: 0, ended: false, stall, stalled: None }
    }

    /// Returns a stream whose reads first return the bytes `received` once more. These bytes were
    /// already read from this stream.
    pub(crate) fn replaying(self, received: &[u8]) -> Self {
        let before = [received, &self.before[..]].concat();
        Self::new(self.stream, before, self.stall)
    }

    /// Returns how many bytes the reads of this stream have returned, including the bytes that were
    /// in `before`. Returns `None` while `before` still has bytes.
    pub(crate) fn bytes_read(&self) -> Option<u64> {
        self.before.is_empty().then_some(self.read)
    }

    /// Returns the plain stream, or `None` if `before` has bytes, because these bytes would be
    /// lost.
    pub(crate) fn into_stream(self) -> Option<TcpStream> {
        self.before.is_empty().then_some(self.stream)
    }

    /// Takes the result of a write. While the write waits, runs a timer, and returns an error when
    /// the timer fires.
    fn limit_stall<T>(
        &mut self,
        context: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let fresh = || Box::pin(tokio::time::sleep_until(Instant::now() + self.stall));
        ready!(self.stalled.get_or_insert_with(fresh).as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let now = self.before.len().min(into.remaining());
            into.put_slice(&self.before.split_to(now));
            self.read += now as u64;
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        if into.filled().len() == before && into.remaining() > 0 && !self.ended {
            self.ended = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.read += (into.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit_stall(context, wrote)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.limit_stall(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.limit_stall(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

//! Polls many connections from one task. Each poller has its own `epoll` instance.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::limits::IDLE_BATCH_MAX;

pub(super) struct Poller(AsyncFd<OwnedFd>);

impl Poller {
    #[allow(
        deprecated,
        reason = "`register_with_interest` is unsafe, and `with_interest` is sound for an `OwnedFd`"
    )]
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        AsyncFd::with_interest(epoll, Interest::READABLE).map(Self)
    }

    /// Adds a connection under the key `key`. The poller also reports input that arrived before
    /// this call.
    pub(super) fn add(&self, stream: &TcpStream, key: u64) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        epoll::add(self.0.get_ref(), stream, epoll::EventData::new_u64(key), flags)
            .map_err(io::Error::from)
    }

    pub(super) fn remove(&self, stream: &TcpStream) {
        // The stream was added before, so an error cannot occur.
        let _ = epoll::delete(self.0.get_ref(), stream);
    }

    /// Waits until some connections have input, and returns some of their keys. The next call
    /// returns a key again if its input has not been read. So nothing is lost if the future is
    /// dropped.
    pub(super) async fn readable_keys(&self) -> io::Result<Vec<u64>> {
        self.0.async_io(Interest::READABLE, readable_keys).await
    }
}

/// Returns the keys of connections that have input, without waiting. Fails with `WouldBlock` if no
/// connection has input.
fn readable_keys(epoll: &OwnedFd) -> io::Result<Vec<u64>> {
    let mut events: Vec<epoll::Event> = Vec::with_capacity(IDLE_BATCH_MAX);
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    match epoll::wait(epoll, spare_capacity(&mut events), Some(&at_once)) {
        Ok(0) => Err(ErrorKind::WouldBlock.into()),
        Ok(_) => Ok(events.into_iter().map(|event| event.data.u64()).collect()),
        Err(Errno::INTR) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

//! A small TCP proxy with two uses: it is the common address of several nodes, or it simulates a
//! network that is cut, stalled or slow.
//!
//! Each new connection goes to the next target in turn; the proxy skips an unreachable target. Each
//! proxy has one thread with its own event loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

use super::error::{ClusterError, ClusterErrorContext};
use super::limits::{CHUNK_BYTES, TARGET_WITHIN};

/// The condition of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkCondition {
    /// Data arrives without delay.
    Normal,
    /// Each chunk of data is delayed by this time.
    Slow(Duration),
    /// On one connection in ten, each chunk of data is delayed. The other connections are normal.
    /// The proxy numbers its connections from 0.
    SlowOneInTen {
        /// How much later each chunk arrives.
        by: Duration,
        /// A connection is slow if the last digit of its number is this digit.
        slow: usize,
        /// As long as fewer than `slow + 1` connections exist, no connection has this digit. The
        /// newest connection is then slow instead, if its number is at least `from`.
        from: usize,
    },
    /// No data arrives, but no connection breaks. When the condition changes, the proxy delivers
    /// the data that was sent in the meantime.
    Stalled,
    /// Every connection is broken, and new connections are refused.
    Disconnected,
}

/// A running proxy. Dropping the proxy closes it and its connections.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    condition: watch::Sender<NetworkCondition>,
    delayed_chunks: Arc<AtomicUsize>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens at `listen`. Forwards each new connection to the next of the `targets`, in turn.
    pub fn start(listen: SocketAddr, targets: Vec<SocketAddr>) -> Result<Self, ClusterError> {
        let what = || format!("listening at {listen}");
        let listener = std::net::TcpListener::bind(listen).with_operation(what)?;
        listener.set_nonblocking(true).with_operation(what)?;
        let addr = listener.local_addr().with_operation(what)?;
        let (condition, changes) = watch::channel(NetworkCondition::Normal);
        let (end, ended) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .with_operation(what)?;
        let delayed_chunks = Arc::new(AtomicUsize::new(0));
        let delayed = Arc::clone(&delayed_chunks);
        let serve = move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = accept(&listener, targets.into(), &changes, &delayed) => {}
                    _ = ended => {}
                }
            });
        };
        let thread =
            std::thread::Builder::new().name("proxy".into()).spawn(serve).with_operation(what)?;
        Ok(Self { addr, condition, delayed_chunks, end: Some(end), thread: Some(thread) })
    }

    /// Returns the address that the proxy listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the condition of the network.
    pub fn set_condition(&self, condition: NetworkCondition) {
        self.condition.send_replace(condition);
    }

    /// Returns how many chunks [`NetworkCondition::SlowOneInTen`] has delayed.
    pub fn delayed_chunks(&self) -> usize {
        self.delayed_chunks.load(Ordering::Relaxed)
    }

    /// Blocks the calling thread while the proxy runs. The proxy does not end by itself.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            // If the thread panicked, `join` returns an error, but the thread has ended too.
            let _ = thread.join();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
    }
}

async fn accept(
    listener: &TcpListener,
    targets: Arc<[SocketAddr]>,
    condition: &watch::Receiver<NetworkCondition>,
    delayed: &Arc<AtomicUsize>,
) {
    let next = Arc::new(AtomicUsize::new(0));
    let accepted = Arc::new(AtomicUsize::new(0));
    loop {
        // `accept` fails if the process has no free file handle, or if the client has already
        // disconnected. In both cases, a later call may succeed.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if *condition.borrow() != NetworkCondition::Disconnected {
            let connection = Connection {
                number: accepted.fetch_add(1, Ordering::Relaxed),
                accepted: Arc::clone(&accepted),
                condition: condition.clone(),
                delayed: Arc::clone(delayed),
            };
            // The task ends when its connection ends, or when the proxy's event loop is dropped, so
            // no code waits for it.
            tokio::spawn(serve(stream, Arc::clone(&targets), Arc::clone(&next), connection));
        }
    }
}

#[derive(Clone)]
struct Connection {
    number: usize,
    /// How many connections the proxy has accepted until now. All connections share this counter.
    accepted: Arc<AtomicUsize>,
    condition: watch::Receiver<NetworkCondition>,
    /// How many chunks the proxy has delayed on all its connections.
    delayed: Arc<AtomicUsize>,
}

impl Connection {
    /// Returns whether this connection is slow under [`NetworkCondition::SlowOneInTen`].
    fn is_slow_one(&self, slow: usize, from: usize) -> bool {
        let newest = self.accepted.load(Ordering::Relaxed) - 1;
        let slow = if newest >= from { slow.min(newest) } else { slow };
        self.number % 10 == slow
    }
}

async fn serve(
    stream: TcpStream,
    targets: Arc<[SocketAddr]>,
    next: Arc<AtomicUsize>,
    mut connection: Connection,
) {
    let Some(target) = connect_next(&targets, &next).await else { return };
    // With Nagle's algorithm, the system would hold back a small message until the other side has
    // acknowledged the previous message.
    let _ = (stream.set_nodelay(true), target.set_nodelay(true));
    let ((from, to), (target_from, target_to)) = (stream.into_split(), target.into_split());
    let (there, back) = (connection.clone(), connection.clone());
    let both_ways =
        async { tokio::join!(forward(from, target_to, there), forward(target_from, to, back)) };
    tokio::select! {
        _ = both_ways => {}
        // When the proxy is dropped, `wait_for` returns an error, which also ends the connection.
        _ = connection.condition.wait_for(|now| *now == NetworkCondition::Disconnected) => {}
    }
}

async fn connect_next(targets: &[SocketAddr], next: &AtomicUsize) -> Option<TcpStream> {
    for _ in targets {
        let target = targets[next.fetch_add(1, Ordering::Relaxed) % targets.len()];
        if let Ok(Ok(stream)) =
            tokio::time::timeout(TARGET_WITHIN, TcpStream::connect(target)).await
        {
            return Some(stream);
        }
    }
    None
}

/// Forwards data in one direction, until the sender closes its side or a read or a write fails.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut connection: Connection) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let condition = &mut connection.condition;
        if condition.wait_for(|now| *now != NetworkCondition::Stalled).await.is_err() {
            return;
        }
        let now = *condition.borrow();
        match now {
            NetworkCondition::Slow(by) => tokio::time::sleep(by).await,
            NetworkCondition::SlowOneInTen { by, slow, from }
                if connection.is_slow_one(slow, from) =>
            {
                connection.delayed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(by).await;
            }
            _ => {}
        }
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
    // This closes only one direction of the connection. Data in the opposite direction can
    // continue.
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};
    use std::time::{Duration, Instant};

    use super::*;

    fn anywhere() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    /// Starts a server that sends its name on each connection and then returns all bytes that it
    /// receives.
    fn echo(name: &'static str) -> SocketAddr {
        let listener = std::net::TcpListener::bind(anywhere()).expect("a free port");
        let addr = listener.local_addr().expect("a bound listener");
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let mut bytes = [0; 64];
                    let _ = stream.write_all(name.as_bytes());
                    while let Ok(read @ 1..) = stream.read(&mut bytes) {
                        let _ = stream.write_all(&bytes[..read]);
                    }
                });
            }
        });
        addr
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.addr()).expect("a listening proxy");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        stream
    }

    fn read_char(stream: &mut TcpStream) -> Option<char> {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok().map(|()| char::from(byte[0]))
    }

    #[test]
    fn connections_go_to_the_targets_in_turn_and_skip_an_unreachable_one() {
        let unreachable = std::net::TcpListener::bind(anywhere())
            .expect("a free port")
            .local_addr()
            .expect("a bound listener");
        let proxy = Proxy::start(anywhere(), vec![echo("a"), unreachable, echo("b")])
            .expect("the proxy starts");
        let mut received: Vec<Option<char>> =
            (0..6).map(|_| read_char(&mut connect(&proxy))).collect();
        received.sort_unstable();
        assert!(
            received.contains(&Some('a'))
                && received.contains(&Some('b'))
                && !received.contains(&None),
            "{received:?}"
        );
    }

    #[test]
    fn one_connection_in_ten_is_slow_and_is_counted() {
        let proxy = Proxy::start(anywhere(), vec![echo("a")]).expect("the proxy starts");
        let by = Duration::from_millis(100);
        proxy.set_condition(NetworkCondition::SlowOneInTen { by, slow: 1, from: 1 });
        let slow: Vec<bool> = (0..12)
            .map(|_| {
                let begun = Instant::now();
                assert_eq!(read_char(&mut connect(&proxy)), Some('a'));
                begun.elapsed() >= by
            })
            .collect();
        assert_eq!((slow[1], slow[11]), (true, true), "{slow:?}");
        assert!(slow.iter().filter(|slow| !**slow).count() >= 8, "{slow:?}");
        assert_eq!(proxy.delayed_chunks(), 2);
        let other = Proxy::start(anywhere(), vec![echo("a")]).expect("the proxy starts");
        assert_eq!(other.delayed_chunks(), 0, "each proxy must count its own chunks");
        other.set_condition(NetworkCondition::SlowOneInTen { by, slow: 2, from: 0 });
        let mut only = connect(&other);
        assert_eq!((read_char(&mut only), other.delayed_chunks()), (Some('a'), 1));
        let mut second = connect(&other);
        assert_eq!((read_char(&mut second), other.delayed_chunks()), (Some('a'), 2));
        only.write_all(b"x").expect("an open connection");
        assert_eq!((read_char(&mut only), other.delayed_chunks()), (Some('x'), 2));
    }

    #[test]
    fn the_network_condition_delays_stalls_and_disconnects() {
        let proxy = Proxy::start(anywhere(), vec![echo("a")]).expect("the proxy starts");
        let mut stream = connect(&proxy);
        assert_eq!(read_char(&mut stream), Some('a'));
        proxy.set_condition(NetworkCondition::Slow(Duration::from_millis(50)));
        let begun = Instant::now();
        stream.write_all(b"x").expect("an open connection");
        assert_eq!(read_char(&mut stream), Some('x'));
        assert!(
            begun.elapsed() >= Duration::from_millis(100),
            "the round trip took {:?}",
            begun.elapsed()
        );
        proxy.set_condition(NetworkCondition::Stalled);
        stream.write_all(b"y").expect("an open connection");
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket");
        assert_eq!(read_char(&mut stream), None, "a stalled network must deliver no data");
        proxy.set_condition(NetworkCondition::Normal);
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        assert_eq!(read_char(&mut stream), Some('y'), "the data must arrive after the stall");
        proxy.set_condition(NetworkCondition::Disconnected);
        assert_eq!(read_char(&mut stream), None, "the connection must be broken");
        assert_eq!(read_char(&mut connect(&proxy)), None, "a new connection must be refused");
        proxy.set_condition(NetworkCondition::Normal);
        assert_eq!(read_char(&mut connect(&proxy)), Some('a'));
    }
}

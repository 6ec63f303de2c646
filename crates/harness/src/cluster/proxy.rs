//! A small TCP proxy. It serves as the common address of several nodes, and it can simulate a
//! network that is cut, stalled or slow.
//!
//! Each new connection goes to the next target in turn. An unreachable target is skipped. Each
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

/// Which of ten connections is slow with [`NetworkCondition::SlowOneInTen`]. The first connection
/// is not slow, because a program with a single connection would then be completely slow.
const SLOW_CONNECTION: usize = 3;

/// The condition of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkCondition {
    /// Data arrives without delay.
    Normal,
    /// Each chunk of data arrives this much later.
    Slow(Duration),
    /// On one connection in ten, each chunk of data arrives this much later. The others are normal.
    SlowOneInTen(Duration),
    /// No data arrives, but no connection breaks. The data arrives after the condition changes.
    Stalled,
    /// Every connection is broken, and new connections are refused.
    Disconnected,
}

/// A running proxy. Dropping the proxy closes it and its connections.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    condition: watch::Sender<NetworkCondition>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens at `listen` and forwards to `targets` in turn.
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
        let serve = move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = accept(&listener, targets.into(), &changes) => {}
                    _ = ended => {}
                }
            });
        };
        let thread =
            std::thread::Builder::new().name("proxy".into()).spawn(serve).with_operation(what)?;
        Ok(Self { addr, condition, end: Some(end), thread: Some(thread) })
    }

    /// Returns the address that the proxy listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the condition of the network.
    pub fn set_condition(&self, condition: NetworkCondition) {
        self.condition.send_replace(condition);
    }

    /// Waits for the end of the proxy. The proxy never ends by itself.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has ended too.
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
) {
    let next = Arc::new(AtomicUsize::new(0));
    let mut accepted = 0_usize;
    loop {
        // Accepting fails without free file handles, or if the client has already disconnected. Try
        // again soon.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        if *condition.borrow() != NetworkCondition::Disconnected {
            // The task ends with its connection, or with the event loop.
            let is_tenth = accepted % 10 == SLOW_CONNECTION;
            accepted += 1;
            let (targets, next) = (Arc::clone(&targets), Arc::clone(&next));
            tokio::spawn(serve(stream, targets, next, condition.clone(), is_tenth));
        }
    }
}

async fn serve(
    stream: TcpStream,
    targets: Arc<[SocketAddr]>,
    next: Arc<AtomicUsize>,
    mut condition: watch::Receiver<NetworkCondition>,
    is_tenth: bool,
) {
    let Some(target) = connect_next(&targets, &next).await else { return };
    // With Nagle's algorithm, a small answer waits for the acknowledgement of the previous answer.
    let _ = (stream.set_nodelay(true), target.set_nodelay(true));
    let ((from, to), (target_from, target_to)) = (stream.into_split(), target.into_split());
    let (there, back) = (condition.clone(), condition.clone());
    let both_ways = async {
        tokio::join!(
            forward(from, target_to, there, is_tenth),
            forward(target_from, to, back, is_tenth)
        )
    };
    tokio::select! {
        _ = both_ways => {}
        // An error means that the proxy was dropped, which also breaks its connections.
        _ = condition.wait_for(|now| *now == NetworkCondition::Disconnected) => {}
    }
}

/// Connects to the next reachable target.
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

/// Forwards data under the present condition until one side ends.
async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut condition: watch::Receiver<NetworkCondition>,
    is_tenth: bool,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        if condition.wait_for(|now| *now != NetworkCondition::Stalled).await.is_err() {
            return;
        }
        let now = *condition.borrow();
        match now {
            NetworkCondition::Slow(by) => tokio::time::sleep(by).await,
            NetworkCondition::SlowOneInTen(by) if is_tenth => tokio::time::sleep(by).await,
            _ => {}
        }
        if to.write_all(&chunk[..read]).await.is_err() {
            return;
        }
    }
    // The other side may still send data.
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

    /// Returns a server that sends its name and then echoes its input.
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
        assert_eq!(read_char(&mut stream), None, "no data arrives");
        proxy.set_condition(NetworkCondition::Normal);
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
        assert_eq!(read_char(&mut stream), Some('y'), "the data arrives later");
        proxy.set_condition(NetworkCondition::Disconnected);
        assert_eq!(read_char(&mut stream), None, "the connection is broken");
        assert_eq!(read_char(&mut connect(&proxy)), None, "no connection can be made");
        proxy.set_condition(NetworkCondition::Normal);
        assert_eq!(read_char(&mut connect(&proxy)), Some('a'));
    }
}

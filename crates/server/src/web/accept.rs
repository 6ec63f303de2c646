//! The accept loop: how connections come in, how many there may be, and how they end with the
//! program.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::App;
use super::connection::{Connection, serve};
use super::dispatch::Service;
use super::events::IdleSlots;
use super::limits::{
    ACCEPT_PAUSE, BACKLOG, FINISH_TIMEOUT, OVER_CAPACITY_REPLIES_MAX, SEND_BUFFER_BYTES,
};
use super::over_capacity::turn_away;
use super::router::router;

/// Quiet time after which the kernel asks whether the other end is still there, and between its
/// questions.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));

/// A socket that listens, not yet served.
#[derive(Debug)]
pub struct Listener(TcpListener);

/// Listens on `address`, with a long backlog: the crowd comes within one second.
///
/// # Errors
/// When the address is taken, not ours, or needs a privilege.
pub fn bind(address: SocketAddr) -> io::Result<Listener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restarted server takes its port over from connections of the last one that are closing
    // still.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // What is accepted inherits these three.
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE.0).with_interval(KEEPALIVE.1),
    )?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into()).map(Listener)
}

impl Listener {
    /// The address in use, with the port that was picked.
    ///
    /// # Errors
    /// When the kernel does not know it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves `app` until `stop`; then nothing is accepted any more, requests in progress are
    /// finished, and idle connections are closed. `connections_max` at once, each idle for at most
    /// `idle`.
    pub async fn serve(
        self,
        app: &Arc<App>,
        connections_max: usize,
        idle: Duration,
        stop: &CancellationToken,
    ) {
        let open = TaskTracker::new();
        // Past the time for finishing, what is left is cut.
        let cut = CancellationToken::new();
        // Whoever sleeps in them leaves with this, whatever becomes of the rest.
        let mut dormitories = JoinSet::new();
        let idle_slots = Arc::new(IdleSlots::open(app, &cut, &mut dormitories));
        let service = Arc::new(Service::new(app.clone(), router(app), Arc::downgrade(&idle_slots)));
        let places = Arc::new(Semaphore::new(connections_max));
        let turned_away = Arc::new(Semaphore::new(OVER_CAPACITY_REPLIES_MAX));
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.accept() => accepted,
            };
            app.metrics.accepted.add_one();
            if let Ok(place) = places.clone().try_acquire_owned() {
                let connection = Connection {
                    service: service.clone(),
                    peer: peer.ip(),
                    stop: stop.clone(),
                    cut: cut.clone(),
                    idle,
                    _place: (place, app.metrics.connections.hold(), open.token()),
                };
                tokio::spawn(serve(Arc::new(connection), stream));
            } else {
                app.metrics.turned_away.add_one();
                if let Ok(place) = turned_away.clone().try_acquire_owned() {
                    open.spawn(async move {
                        turn_away(stream).await;
                        drop(place);
                    });
                }
            }
        }
        drop(self);
        open.close();
        if tokio::time::timeout(FINISH_TIMEOUT, open.wait()).await.is_err() {
            tracing::warn!(
                connections = open.len(),
                "connections did not finish in time and are cut"
            );
            cut.cancel();
            // What is not a connection any more cannot be cut; the program does not wait for it
            // either.
            let _ = tokio::time::timeout(ACCEPT_PAUSE, open.wait()).await;
        }
    }

    /// The next connection. Failures are waited out: those of one connection are its own, those of
    /// the process pass.
    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted for a moment");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

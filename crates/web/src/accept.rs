//! The accept loop: accepts connections up to a limit, and ends them when the program stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_api::problem::{MEDIA_TYPE, Problem};
use socket2::{Domain, Protocol, Socket as RawSocket, TcpKeepalive, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::App;
use super::connection::{Connection, Service, StreamDeadline};
use super::events::IdleTasks;
use super::limits::{
    ACCEPT_PAUSE, BACKLOG, FINISH_TIMEOUT, OVER_CAPACITY_REPLIES_MAX, OVER_CAPACITY_TIMEOUT,
    RETRY_SECS, SEND_BUFFER_BYTES,
};
use super::router::router;
use super::serve::serve;

/// The idle time before the first TCP keepalive probe, and the time between two probes.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));

/// A listening socket. [`Listener::serve`] begins to accept its connections.
#[derive(Debug)]
pub struct Listener(TcpListener);

/// Listens on `address`. The backlog is long, because very many buyers can connect within one
/// second.
///
/// # Errors
/// If the address is in use, is not an address of this machine, or needs a privilege.
pub fn bind(address: SocketAddr) -> io::Result<Listener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // With this option, a restarted server can listen on its port while connections of its previous
    // process are still closing.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted sockets inherit these three options from the listening socket.
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
    /// Returns the socket's address. If the settings have port 0, this address has the port that
    /// the kernel chose.
    ///
    /// # Errors
    /// If the kernel cannot report the address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves `app` until `stop` is cancelled. Then stops accepting connections, finishes the
    /// current requests, and closes idle connections.
    pub async fn serve(self, app: &Arc<App>, stop: &CancellationToken) {
        let open = TaskTracker::new();
        // This token is cancelled when the time for the shutdown is over. Then the remaining
        // connections are closed.
        let cut = CancellationToken::new();
        // These tasks own the idle WebSockets. When this function ends, the tasks are dropped, and
        // the WebSockets are closed with them.
        let mut idle_tasks = JoinSet::new();
        let idle_slots = Arc::new(IdleTasks::open(app, &cut, &mut idle_tasks));
        let service = Arc::new(Service::new(app.clone(), router(app), Arc::downgrade(&idle_slots)));
        let turned_away = Arc::new(Semaphore::new(OVER_CAPACITY_REPLIES_MAX));
        loop {
            let (stream, peer) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.accept() => accepted,
            };
            app.metrics.accepted.add_one();
            let (idle, most) = (app.live().idle, app.live().connections_max);
            // Only this loop accepts connections, so no other task can add a connection after this
            // check.
            if app.metrics.connections.get() < most as u64 {
                let connection = Connection {
                    service: service.clone(),
                    peer: peer.ip(),
                    stop: stop.clone(),
                    cut: cut.clone(),
                    idle,
                    overdue: StreamDeadline::default(),
                    _place: (app.metrics.connections.hold(), open.token()),
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
                event = "server.connections_cut",
                "connections did not finish in time; closing them"
            );
            cut.cancel();
            // A task that hangs does not react to `cut`, so the server waits only briefly for such
            // a task.
            let _ = tokio::time::timeout(ACCEPT_PAUSE, open.wait()).await;
        }
    }

    /// Returns the next connection. Ignores an error that affects only one connection. After an
    /// error that affects the whole process, such as too many open files, waits and tries again.
    async fn accept(&self) -> (TcpStream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    tracing::warn!(
                        %error,
                        event = "server.accept_failed",
                        "failed to accept a connection; will retry"
                    );
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// Handles a connection over the limit: tells the client to retry later, and closes the connection.
async fn turn_away(mut stream: TcpStream) {
    let body = Problem::overloaded(RETRY_SECS).to_json();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {MEDIA_TYPE}\r\n\
         retry-after: {RETRY_SECS}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let sending = async {
        // If the server closes a connection with unread bytes, the kernel sends a reset. The client
        // may then lose the response. So the server reads the request's bytes first.
        let mut unread = [0; 2048];
        let _ = stream.read(&mut unread).await;
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = stream.write_all(&body).await;
        let _ = stream.shutdown().await;
        while matches!(stream.read(&mut unread).await, Ok(read) if read > 0) {}
    };
    let _ = tokio::time::timeout(OVER_CAPACITY_TIMEOUT, sending).await;
}

fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

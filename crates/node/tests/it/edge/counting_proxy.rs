//! A proxy that counts the requests of an edge, and can drop the answers to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Counts {
    passed_on: AtomicUsize,
    purchases: AtomicUsize,
    is_broken: AtomicBool,
}

pub(super) struct CountingProxy {
    pub(super) address: SocketAddr,
    counts: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

impl CountingProxy {
    /// Starts a proxy to `server`. On one connection, a client must send one request at a time.
    pub(super) async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let counts = Arc::new(Counts::default());
        let counting = counts.clone();
        let task = tokio::spawn(async move {
            loop {
                let Ok((client, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(client, server, counting.clone()));
            }
        });
        Self { address, counts, task }
    }

    /// Returns the number of buyers' requests that the edge has passed on. The edge's own health
    /// checks and its relay do not count.
    pub(super) fn passed_on(&self) -> usize {
        self.counts.passed_on.load(Ordering::SeqCst)
    }

    pub(super) fn purchases(&self) -> usize {
        self.counts.purchases.load(Ordering::SeqCst)
    }

    /// Sets whether the proxy closes a connection as soon as the server answers on it.
    pub(super) fn break_answers(&self, is_broken: bool) {
        self.counts.is_broken.store(is_broken, Ordering::SeqCst);
    }
}

impl Drop for CountingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(client: TcpStream, server: SocketAddr, counts: Arc<Counts>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asking = async {
        let mut bytes = vec![0; 65_536];
        while let Ok(read @ 1..) = from_client.read(&mut bytes).await {
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            let starts = |start: &str| usize::from(text.starts_with(start));
            let is_request = starts("GET ") + starts("POST ") + starts("HEAD ");
            let is_of_edge = text.contains("\ndoorbuster-relay: ");
            let is_check = usize::from(is_of_edge || text.starts_with("GET /healthz "));
            counts.passed_on.fetch_add(is_request - is_check, Ordering::SeqCst);
            counts.purchases.fetch_add(starts("POST /v1/orders "), Ordering::SeqCst);
            if to_server.write_all(&bytes[..read]).await.is_err() {
                break;
            }
        }
    };
    let answering = async {
        let mut bytes = vec![0; 65_536];
        while let Ok(read @ 1..) = from_server.read(&mut bytes).await {
            if counts.is_broken.load(Ordering::SeqCst)
                || to_client.write_all(&bytes[..read]).await.is_err()
            {
                break;
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = answering => {}
    }
}

//! A proxy between a client and a broker, which can hold back the broker's answers. This module can
//! also open a port that never answers.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A running proxy. The proxy ends when the test's event loop ends.
pub struct Proxy {
    /// The port on which the proxy accepts clients.
    pub port: u16,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    holds: AtomicBool,
    cuts: AtomicU64,
}

impl Proxy {
    /// Starts a proxy in front of the server on this port.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        let gate = Arc::<Gate>::default();
        let same = gate.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, port, same.clone()));
            }
        });
        Self { port: own, gate }
    }

    /// Holds back all data from the broker from now on.
    pub fn hold(&self) {
        self.gate.holds.store(true, Ordering::SeqCst);
    }

    /// Closes every connection, drops the data that was held back, and accepts new connections.
    pub fn cut(&self) {
        self.gate.cuts.fetch_add(1, Ordering::SeqCst);
        self.gate.holds.store(false, Ordering::SeqCst);
    }
}

async fn carry(client: TcpStream, port: u16, gate: Arc<Gate>) {
    let cuts = gate.cuts.load(Ordering::SeqCst);
    let Ok(broker) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let ((mut from_client, mut to_client), (mut from_broker, mut to_broker)) =
        (client.into_split(), broker.into_split());
    let there = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_broker).await;
    };
    let back = async {
        let mut bytes = [0; 4_096];
        while let Ok(count @ 1..) = from_broker.read(&mut bytes).await {
            while gate.holds.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let is_cut = gate.cuts.load(Ordering::SeqCst) != cuts;
            if is_cut || to_client.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    let cut = async {
        while gate.cuts.load(Ordering::SeqCst) == cuts {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = there => {}
        () = back => {}
        () = cut => {}
    }
}

/// Opens a port that accepts connections and never answers.
pub async fn silence() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            taken.push(stream);
        }
    });
    port
}

//! A proxy between the browser and the server. It can refuse connections, and can drop requests or
//! answers. Its address stays the same if the server gets another address.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The behaviour of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Forwards everything.
    Open,
    /// Forwards purchases, but closes the connection of each purchase before its answer.
    LosesAnswers,
    /// Closes the connection of each request for a checkout, and forwards everything else. The page
    /// does not show that it is offline, because its other requests succeed.
    DropsCheckouts,
    /// Forwards nothing.
    Shut,
}

/// A proxy.
pub struct FlakyProxy {
    /// The proxy's address for the browser.
    pub address: SocketAddr,
    state: Arc<State>,
    mode: watch::Sender<Mode>,
    task: JoinHandle<()>,
}

struct State {
    server: Mutex<SocketAddr>,
    keys: Mutex<Vec<String>>,
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FlakyProxy {
    /// Starts a proxy for a server.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(State { server: Mutex::new(server), keys: Mutex::default() });
        let (mode, _) = watch::channel(Mode::Open);
        let task = tokio::spawn(serve(listener, state.clone(), mode.clone()));
        Self { address, state, mode, task }
    }

    /// Changes the behaviour. `Shut` also closes the open connections.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Forwards to a restarted server.
    pub fn set_target(&self, server: SocketAddr) {
        *lock(&self.state.server) = server;
    }

    /// Returns the request keys of the purchases that the proxy forwarded, in the order of their
    /// arrival.
    pub fn keys(&self) -> Vec<String> {
        lock(&self.state.keys).clone()
    }
}

impl Drop for FlakyProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>, mode: watch::Sender<Mode>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        tokio::spawn(pass(client, state.clone(), mode.subscribe()));
    }
}

/// Forwards one connection's bytes until a side closes the connection or the proxy is shut.
async fn pass(mut client: TcpStream, state: Arc<State>, mut mode: watch::Receiver<Mode>) {
    if *mode.borrow_and_update() == Mode::Shut {
        return;
    }
    let address = *lock(&state.server);
    let Ok(mut server) = TcpStream::connect(address).await else { return };
    let (mut from_client, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut loses = false;
    loop {
        tokio::select! {
            changed = mode.changed() => {
                if changed.is_err() || *mode.borrow() == Mode::Shut {
                    return;
                }
            }
            read = client.read(&mut from_client) => {
                let Ok(read @ 1..) = read else { return };
                if *mode.borrow() == Mode::DropsCheckouts && is_checkout(&from_client[..read]) {
                    return;
                }
                if let Some(key) = key_of(&from_client[..read]) {
                    lock(&state.keys).push(key);
                    loses = *mode.borrow() == Mode::LosesAnswers;
                }
                let Ok(()) = server.write_all(&from_client[..read]).await else { return };
            }
            read = server.read(&mut answered) => {
                let Ok(read @ 1..) = read else { return };
                if loses {
                    return;
                }
                let Ok(()) = client.write_all(&answered[..read]).await else { return };
            }
        }
    }
}

/// Returns the request key if the bytes are the start of a purchase. A browser sends the head of a
/// request in one piece, so one read contains the key.
fn key_of(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.strip_prefix("POST /v1/orders HTTP/1.1\r\n")?.lines();
    let line = lines.find_map(|line| {
        line.split_once(": ").filter(|(name, _)| name.eq_ignore_ascii_case("idempotency-key"))
    });
    Some(line.map_or("no key at all", |(_, key)| key).to_owned())
}

fn is_checkout(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().next().unwrap_or_default();
    line.starts_with("POST /v1/orders/") && line.contains("/checkout ")
}

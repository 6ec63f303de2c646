//! A local receiver of webhooks that answers as configured and records the requests.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::money::{now_secs, signature};
use crate::watch::Stopwatch;

#[derive(Clone, Debug)]
pub(crate) enum CannedReply {
    Status(u16),
    /// Answers with this status and these header lines.
    With(u16, String),
    /// Does not answer. The connection stays open.
    Hang,
    /// Answers with `200` after this delay.
    Late(Duration),
    /// Answers with `200` and a body of this many bytes.
    Flood(usize),
    /// Answers with `200` and a body of a million bytes, one byte at a time.
    Trickle,
    /// Closes the connection without an answer.
    Drop,
}

#[derive(Clone, Debug)]
pub(crate) struct ReceivedRequest {
    pub(crate) headers: HashMap<String, String>,
    pub(crate) text: String,
    pub(crate) at: Instant,
    /// True if the receiver answered with a status 2xx.
    pub(crate) accepted: bool,
}

impl ReceivedRequest {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }

    pub(crate) fn id(&self) -> String {
        self.headers["webhook-id"].clone()
    }

    pub(crate) fn event_type(&self) -> String {
        self.json()["type"].as_str().expect("a type").to_owned()
    }

    pub(crate) fn order(&self) -> String {
        self.json()["data"]["order"]["id"].as_str().unwrap_or_default().to_owned()
    }

    /// Asserts that this secret signed exactly the received bytes, and that the message's time
    /// differs from now by less than a minute.
    pub(crate) fn verify(&self, secret: &str) {
        assert!(self.is_signed_by(secret), "{self:?}");
        let at: u64 = self.headers["webhook-timestamp"].parse().expect("seconds");
        assert!(now_secs().abs_diff(at) < 60);
        assert_eq!(self.json()["id"], self.id());
        assert_eq!(self.headers["content-type"], "application/json");
    }

    pub(crate) fn is_signed_by(&self, secret: &str) -> bool {
        let key =
            STANDARD.decode(secret.strip_prefix("whsec_").expect("a secret")).expect("base64");
        let wanted = signature(&key, &self.id(), &self.headers["webhook-timestamp"], &self.text);
        self.headers["webhook-signature"].split(' ').any(|one| one == wanted)
    }
}

/// A long or slow body that the receiver sent. The client may have closed the connection before the
/// end of the body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AbortedBody {
    /// Bytes of the body that the receiver sent.
    pub(crate) bytes: usize,
    /// The time until the body was complete or the client closed the connection.
    pub(crate) after: Duration,
}

type ReplyRule = Arc<dyn Fn(usize, &ReceivedRequest) -> CannedReply + Send + Sync>;

#[derive(Default)]
struct ReceiverState {
    connections: AtomicUsize,
    received: Mutex<Vec<ReceivedRequest>>,
    aborted_bodies: Mutex<Vec<AbortedBody>>,
}

impl ReceiverState {
    fn received(&self) -> MutexGuard<'_, Vec<ReceivedRequest>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn aborted_bodies(&self) -> MutexGuard<'_, Vec<AbortedBody>> {
        self.aborted_bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receiver ends when it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    state: Arc<ReceiverState>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// Starts a receiver that accepts every request.
    pub(crate) async fn start() -> Self {
        Self::with(|_, _| CannedReply::Status(200)).await
    }

    /// Starts a receiver that asks the function `rule` for each reply. The function gets the
    /// current request, and how many requests came before it.
    pub(crate) async fn with(
        rule: impl Fn(usize, &ReceivedRequest) -> CannedReply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let state: Arc<ReceiverState> = Arc::default();
        let (ours, rule): (_, ReplyRule) = (state.clone(), Arc::new(rule));
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                ours.connections.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(stream, ours.clone(), rule.clone()));
            }
        });
        Self { address, state, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook?shop=1", self.address)
    }

    pub(crate) fn received(&self) -> Vec<ReceivedRequest> {
        self.state.received().clone()
    }

    /// Returns how many connections the receiver got, including those without a request.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// Waits until the client has aborted a body that was too long or too slow.
    pub(crate) async fn aborted_bodies(&self, what: &str) -> AbortedBody {
        crate::money::until(what, async || self.state.aborted_bodies().first().copied()).await
    }

    pub(crate) async fn until(
        &self,
        secs: u64,
        what: &str,
        holds: impl Fn(&[ReceivedRequest]) -> bool,
    ) -> Vec<ReceivedRequest> {
        let timer = Stopwatch::start();
        loop {
            let received = self.received();
            if holds(&received) {
                return received;
            }
            let short: Vec<_> =
                received.iter().map(|one| (one.event_type(), one.id(), one.accepted)).collect();
            assert!(
                timer.elapsed() < Duration::from_secs(secs),
                "timed out; expected: {what}; received: {short:?}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, state: Arc<ReceiverState>, rule: ReplyRule) {
    let mut bytes = Vec::new();
    while let Some(mut received) = read(&mut stream, &mut bytes).await {
        let answer = {
            let mut all = state.received();
            let answer = rule(all.len(), &received);
            let status = match &answer {
                CannedReply::Status(status) | CannedReply::With(status, _) => *status,
                CannedReply::Late(_) | CannedReply::Flood(_) | CannedReply::Trickle => 200,
                CannedReply::Hang | CannedReply::Drop => 0,
            };
            received.accepted = (200..300).contains(&status);
            all.push(received);
            answer
        };
        if !respond(&mut stream, answer, &state).await {
            return;
        }
    }
}

async fn respond(stream: &mut TcpStream, answer: CannedReply, state: &ReceiverState) -> bool {
    let head = |status: u16, more: &str, length: usize| {
        format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {length}\r\n{more}\r\n")
    };
    let written = match answer {
        CannedReply::Status(status) => stream.write_all(head(status, "", 0).as_bytes()).await,
        CannedReply::With(status, more) => {
            stream.write_all(head(status, &more, 0).as_bytes()).await
        }
        CannedReply::Hang => return std::future::pending().await,
        CannedReply::Late(after) => {
            tokio::time::sleep(after).await;
            stream.write_all(head(200, "", 0).as_bytes()).await
        }
        CannedReply::Flood(length) => {
            let _ = stream.write_all(head(200, "", length).as_bytes()).await;
            return write_slowly(stream, length, 65_536, Duration::ZERO, state).await;
        }
        CannedReply::Trickle => {
            let length = 1_000_000;
            let _ = stream.write_all(head(200, "", length).as_bytes()).await;
            return write_slowly(stream, length, 1, Duration::from_millis(20), state).await;
        }
        CannedReply::Drop => return false,
    };
    written.is_ok()
}

/// Writes a body piece by piece, until the body is complete or the other end closes the connection.
/// Returns whether the body is complete.
async fn write_slowly(
    stream: &mut TcpStream,
    length: usize,
    piece: usize,
    pause: Duration,
    state: &ReceiverState,
) -> bool {
    let (timer, piece, mut bytes) = (Stopwatch::start(), vec![b'x'; piece], 0);
    while bytes < length && stream.write_all(&piece).await.is_ok() {
        bytes += piece.len();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
    state.aborted_bodies().push(AbortedBody { bytes, after: timer.elapsed() });
    bytes >= length
}

/// Returns the next request of a connection. `bytes` keeps the bytes that were read after the end
/// of the last returned request.
async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<ReceivedRequest> {
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
            let headers: HashMap<String, String> =
                lines.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
            let length: usize =
                headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if bytes.len() >= end + 4 + length {
                let text =
                    String::from_utf8(bytes[end + 4..end + 4 + length].to_vec()).expect("UTF-8");
                bytes.drain(..end + 4 + length);
                return Some(ReceivedRequest {
                    headers,
                    text,
                    at: Instant::now(),
                    accepted: false,
                });
            }
        }
        let mut more = [0; 8_192];
        match stream.read(&mut more).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => bytes.extend_from_slice(&more[..count]),
        }
    }
}

//! The shop's receiver of webhooks. It records events and, until `accept_all` is called, refuses
//! events about one buyer.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The buyer whose events the receiver refuses at first.
pub const STUBBORN: &str = "stubborn";

/// An accepted event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's id.
    pub id: String,
    /// The event's type.
    pub what: String,
    /// The id of the order that the event is about, if any.
    pub order: Option<String>,
    /// The id of the refund that the event is about, if any.
    pub refund: Option<String>,
    /// What the provider reported about a reversed payment, if the event is about such a payment.
    pub reversal: Option<Value>,
    /// True if the event is about a reservation from the waitlist.
    pub from_waitlist: bool,
}

/// A receiver of webhooks. Clones share the list of events. The receiver stops when its runtime
/// ends.
#[derive(Clone)]
pub struct WebhookReceiver {
    address: SocketAddr,
    taken: Arc<Mutex<Vec<Event>>>,
    takes_all: Arc<AtomicBool>,
}

impl WebhookReceiver {
    /// Starts a receiver on a free port.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let receiver = Self { address, taken: Arc::default(), takes_all: Arc::default() };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        receiver
    }

    /// Returns the receiver's port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns the receiver's address.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Accepts all events from now on.
    pub fn accept_all(&self) {
        self.takes_all.store(true, Ordering::Release);
    }

    /// Returns the accepted events in order of arrival, with repetitions.
    pub fn received(&self) -> Vec<Event> {
        self.taken.lock().expect("no thread panics with the lock").clone()
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes: Vec<u8> = Vec::new();
        loop {
            while let Some((body, end)) = message(&bytes) {
                bytes.drain(..end);
                let refuses = !self.takes_all.load(Ordering::Acquire)
                    && body["data"]["order"]["buyer"] == STUBBORN;
                if !refuses {
                    // The receiver records the event before it answers, because the server may be
                    // killed before it reads the answer.
                    self.taken.lock().expect("no thread panics with the lock").push(event(&body));
                }
                let status = if refuses { "500 Not that one" } else { "204 Fine" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
            let mut more = [0; 4_096];
            match stream.read(&mut more).await {
                Ok(0) | Err(_) => return,
                Ok(count) => bytes.extend_from_slice(&more[..count]),
            }
        }
    }
}

/// Reads an event from the body of a webhook or of a broker's message.
pub fn event(body: &Value) -> Event {
    let text = |path: &str| body.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let order = ["order/id", "payment/order", "reversal/order"];
    Event {
        id: text("/id").expect("an id"),
        what: text("/type").expect("a type"),
        order: order.iter().find_map(|at| text(&format!("/data/{at}"))),
        refund: text("/data/refund/refund"),
        reversal: body.pointer("/data/reversal").cloned(),
        from_waitlist: body["data"]["from_waitlist"] == true,
    }
}

/// Returns each event only once, in the order of the first arrivals.
pub fn first(events: Vec<Event>) -> Vec<Event> {
    let mut seen = HashSet::new();
    events.into_iter().filter(|event| seen.insert(event.id.clone())).collect()
}

/// Returns the body of the first request, and the number of bytes of this request. Returns `None`
/// if the request is not complete.
fn message(bytes: &[u8]) -> Option<(Value, usize)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok())?;
    let end = head + 4 + length;
    let body = bytes.get(head + 4..end)?;
    Some((serde_json::from_slice(body).expect("JSON"), end))
}

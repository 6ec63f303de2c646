//! A raw HTTP client for one connection. If the connection ends, the client returns an error, so
//! the test can continue.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use doorbuster_auth::{NewToken, token};
use doorbuster_base::signing::{ID_HEADER, SIGNATURE_HEADER, SigningKey, TIMESTAMP_HEADER, sign};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The secret with which tests sign buyers' tokens.
pub const SECRET: &str = "a secret of the shop, long enough for anyone";
/// The time at which tokens expire. It is so late that no test reaches it, even if the test steps
/// the clock.
const FAR: i64 = 4_000_000_000;
/// The header with which a purchase asks the server to wait for the verdict. Five seconds are
/// longer than any pause of a busy machine.
const PATIENT: &str = "Prefer: wait=5\r\n";
/// The longest wait for an answer. After this time, the test fails.
const TIMEOUT: Duration = Duration::from_secs(45);

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    head: String,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Reply {
    /// Returns the value of the header with this name. The comparison of names ignores case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Returns the body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// Returns the status, such as `201`. For a problem, adds the problem's code: `409 sold_out`.
    #[track_caller]
    pub fn verdict(&self) -> String {
        if self.status < 400 {
            return self.status.to_string();
        }
        let problem = self.json();
        let retry = matches!(self.status, 429 | 503);
        assert_eq!(
            self.header("retry-after").is_some(),
            retry,
            "only 429 and 503 must have Retry-After: {self}"
        );
        format!("{} {}", self.status, problem["code"].as_str().unwrap_or("without a code"))
    }

    /// Returns the id in the body.
    #[track_caller]
    pub fn id(&self) -> String {
        self.json()["id"]
            .as_str()
            .unwrap_or_else(|| panic!("the answer has no id: {self}"))
            .to_owned()
    }

    /// Returns whether the answer is an order that existed before the request.
    pub fn is_replay(&self) -> bool {
        self.status == 200 && self.header("idempotent-replayed") == Some("true")
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.head.replace("\r\n", " | "), String::from_utf8_lossy(&self.body))
    }
}

/// A connection.
pub struct HttpConnection {
    /// The connection's socket.
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl HttpConnection {
    /// Opens a connection.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect(address).await?)
    }

    /// Creates an HTTP connection from a socket that is already connected.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Sends bytes unchanged.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Sends a request and reads its answer. Returns an error if the connection ends first.
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<Reply> {
        self.send(request).await?;
        self.reply().await
    }

    /// Reads the next answer. Returns an error if the connection ends first.
    pub async fn reply(&mut self) -> io::Result<Reply> {
        match tokio::time::timeout(TIMEOUT, self.read_reply()).await {
            Ok(reply) => reply,
            Err(_) => panic!("no answer within {TIMEOUT:?}"),
        }
    }

    /// Reads only the head of the next answer, because the body may never end.
    pub async fn head(&mut self) -> io::Result<Reply> {
        let end = loop {
            match self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(at) => break at,
                None => self.more().await?,
            }
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        self.read.drain(..end + 4);
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status line");
        Ok(Reply { status, head, body: Vec::new() })
    }

    async fn read_reply(&mut self) -> io::Result<Reply> {
        let mut reply = self.head().await?;
        // Answers with these statuses have no body, and therefore no length.
        let none = matches!(reply.status, 204 | 304).then_some(0);
        let length = reply
            .header("content-length")
            .map(|length| length.parse::<usize>().expect("a length"))
            .or(none);
        let length = length.unwrap_or_else(|| panic!("an answer of unknown length: {reply}"));
        while self.read.len() < length {
            self.more().await?;
        }
        reply.body = self.read.drain(..length).collect();
        Ok(reply)
    }

    /// Reads more bytes. Returns an error at the end of the connection.
    pub async fn more(&mut self) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        let read = self.stream.read(&mut bytes).await?;
        self.read.extend_from_slice(&bytes[..read]);
        if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    /// Returns the bytes that were read but not used yet.
    pub fn unread(&self) -> &[u8] {
        &self.read
    }

    /// Waits until the server closes the connection; returns the waiting time, or `None` if the
    /// wait takes longer than `most`.
    pub async fn ends(&mut self, most: Duration) -> Option<Duration> {
        let begun = tokio::time::Instant::now();
        let ended = tokio::time::timeout(most, async { while self.more().await.is_ok() {} }).await;
        ended.ok().map(|()| begun.elapsed())
    }
}

/// Returns the header line that authorizes this buyer.
pub fn signed_in(buyer: &str) -> String {
    let claims = NewToken { exp: FAR, ..NewToken::new(buyer, 0, Duration::ZERO) };
    format!("Authorization: Bearer {}\r\n", token(SECRET.as_bytes(), &claims))
}

/// Returns the bytes of a request. `lines` are whole header lines.
pub fn request(method: &str, path: &str, lines: &str, body: Option<&Value>) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\n{lines}");
    match body.map(Value::to_string) {
        Some(body) => {
            text += &format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
        }
        None => text += "\r\n",
    }
    text.into_bytes()
}

/// Returns the bytes of a payment message to the sandbox's webhook address. The message has the
/// current time and a signature with the provider's key.
pub fn message(key: &SigningKey, event: &str, body: &Value) -> Vec<u8> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
    let at = i64::try_from(now.as_secs()).expect("the time is in range");
    let signature = sign(event, at, body.to_string().as_bytes(), std::slice::from_ref(key));
    let lines = format!(
        "{ID_HEADER}: {event}\r\n{TIMESTAMP_HEADER}: {at}\r\n{SIGNATURE_HEADER}: {signature}\r\n"
    );
    request("POST", "/v1/payments/sandbox/webhook", &lines, Some(body))
}

/// The parameters of a purchase.
#[derive(Clone, Debug)]
pub struct PurchaseSpec {
    /// The buyer.
    pub buyer: String,
    /// The request key.
    pub key: String,
    /// The sale.
    pub sale: String,
    /// The item.
    pub item: String,
    /// The number of units.
    pub units: u32,
    /// The header line with the buyer's token. The token is signed only once, because signing is
    /// the slowest part of a request.
    pub signed: String,
}

impl PurchaseSpec {
    /// Creates a purchase of phones.
    pub fn new(buyer: &str, key: &str, sale: &str, units: u32) -> Self {
        let signed = signed_in(buyer);
        Self {
            buyer: buyer.into(),
            key: key.into(),
            sale: sale.into(),
            item: "phone".into(),
            units,
            signed,
        }
    }

    /// Returns the same purchase, but of the item `item`.
    pub fn item(self, item: &str) -> Self {
        Self { item: item.into(), ..self }
    }

    /// Returns the same purchase, but with another request key.
    pub fn key(&self, key: &str) -> Self {
        Self { key: key.into(), ..self.clone() }
    }

    /// Returns the bytes of the request. Its header asks the server to wait for the verdict.
    pub fn bytes(&self) -> Vec<u8> {
        self.with(PATIENT)
    }

    /// Returns the bytes of the request. `lines` replace the header that asks the server to wait.
    pub fn with(&self, lines: &str) -> Vec<u8> {
        let lines = format!("{}Idempotency-Key: {}\r\n{lines}", self.signed, self.key);
        let body = json!({"sale": self.sale, "item": self.item, "units": self.units});
        request("POST", "/v1/orders", &lines, Some(&body))
    }

    /// Returns the bytes of a request that reads or changes one of the buyer's orders.
    pub fn order(&self, method: &str, id: &str, tail: &str) -> Vec<u8> {
        request(method, &format!("/v1/orders/{id}{tail}"), &self.signed, None)
    }
}

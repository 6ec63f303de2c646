//! A scripted HTTP server for the tests of the load generator. It reads whole requests, and answers
//! each request with the actions that the test's script returns.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Debug, Clone)]
pub(super) struct Request {
    pub method: String,
    pub path: String,
    pub key: String,
    pub token: String,
    pub body: String,
    /// The number of earlier requests with the same method, path and key.
    pub nth: usize,
    /// The number of earlier requests of any kind.
    pub before: usize,
}

impl Request {
    /// Returns the buyer that the token names.
    pub fn buyer(&self) -> String {
        use base64::Engine;
        let claims = self.token.split('.').nth(1).expect("a token has three parts");
        let claims =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).expect("base64url");
        let claims: serde_json::Value = serde_json::from_slice(&claims).expect("JSON");
        claims["sub"].as_str().expect("a subject").to_owned()
    }
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Send(String),
    Pause(Duration),
    Close,
    Hang,
}

pub(super) fn answer(status: u16, body: &str) -> Vec<Action> {
    vec![Action::Send(format!(
        "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ))]
}

/// Returns an answer whose `Retry-After` asks the client to pause.
pub(super) fn busy(status: u16, retry_after_secs: u32) -> Vec<Action> {
    let body = r#"{"code":"overloaded","retryable":true}"#;
    vec![Action::Send(format!(
        "HTTP/1.1 {status} X\r\nRetry-After: {retry_after_secs}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))]
}

pub(super) fn refusal(code: &str) -> Vec<Action> {
    answer(
        409,
        &format!(r#"{{"type":"about:blank","status":409,"code":"{code}","retryable":false}}"#),
    )
}

pub(super) fn order(request: &Request, id: &str, state: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"sale\":\"spring\",\"item\":\"phone\",\"buyer\":\"{}\",\
         \"units\":10,\"state\":\"{state}\"}}",
        request.buyer()
    )
}

type Script = dyn Fn(&Request) -> Vec<Action> + Send + Sync;

/// A running scripted server. It ends when this value is dropped.
pub(super) struct FakeServer {
    pub addr: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    _runtime: tokio::runtime::Runtime,
}

impl FakeServer {
    pub fn start(script: impl Fn(&Request) -> Vec<Action> + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("an event loop for the test");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let addr = listener.local_addr().expect("a bound address");
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (script, log): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&seen));
        runtime.spawn(async move {
            let counts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(
                    stream,
                    Arc::clone(&script),
                    Arc::clone(&log),
                    Arc::clone(&counts),
                ));
            }
        });
        Self { addr, seen, _runtime: runtime }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().expect("no holder of the lock panics").clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    script: Arc<Script>,
    log: Arc<Mutex<Vec<Request>>>,
    counts: Arc<Mutex<HashMap<String, usize>>>,
) {
    let mut buf = Vec::new();
    loop {
        let Some(mut request) = read(&mut stream, &mut buf).await else { return };
        {
            let mut log = log.lock().expect("no holder of the lock panics");
            let name = format!("{} {} {}", request.method, request.path, request.key);
            let mut counts = counts.lock().expect("no holder of the lock panics");
            let count = counts.entry(name).or_default();
            request.nth = *count;
            *count += 1;
            request.before = log.len();
            log.push(request.clone());
        }
        for act in script(&request) {
            match act {
                Action::Send(bytes) => {
                    if stream.write_all(bytes.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Action::Pause(pause) => tokio::time::sleep(pause).await,
                Action::Close => return,
                Action::Hang => std::future::pending().await,
            }
        }
    }
}

async fn read(stream: &mut TcpStream, buf: &mut Vec<u8>) -> Option<Request> {
    loop {
        let text = String::from_utf8_lossy(buf).into_owned();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let header = |name: &str| {
                head.lines()
                    .find_map(|line| {
                        line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name))
                    })
                    .map_or(String::new(), |(_, value)| value.to_owned())
            };
            let length: usize = header("content-length").parse().unwrap_or(0);
            if rest.len() >= length {
                let mut line =
                    head.lines().next().unwrap_or_default().split(' ').map(str::to_owned);
                let request = Request {
                    method: line.next().unwrap_or_default(),
                    path: line.next().unwrap_or_default(),
                    key: header("idempotency-key"),
                    token: header("authorization").trim_start_matches("Bearer ").to_owned(),
                    body: rest[..length].to_owned(),
                    nth: 0,
                    before: 0,
                };
                buf.drain(..head.len() + 4 + length);
                return Some(request);
            }
        }
        if stream.read_buf(buf).await.ok()? == 0 {
            return None;
        }
    }
}

//! `webhook listen`: receives messages on a local port, verifies each message and prints it. This
//! command is for tests.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use doorbuster_base::signing::{Millis, SigningKey, TOLERANCE_MS, verify};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::cli::ListenArgs;
use crate::client;
use crate::exit::{CommandResult, Failure, Outcome};
use crate::print;

/// Longest accepted body, in bytes. Doorbuster sends only shorter messages.
const BODY_BYTES_MAX: usize = 1 << 20;
/// At most this many connections are served at a time. Further connections wait.
const CONNECTIONS_MAX: usize = 32;
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

struct Receiver {
    keys: Vec<SigningKey>,
    answer: StatusCode,
    json: bool,
}

impl Receiver {
    /// With `--json`, standard output contains only messages, so the notice goes to standard error.
    fn print_notice(&self, text: &str) -> Outcome {
        if !self.json {
            return print::line(text);
        }
        // An error is ignored, because the messages on standard output are complete without the
        // notice.
        let _ = writeln!(std::io::stderr(), "{text}");
        Ok(CommandResult::Success)
    }
}

/// Receives messages until the process is interrupted.
pub fn run(args: &ListenArgs, json: bool) -> Outcome {
    let keys: Option<Vec<SigningKey>> =
        args.secret.iter().map(|secret| SigningKey::parse(secret)).collect();
    let invalid = || {
        Failure::Settings("invalid --secret: write whsec_ and then 24 to 64 bytes in base64".into())
    };
    let keys = keys.ok_or_else(invalid)?;
    let answer =
        StatusCode::from_u16(args.answer).context("--answer is not a valid HTTP status")?;
    let address = SocketAddr::new(args.address, args.port);
    client::block_on(serve(address, Receiver { keys, answer, json }))
}

async fn serve(address: SocketAddr, receiver: Receiver) -> Outcome {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr().context("cannot read the address of the listener")?;
    receiver.print_notice(&format!("listening on http://{address}/"))?;
    let (receiver, permits) = (Arc::new(receiver), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        let permit = permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| anyhow!("the semaphore is closed"))?;
        let (stream, _) = listener.accept().await.context("failed to accept a connection")?;
        let receiver = receiver.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer_request(&receiver, request));
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            // An error of the connection is ignored, because the sender detects this error too.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

async fn answer_request(
    receiver: &Receiver,
    request: Request<Incoming>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let status = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => check_message(receiver, &parts.headers, &body.to_bytes()),
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE,
    };
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}

fn check_message(receiver: &Receiver, headers: &hyper::HeaderMap, body: &[u8]) -> StatusCode {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = Millis(i64::try_from(now).unwrap_or(i64::MAX));
    // A failed print is ignored: the sender must get an answer even if standard output is closed.
    match verify(headers, body, &receiver.keys, now, TOLERANCE_MS) {
        Ok(_) if receiver.json => drop(print::line(&String::from_utf8_lossy(body))),
        Ok(id) => drop(print::text(&message_text(id, body))),
        Err(error) => {
            drop(receiver.print_notice(&format!("refused: {error}")));
            return StatusCode::UNAUTHORIZED;
        }
    }
    receiver.answer
}

fn message_text(id: &str, body: &[u8]) -> String {
    let Ok(message) = serde_json::from_slice::<Value>(body) else {
        return format!("{id}  valid signature, invalid JSON\n");
    };
    let text = |name: &str| message[name].as_str().unwrap_or("–").to_owned();
    let data = serde_json::to_string_pretty(&message["data"]).unwrap_or_default();
    format!("{}  {}  {id}  valid signature\n{data}\n", text("timestamp"), text("type"))
}

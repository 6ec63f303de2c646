//! `webhook listen`: receives messages on a port of this machine, verifies each and prints it. For
//! trying out.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, anyhow};
use doorbuster_server::signing::{Millis, SigningKey, TOLERANCE_MS, verify};
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
use crate::exit::{Failure, Outcome};
use crate::print;

/// Longest message that is read; none of doorbuster's is longer.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Connections at once; further ones wait.
const CONNECTIONS_MAX: usize = 32;
/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What each request is judged by.
struct Receiver {
    keys: Vec<SigningKey>,
    answer: StatusCode,
    json: bool,
}

/// Receives until it is interrupted.
pub fn run(args: &ListenArgs, json: bool) -> Outcome {
    let keys: Option<Vec<SigningKey>> =
        args.secret.iter().map(|secret| SigningKey::parse(secret)).collect();
    let wrong = || Failure::Settings("a secret is whsec_ and 24 to 64 bytes in base64".into());
    let keys = keys.ok_or_else(wrong)?;
    let answer = StatusCode::from_u16(args.answer).context("no status of HTTP")?;
    let address = SocketAddr::new(args.address, args.port);
    client::block_on(serve(address, Receiver { keys, answer, json }))
}

async fn serve(address: SocketAddr, receiver: Receiver) -> Outcome {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let address = listener.local_addr().context("no address")?;
    print::line(&format!("listening on http://{address}/"))?;
    let (receiver, places) = (Arc::new(receiver), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        let place =
            places.clone().acquire_owned().await.map_err(|_| anyhow!("nobody closes it"))?;
        let (stream, _) = listener.accept().await.context("no connection can be taken")?;
        let receiver = receiver.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer_request(&receiver, request));
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            // A connection that breaks is its sender's to notice.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
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

/// Prints a message if it is genuine, and says what it is answered with.
fn check_message(receiver: &Receiver, headers: &hyper::HeaderMap, body: &[u8]) -> StatusCode {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = Millis(i64::try_from(now).unwrap_or(i64::MAX));
    // A reader that went away hears nothing more; the sender still gets its answer.
    match verify(headers, body, &receiver.keys, now, TOLERANCE_MS) {
        Ok(_) if receiver.json => drop(print::line(&String::from_utf8_lossy(body))),
        Ok(id) => drop(print::text(&message_text(id, body))),
        Err(error) => {
            drop(print::text(&format!("refused: {error}\n")));
            return StatusCode::UNAUTHORIZED;
        }
    }
    receiver.answer
}

/// A message for people.
fn message_text(id: &str, body: &[u8]) -> String {
    let Ok(message) = serde_json::from_slice::<Value>(body) else {
        return format!("{id} is signed, and no JSON\n");
    };
    let text = |name: &str| message[name].as_str().unwrap_or("–").to_owned();
    let data = serde_json::to_string_pretty(&message["data"]).unwrap_or_default();
    format!("{}  {}  {id}  the signature holds\n{data}\n", text("timestamp"), text("type"))
}

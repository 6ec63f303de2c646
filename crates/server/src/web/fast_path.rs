//! Purchases straight off the connection.
//!
//! A crowd sends one kind of request, `POST /v1/orders` with a few plain headers, on connections
//! that carry nothing else. Such requests are read and answered here, in about a microsecond beside
//! the work itself, where the general server takes three to four. Whatever is out of the ordinary
//! (another address, a body in pieces, `Expect`, a header twice, bytes that are no HTTP) is not
//! judged here: the connection goes on in the general server, which sees the request from its first
//! byte. Both come to [`hot::start_purchase`], so there is one purchase, not two.

mod bytes;
mod parse;

pub(crate) use bytes::{DateHeader, RenderedHead};

use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::ready;
use std::time::{Duration, Instant};

use doorbuster_api::problem::Problem;
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connection::Connection;
use super::dispatch::internal_error;
use super::limits::{FAST_PATH_BUFFER_BYTES, FAST_PATH_BYTES_MAX};
use super::purchase_handler::{self, LearnedFacts, PurchaseReply, PurchaseStep};
use super::reply::problem;
use parse::{ParsedRequest, parse_request};

/// More than nearly every answer has.
const ANSWER_BYTES: usize = 512;

/// A connection that the general server goes on with, and what came on it and is not answered.
pub(crate) type Handover = Option<(TcpStream, Vec<u8>)>;

/// Serves a connection as long as nothing but ordinary purchases comes on it.
pub(crate) async fn serve(connection: &Arc<Connection>, mut stream: TcpStream) -> Handover {
    let app = &connection.service.app;
    // What came and is not answered. An idle connection keeps no room for it, nor does one that
    // waits for its purchase.
    let mut buffer = Vec::new();
    let (mut facts, mut date) =
        (LearnedFacts::default(), DateHeader::with_extra_headers(app.page_origin.header_lines()));
    // When what is here began to come, or the last purchase that waited was answered.
    let mut since = Instant::now();
    // One timer for many requests: it is looked at when it fires, and wound again if it fired too
    // early.
    let mut idle = pin!(tokio::time::sleep(connection.idle));
    // A token of its own: the shared one is locked by whoever looks at it, which would be
    // everybody, all the time.
    let stop = connection.stop.child_token();
    let mut stopped = pin!(stop.cancelled());
    loop {
        match parse_request(&buffer) {
            ParsedRequest::Purchase { known, body, mut len } => {
                let mut now = app.engine.now();
                let purchase_headers = known.purchase_headers(connection.peer, &app.proxies);
                let sell = || {
                    purchase_handler::start_purchase(
                        app,
                        &purchase_headers,
                        body,
                        (since, now),
                        &facts,
                    )
                };
                let sold = match catch_unwind(AssertUnwindSafe(sell)).ok() {
                    Some(PurchaseStep::NeedsFact(fact)) => {
                        Box::pin(app.learn_fact(fact, &mut facts)).await;
                        continue;
                    }
                    Some(PurchaseStep::Continues(rest)) => {
                        drop_front(&mut buffer, std::mem::take(&mut len));
                        let sold = AssertUnwindSafe(rest).catch_unwind().await.ok();
                        (since, now) = (Instant::now(), app.engine.now());
                        sold
                    }
                    Some(PurchaseStep::PurchaseReply(sold)) => Some(sold),
                    None => None,
                };
                drop_front(&mut buffer, len);
                facts = LearnedFacts::default();
                if send_reply(connection, &mut stream, sold, date.set(now), stopped.as_mut())
                    .await?
                {
                    since = Instant::now();
                }
                continue;
            }
            ParsedRequest::Other => return Some((stream, buffer)),
            ParsedRequest::Incomplete if buffer.len() >= FAST_PATH_BYTES_MAX => {
                return Some((stream, buffer));
            }
            ParsedRequest::Incomplete => {}
        }
        let begins = buffer.is_empty();
        tokio::select! {
            biased;
            read = read_more(&mut stream, &mut buffer) => {
                if read.ok()? == 0 {
                    return None;
                }
                if begins {
                    since = Instant::now();
                }
            }
            () = idle.as_mut() => {
                if since.elapsed() >= connection.idle {
                    if buffer.windows(4).any(|end| end == b"\r\n\r\n") {
                        let (render_reply, _) = render_reply(connection, Some(body_timeout_reply()), date.set(app.engine.now()), true);
                        write_all_within(&mut stream, render_reply, app.write_stall).await.ok()?;
                    }
                    return None;
                }
                idle.as_mut().reset((since + connection.idle).into());
            }
            () = stopped.as_mut() => return None,
        }
    }
}

/// Tells what a purchase came to, and lets a connection rest that asks for more than can be taken
/// in; whether it did. `None`: the connection has ended.
async fn send_reply(
    connection: &Connection,
    stream: &mut TcpStream,
    sold: Option<PurchaseReply>,
    date: &DateHeader,
    stopped: impl Future<Output = ()>,
) -> Option<bool> {
    let rest = connection.service.app.overload_pause(connection.peer, sold.as_ref());
    let (render_reply, stays) = render_reply(connection, sold, date, false);
    write_all_within(stream, render_reply, connection.service.app.write_stall).await.ok()?;
    if !stays {
        return None;
    }
    let Some(rest) = rest else { return Some(false) };
    tokio::select! {
        // What came meanwhile is still answered.
        () = stopped => {}
        () = Box::pin(tokio::time::sleep(rest)) => {}
    }
    Some(true)
}

/// What a request hears whose body does not come.
fn body_timeout_reply() -> PurchaseReply {
    PurchaseReply::Rendered(problem(&Problem::malformed_request("the body took too long")))
}

/// Forgets the first `len` bytes, and gives the room back if nothing came after them.
fn drop_front(buffer: &mut Vec<u8>, len: usize) {
    match buffer.len() == len {
        true => *buffer = Vec::new(),
        false => drop(buffer.drain(..len)),
    }
}

/// Reads what came into `buffer`, which is taken only then.
async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|context| {
        ready!(stream.poll_read_ready(context))?;
        buffer.reserve(FAST_PATH_BUFFER_BYTES);
        let read = pin!(stream.read_buf(buffer)).poll(context);
        if read.is_pending() {
            drop_front(buffer, 0);
        }
        read
    })
    .await
}

/// The bytes of an answer, none of which is kept while the connection is idle; and whether the
/// connection stays.
fn render_reply(
    connection: &Connection,
    sold: Option<PurchaseReply>,
    date: &DateHeader,
    is_last: bool,
) -> (Vec<u8>, bool) {
    let app = &connection.service.app;
    let is_last = is_last || app.stopping.load(Ordering::Relaxed);
    let mut out = Vec::with_capacity(ANSWER_BYTES);
    let status = match sold {
        Some(PurchaseReply::Refused(refusal, limit_status)) => {
            app.refusals.write((&refusal, limit_status.as_ref()), date, is_last, &mut out)
        }
        Some(PurchaseReply::Rendered(reply)) => bytes::write(reply, date, is_last, &mut out),
        None => bytes::write(internal_error(), date, is_last, &mut out),
    };
    app.metrics.requests.count(connection.service.purchase, status.as_u16());
    (out, !is_last)
}

/// Writes all of `bytes`, which nearly always fit at once; those that do not may take as long as
/// `stall`.
async fn write_all_within(
    stream: &mut TcpStream,
    bytes: Vec<u8>,
    stall: Duration,
) -> io::Result<()> {
    let written = match stream.try_write(&bytes) {
        Ok(written) if written == bytes.len() => return Ok(()),
        Ok(written) => written,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(error),
    };
    // Boxed, so that a connection keeps no room for what nearly never happens.
    Box::pin(tokio::time::timeout(stall, stream.write_all(&bytes[written..]))).await?
}

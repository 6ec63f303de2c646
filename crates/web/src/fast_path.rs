//! Reads and answers purchases directly on the connection.
//!
//! Most requests at the opening of a sale are alike: `POST /v1/orders` with a few plain headers, on
//! a connection that carries only purchases. This code reads such a request and writes its response
//! in about one microsecond of work. The general server needs three to four microseconds. These
//! times do not include the purchase itself.
//!
//! If a request is unusual, for example because it has a chunked body or a repeated header, the
//! general server takes over the connection. The general server gets the unusual request from its
//! first byte on. The fast path and the general server call the same
//! [`purchase_handler::start_purchase`].

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
use super::edge::RawHead;
use super::internal_error::internal_error;
use super::limits::{FAST_PATH_BUFFER_BYTES, FAST_PATH_BYTES_MAX};
use super::purchase_handler::{self, LearnedFacts, PurchaseStep};
use super::purchase_reply::PurchaseReply;
use super::reply::problem;
use parse::{ParsedRequest, parse_request};

/// The initial capacity of the buffer for a response. Nearly every response fits into it.
const ANSWER_BYTES: usize = 512;

/// A connection that the general server must take over, with the bytes that were read but not yet
/// handled. `None` if the connection has ended.
pub(crate) type Handover = Option<(TcpStream, Vec<u8>)>;

pub(crate) async fn serve(connection: &Arc<Connection>, mut stream: TcpStream) -> Handover {
    let app = &connection.service.app;
    // The bytes of requests that are not handled yet. A purchase's bytes are removed before the
    // purchase waits for its verdict. So a waiting or idle connection usually needs no buffer.
    let mut buffer = Vec::new();
    let (mut facts, mut date) =
        (LearnedFacts::default(), DateHeader::with_extra_headers(app.page_origin.header_lines()));
    // When the first request in `buffer` began to arrive, or the previous request was answered.
    let mut since = Instant::now();
    // One timer serves many requests. If it fires too early, the server sets it again.
    let mut idle = pin!(tokio::time::sleep(connection.idle));
    // Each connection has its own child token. Otherwise, tasks would contend for one token's lock.
    let stop = connection.stop.child_token();
    let mut stopped = pin!(stop.cancelled());
    loop {
        match parse_request(&buffer) {
            ParsedRequest::Purchase { known, body, mut len } => {
                let mut now = app.node.now();
                let purchase_headers = known.purchase_headers(connection.peer, &app.live().proxies);
                let head = RawHead::Bytes(&buffer[..len - body.len()]);
                let sell = || {
                    purchase_handler::start_purchase(
                        app,
                        (&purchase_headers, head),
                        body,
                        (since, now),
                        &facts,
                    )
                };
                let reply = match catch_unwind(AssertUnwindSafe(sell)).ok() {
                    Some(PurchaseStep::NeedsFact(fact)) => {
                        Box::pin(app.learn_fact(fact, &mut facts)).await;
                        continue;
                    }
                    Some(PurchaseStep::Continues(rest)) => {
                        drop_front(&mut buffer, std::mem::take(&mut len));
                        let reply = AssertUnwindSafe(rest).catch_unwind().await.ok();
                        (since, now) = (Instant::now(), app.node.now());
                        reply
                    }
                    Some(PurchaseStep::PurchaseReply(reply)) => Some(reply),
                    None => None,
                };
                drop_front(&mut buffer, len);
                facts = LearnedFacts::default();
                let sent =
                    send_reply(connection, &mut stream, reply, date.set(now), stopped.as_mut());
                if sent.await? || !buffer.is_empty() {
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
                        let (reply, date) = (body_timeout_reply(), date.set(app.node.now()));
                        let (reply, _) = render_reply(connection, Some(reply), date, true);
                        write_all_within(&mut stream, reply, app.write_stall).await.ok()?;
                    }
                    return None;
                }
                idle.as_mut().reset((since + connection.idle).into());
            }
            () = stopped.as_mut() => return None,
        }
    }
}

/// Sends a response. After the response `overloaded`, pauses the connection. Returns whether the
/// connection was paused, or `None` if the connection has ended.
async fn send_reply(
    connection: &Connection,
    stream: &mut TcpStream,
    reply: Option<PurchaseReply>,
    date: &DateHeader,
    stopped: impl Future<Output = ()>,
) -> Option<bool> {
    let rest = connection.service.app.overload_pause(connection.peer, reply.as_ref());
    let (bytes, stays) = render_reply(connection, reply, date, false);
    write_all_within(stream, bytes, connection.service.app.write_stall).await.ok()?;
    if !stays {
        return None;
    }
    let Some(rest) = rest else { return Some(false) };
    tokio::select! {
        // The stop of the server ends the pause, so that requests that have already arrived are
        // still answered.
        () = stopped => {}
        () = Box::pin(tokio::time::sleep(rest)) => {}
    }
    Some(true)
}

fn body_timeout_reply() -> PurchaseReply {
    PurchaseReply::Rendered(problem(&Problem::malformed_request("the body did not arrive in time")))
}

/// Removes the first `len` bytes. If no bytes remain, frees the buffer's memory.
fn drop_front(buffer: &mut Vec<u8>, len: usize) {
    match buffer.len() == len {
        true => *buffer = Vec::new(),
        false => drop(buffer.drain(..len)),
    }
}

/// Reads bytes into `buffer`. Allocates memory only after bytes have arrived.
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

/// Returns the response's bytes, and whether the connection stays open. The caller frees the bytes
/// after it has written them, so an idle connection has no buffer for responses.
fn render_reply(
    connection: &Connection,
    reply: Option<PurchaseReply>,
    date: &DateHeader,
    is_last: bool,
) -> (Vec<u8>, bool) {
    let app = &connection.service.app;
    let is_last = is_last || app.stopping.load(Ordering::Relaxed);
    let mut out = Vec::with_capacity(ANSWER_BYTES);
    let status = match reply {
        Some(PurchaseReply::Refused(refusal, limit_status)) => {
            app.refusals.write((&refusal, limit_status.as_ref()), date, is_last, &mut out)
        }
        Some(PurchaseReply::Rendered(reply)) => bytes::write(reply, date, is_last, &mut out),
        None => bytes::write(internal_error(), date, is_last, &mut out),
    };
    app.metrics.requests.count(connection.service.purchase, status.as_u16());
    (out, !is_last)
}

/// Writes the bytes, which nearly always fit into the socket's buffer. If they do not fit and the
/// client does not read them within `stall`, the write fails.
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
    // Boxed, so that a connection needs memory for this future only in this rare case.
    Box::pin(tokio::time::timeout(stall, stream.write_all(&bytes[written..]))).await?
}

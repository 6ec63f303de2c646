//! `GET /v1/ws`: sends a buyer's events over a WebSocket. From the client, the server accepts
//! pongs, close frames and new tokens. It ignores other messages. A message that is too long closes
//! the WebSocket.
//!
//! An active WebSocket has a task of its own. After some time without activity, this task ends, and
//! a shared task serves the WebSocket, which then needs less memory (`idle.rs`).

mod unsent;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use doorbuster_api::problem::Problem;
use doorbuster_auth::VerifiedBuyer;
use doorbuster_core::BuyerId;
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use super::feed::{EventFeed, FeedEvent};
use super::idle_connection::{IdleConnection, IdleTask, WebSocketReader};
use super::upgrade::{Upgrade, offered_token, refuse_foreign, upgrade_required};
use super::{edge_link, follow};
use crate::App;
use crate::connection::Connection;
use crate::guarded_stream::GuardedStream;
use crate::identity::{ClientAddress, TokenExpiry};
use crate::limits::{
    CLOSE_TIMEOUT, IDLE_RETRY_AFTER, WS_BUFFER_BYTES, WS_MESSAGE_BYTES_MAX, WS_WRITE_BYTES_MAX,
};
use crate::refusals::BLOCKED;
use crate::reply::HandlerError;
use unsent::{PartialFrame, send_unsent};

const TRY_AGAIN_LATER: u16 = 1013;
/// A close code of this program: the token expired, or a new token that the client sent is not
/// valid.
const TOKEN_EXPIRED: u16 = 4401;
const POLICY_VIOLATION: u16 = 1008;
/// The message is too long or malformed.
const PROTOCOL_ERROR: u16 = 1002;
pub(super) const GOING_AWAY: u16 = 1001;
pub(super) const STOPPING: &str = "the server is stopping";

/// `GET /v1/ws`
pub(crate) async fn websocket(
    State(app): State<Arc<App>>,
    client: ClientAddress,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    connection: Option<Extension<Arc<Connection>>>,
    upgrade: Result<Upgrade, HandlerError>,
) -> Result<Response, HandlerError> {
    let connection = || connection.map(|Extension(it)| it).ok_or_else(upgrade_required);
    if edge_link::is_edge(&app, &headers) {
        return Ok(edge_link::accept(app, upgrade?, connection()?));
    }
    let VerifiedBuyer { name, expires_secs, .. } = buyer(&app, &headers).await?;
    let (buyer, expiry) = (BuyerId::from(name), TokenExpiry(expires_secs));
    let upgrade = upgrade?;
    let connection = connection()?;
    let feed = follow(&app, (client, buyer, expiry), query.as_deref(), None).await?;
    let answer = upgrade.answer();
    tokio::spawn(async move {
        if let Some(socket) = upgrade.connection().await {
            serve_new(socket, feed, connection).await;
        }
    });
    Ok(answer)
}

/// Verifies the request's token, which is in `Authorization`, in a subprotocol or in the cookie.
async fn buyer(app: &App, headers: &HeaderMap) -> Result<VerifiedBuyer, Problem> {
    if headers.contains_key(AUTHORIZATION) {
        return app.buyer(headers, &Method::GET).await;
    }
    match offered_token(headers) {
        Some(token) => app.buyer_of_token(token).await,
        None => {
            // A browser sends the cookie even if a page of another origin opens the WebSocket, so
            // the server checks the origin.
            refuse_foreign(headers)?;
            app.buyer(headers, &Method::GET).await
        }
    }
}

/// Why an idle WebSocket becomes active. The reason decides what the WebSocket's new task does
/// first.
pub(super) enum WakeReason {
    /// More input may follow.
    Input(Vec<u8>),
    /// The socket did not accept a whole frame at once. Contains the rest of the frame.
    Unsent(Vec<u8>),
    TurnedAway,
    /// The kernel cannot poll the socket of an idle connection.
    CannotIdle,
    /// The task must check for itself whether events, input or pings wait.
    Recheck,
}

struct ActiveWebSocket {
    socket: WebSocketStream<GuardedStream>,
    reader: WebSocketReader,
    /// The total size of all complete frames that were read. If the socket has delivered more
    /// bytes, a part of the next frame has arrived.
    bytes_in_frames: u64,
    /// How long the connection must be without activity before it becomes idle.
    idle_after: Duration,
}

#[derive(serde::Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ClientMessage {
    /// The client sends a new token. The connection may stay open until this token expires.
    Renew { token: String },
}

enum EndReason {
    Gone,
    /// The client sent a close frame. The server answers it with a close frame.
    Closed,
    CloseWith(u16, &'static str),
    GoesIdle(IdleTask),
}

impl EndReason {
    /// Returns how the connection must end. Returns `None` if `end` is an event for the client.
    fn of(end: &FeedEvent) -> Option<Self> {
        match end {
            FeedEvent::Event(_) => None,
            FeedEvent::TooSlow => Some(Self::CloseWith(TRY_AGAIN_LATER, "too slow")),
            FeedEvent::TurnedAway => Some(Self::CloseWith(POLICY_VIOLATION, BLOCKED)),
            FeedEvent::Expired => Some(Self::CloseWith(TOKEN_EXPIRED, "the token expired")),
        }
    }
}

async fn serve_new(socket: GuardedStream, feed: EventFeed, connection: Arc<Connection>) {
    let _present = feed.app().metrics.sockets.hold();
    let reader =
        WebSocketReader { feed, connection, unanswered: 0, ping_at: Instant::now(), _present };
    let idle_after = reader.feed.app().idle_after;
    let mut active = ActiveWebSocket::start(socket, reader, idle_after).await;
    let end = if active.send_first_events().await { active.serve().await } else { EndReason::Gone };
    active.close(end).await;
}

pub(super) fn resume(stream: std::net::TcpStream, mut reader: WebSocketReader, why: WakeReason) {
    tokio::spawn(async move {
        // If the runtime cannot poll this socket, the socket is closed at once.
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        let app = reader.feed.app().clone();
        let (mut received, mut unsent, mut idle_after, mut end) =
            (Vec::new(), Vec::new(), app.idle_after, None);
        match why {
            WakeReason::Input(bytes) => received = bytes,
            WakeReason::Unsent(bytes) => unsent = bytes,
            WakeReason::TurnedAway => end = Some(EndReason::CloseWith(POLICY_VIOLATION, BLOCKED)),
            WakeReason::CannotIdle => idle_after = IDLE_RETRY_AFTER,
            WakeReason::Recheck => {}
        }
        let mut socket = GuardedStream::new(stream, received, app.write_stall);
        match send_unsent(&mut socket, unsent, &mut reader).await {
            Ok(None) => {}
            Ok(Some(interrupted)) => end = EndReason::of(&interrupted),
            Err(PartialFrame) => return,
        }
        let mut active = ActiveWebSocket::start(socket, reader, idle_after).await;
        let end = match end {
            Some(end) => end,
            None => active.serve().await,
        };
        active.close(end).await;
    });
}

/// Returns the size of a client's frame with this many bytes of content.
fn frame_bytes(payload: usize) -> u64 {
    let length = match payload {
        0..=125 => 0,
        126..=65_535 => 2,
        _ => 8,
    };
    // A frame has these parts: two bytes, a longer length if the content needs it, a mask of four
    // bytes, and the content.
    (2 + length + 4 + payload) as u64
}

impl ActiveWebSocket {
    async fn start(socket: GuardedStream, reader: WebSocketReader, idle_after: Duration) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(WS_MESSAGE_BYTES_MAX))
            .max_frame_size(Some(WS_MESSAGE_BYTES_MAX))
            .read_buffer_size(WS_BUFFER_BYTES)
            .write_buffer_size(WS_BUFFER_BYTES)
            .max_write_buffer_size(WS_WRITE_BYTES_MAX);
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
        Self { socket, reader, bytes_in_frames: 0, idle_after }
    }

    /// Sends the first events: a greeting, the statuses of the sales, and the buyer's positions.
    /// Returns whether the socket accepted all of them.
    async fn send_first_events(&mut self) -> bool {
        let feed = &mut self.reader.feed;
        let mut first = vec![feed.hello()];
        first.extend(feed.statuses().await);
        first.extend(feed.positions().await);
        for json in first {
            if self.socket.send(Message::Text(json.into())).await.is_err() {
                return false;
            }
        }
        self.reader.ping_at = Instant::now() + self.reader.feed.app().ping_policy.ping_every;
        true
    }

    async fn serve(&mut self) -> EndReason {
        let app = self.reader.feed.app().clone();
        let mut idle_after = self.idle_after;
        let mut quiet_at = Some(Instant::now() + idle_after);
        loop {
            let message = tokio::select! {
                feed_event = self.reader.feed.next() => match feed_event {
                    FeedEvent::Event(event) => match self.reader.feed.event_json(&event).await {
                        Some(json) => Message::Text(json.into()),
                        None => continue,
                    },
                    end => return EndReason::of(&end).unwrap_or(EndReason::Gone),
                },
                received = self.socket.next() => match received {
                    Some(Ok(Message::Close(_))) => return EndReason::Closed,
                    // If this error means that the connection is gone, the close frame has no
                    // effect.
                    Some(Err(_)) => return EndReason::CloseWith(PROTOCOL_ERROR, "the message is not allowed"),
                    None => return EndReason::Gone,
                    Some(Ok(message)) => {
                        self.bytes_in_frames += frame_bytes(message.len());
                        self.reader.unanswered = 0;
                        idle_after = app.idle_after;
                        quiet_at = Some(Instant::now() + idle_after);
                        match self.renewal(&message).await {
                            None => continue,
                            Some(Ok(json)) => Message::Text(json.into()),
                            Some(Err(reason)) => return EndReason::CloseWith(TOKEN_EXPIRED, reason),
                        }
                    }
                },
                () = sleep_until(self.reader.ping_at) => {
                    if self.reader.unanswered == app.ping_policy.pings_max {
                        return EndReason::Gone;
                    }
                    self.reader.unanswered += 1;
                    self.reader.ping_at = Instant::now() + app.ping_policy.ping_every;
                    if self.socket.send(Message::Ping(Bytes::new())).await.is_err() {
                        return EndReason::Gone;
                    }
                    continue;
                }
                () = sleep_until(quiet_at.unwrap_or(self.reader.ping_at)),
                    if quiet_at.is_some() =>
                {
                    if let Some(slot) = self.idle_slot() {
                        return EndReason::GoesIdle(slot);
                    }
                    // The WebSocket cannot become idle yet, because no slot is free or because the
                    // socket accepts no bytes. The task tries again, at growing intervals.
                    idle_after = (idle_after * 2).min(IDLE_RETRY_AFTER);
                    // A WebSocket with a partly received frame must not become idle.
                    quiet_at = self.has_no_partial_frame().then(|| Instant::now() + idle_after);
                    continue;
                }
                () = app.stop.cancelled() => return EndReason::CloseWith(GOING_AWAY, STOPPING),
            };
            if let Some(end) = self.send(message).await {
                return end;
            }
            (idle_after, quiet_at) = (app.idle_after, Some(Instant::now() + app.idle_after));
        }
    }

    /// Sends a message. Returns a reason if the connection must end. Notices such a reason even
    /// while the write waits for a client that does not read.
    async fn send(&mut self, message: Message) -> Option<EndReason> {
        let app = self.reader.feed.app().clone();
        tokio::select! {
            biased;
            sent = self.socket.send(message) => sent.is_err().then_some(EndReason::Gone),
            end = self.reader.feed.must_end() => EndReason::of(&end),
            () = app.stop.cancelled() => Some(EndReason::CloseWith(GOING_AWAY, STOPPING)),
        }
    }

    /// If the message contains a new token, checks it. Returns the event that confirms the token,
    /// or the reason why the token is rejected. Returns `None` for any other message.
    async fn renewal(&mut self, message: &Message) -> Option<Result<String, &'static str>> {
        let Message::Text(text) = message else { return None };
        let ClientMessage::Renew { token } = serde_json::from_str(text).ok()?;
        let app = self.reader.feed.app().clone();
        let renewed = app.buyer_of_token(&token).await.ok().and_then(|buyer| {
            self.reader.feed.renew(&BuyerId::from(buyer.name), TokenExpiry(buyer.expires_secs))
        });
        Some(renewed.ok_or("the new token is not valid for this buyer"))
    }

    /// Returns whether all bytes that arrived belong to complete frames and complete messages.
    fn has_no_partial_frame(&self) -> bool {
        self.socket.get_ref().bytes_read() == Some(self.bytes_in_frames)
    }

    /// Reserves a slot, so that the WebSocket can become idle. Returns `None` if no slot is free.
    /// Also returns `None` if bytes would be lost: a part of a frame has arrived, or the socket
    /// does not accept all bytes yet.
    fn idle_slot(&mut self) -> Option<IdleTask> {
        let is_sent = self.has_no_partial_frame()
            && matches!(self.socket.flush().now_or_never(), Some(Ok(())));
        if !is_sent {
            return None;
        }
        self.reader.connection.service.idle_slots.upgrade()?.reserve()
    }

    async fn close(self, end: EndReason) {
        let Self { mut socket, reader, .. } = self;
        let last = match end {
            EndReason::Gone => return,
            EndReason::GoesIdle(slot) => return make_idle(socket.into_inner(), reader, slot),
            EndReason::Closed => None,
            EndReason::CloseWith(code, reason) => {
                Some(Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() })))
            }
        };
        let WebSocketReader { feed, connection, _present, .. } = reader;
        // The feed is no longer needed, and the wait for the client's close frame below may take
        // seconds.
        drop(feed);
        let closing = async {
            let sent = match last {
                Some(last) => socket.send(last).await,
                // The library has already queued the close frame that answers the client's close
                // frame.
                None => Ok(()),
            };
            if sent.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        };
        tokio::select! {
            () = closing => {}
            () = tokio::time::sleep(CLOSE_TIMEOUT) => {}
            () = connection.cut.cancelled() => {}
        }
    }
}

fn make_idle(socket: GuardedStream, reader: WebSocketReader, slot: IdleTask) {
    if let Some(Ok(stream)) = socket.into_stream().map(TcpStream::into_std) {
        drop(slot.send(Box::new(IdleConnection::new(stream, reader))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_length_is_the_sum_of_header_mask_and_payload() {
        for (payload, bytes) in [(0, 6), (125, 131), (126, 134), (65_535, 65_543), (65_536, 65_550)]
        {
            assert_eq!(frame_bytes(payload), bytes, "{payload}");
        }
    }
}

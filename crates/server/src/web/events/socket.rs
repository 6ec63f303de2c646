//! `GET /v1/ws`: the same events over a WebSocket. What a reader sends is read for its pongs and its farewell alone.
//!
//! A WebSocket has a task of its own while something happens to it. After a quiet moment the task ends, and a bed in a dormitory keeps the little that it takes
//! to go on.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use doorbuster_api::event::BEARER_SUBPROTOCOL_PREFIX;
use doorbuster_api::problem::Problem;
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use super::dormitory::{Bed, Sleeper};
use super::feed::{Feed, Heard};
use super::follow;
use super::upgrade::{Upgrade, not_asked_for};
use crate::auth::Shopper;
use crate::metrics::Present;
use crate::web::App;
use crate::web::connection::Connection;
use crate::web::limits::{
    CLOSE_TIMEOUT, SLEEPLESS, WS_BUFFER_BYTES, WS_MESSAGE_BYTES_MAX, WS_WRITE_BYTES_MAX,
};
use crate::web::refusals::BLOCKED;
use crate::web::reply::Refused;
use crate::web::socket::Socket;
use crate::web::who::{Client, owned};

/// Close code: come again later.
const TRY_AGAIN_LATER: u16 = 1013;
/// Close code: this end does not want to.
const POLICY_VIOLATION: u16 = 1008;
/// Close code: what came is no message, or longer than one may be.
const PROTOCOL_ERROR: u16 = 1002;
/// Close code: this end is going away.
pub(super) const GOING_AWAY: u16 = 1001;
/// Why it is.
pub(super) const STOPPING: &str = "the server is stopping";

/// `GET /v1/ws`
pub(crate) async fn socket(
    State(app): State<Arc<App>>,
    client: Client,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    connection: Option<Extension<Arc<Connection>>>,
    upgrade: Result<Upgrade, Refused>,
) -> Result<Response, Refused> {
    let buyer = owned(buyer(&app, &headers).await?.name);
    let upgrade = upgrade?;
    let Extension(connection) = connection.ok_or_else(not_asked_for)?;
    let feed = follow(&app, (client, buyer), query.as_deref(), None).await?;
    let answer = upgrade.answer();
    tokio::spawn(async move {
        if let Some(socket) = upgrade.connection().await {
            begin(socket, feed, connection).await;
        }
    });
    Ok(answer)
}

/// The buyer, by the header or by the second subprotocol.
async fn buyer(app: &App, headers: &HeaderMap) -> Result<Shopper, Problem> {
    if headers.contains_key(AUTHORIZATION) {
        return app.buyer(headers).await;
    }
    let offered =
        headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let token = offered
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(BEARER_SUBPROTOCOL_PREFIX));
    match token {
        Some(token) => app.buyer_of(token).await,
        None => app.buyer(headers).await,
    }
}

/// Whoever reads at a WebSocket, awake or asleep.
pub(super) struct Reader {
    pub feed: Feed,
    /// Its place among connections is the reader's.
    pub connection: Arc<Connection>,
    /// Pings since it was last heard of.
    pub unanswered: u32,
    /// When the next ping is due.
    pub ping_at: Instant,
    pub _present: Present,
}

/// Why a sleeping WebSocket is woken, and what its task begins with.
pub(super) enum Wake {
    /// This came, and perhaps more.
    Heard(Vec<u8>),
    /// This is the rest of what it was told, and was not taken at once.
    Unsent(Vec<u8>),
    /// Operators turn the reader away.
    TurnedAway,
    /// The kernel has no room to listen to it in its sleep.
    Sleepless,
    /// The task finds out.
    Look,
}

/// A WebSocket that is served by this task.
struct Awake {
    socket: WebSocketStream<Socket>,
    reader: Reader,
    /// Bytes of the frames that were heard, if none of them was in any way but the shortest.
    heard: u64,
    /// How long nothing is to happen before it goes to sleep.
    quiet: Duration,
}

/// Why a task ends.
enum End {
    /// The other end is gone.
    Gone,
    /// The other end closes it, and is told that this was heard.
    Closed,
    /// It is told this.
    Told(u16, &'static str),
    /// It goes to sleep.
    Tired(Bed),
}

/// Serves a WebSocket from its beginning.
async fn begin(socket: Socket, feed: Feed, connection: Arc<Connection>) {
    let _present = feed.app().metrics.sockets.enter();
    let reader = Reader { feed, connection, unanswered: 0, ping_at: Instant::now(), _present };
    let quiet = reader.feed.app().quiet;
    let mut awake = Awake::over(socket, reader, quiet).await;
    let end = if awake.greet().await { awake.serve().await } else { End::Gone };
    awake.end(end).await;
}

/// Serves a WebSocket that slept, in a task of its own.
pub(super) fn wake(stream: std::net::TcpStream, mut reader: Reader, why: Wake) {
    tokio::spawn(async move {
        // What cannot be watched cannot be served.
        let Ok(stream) = TcpStream::from_std(stream) else { return };
        let app = reader.feed.app().clone();
        let (mut heard, mut unsent, mut quiet, mut end) = (Vec::new(), Vec::new(), app.quiet, None);
        match why {
            Wake::Heard(bytes) => heard = bytes,
            Wake::Unsent(bytes) => unsent = bytes,
            Wake::TurnedAway => end = Some(End::Told(POLICY_VIOLATION, BLOCKED)),
            Wake::Sleepless => quiet = SLEEPLESS,
            Wake::Look => {}
        }
        let mut socket = Socket::new(stream, heard, app.write_stall);
        if !tell_rest(&mut socket, unsent, &mut reader).await {
            return;
        }
        let mut awake = Awake::over(socket, reader, quiet).await;
        let end = match end {
            Some(end) => end,
            None => awake.serve().await,
        };
        awake.end(end).await;
    });
}

/// Sends the rest of what a sleeper was told; whether it was taken. Whoever has part of a frame cannot be told anything else, not even farewell.
async fn tell_rest(socket: &mut Socket, unsent: Vec<u8>, reader: &mut Reader) -> bool {
    let app = reader.feed.app().clone();
    tokio::select! {
        biased;
        sent = socket.write_all(&unsent) => sent.is_ok(),
        () = reader.feed.turned_away() => false,
        () = app.stop.cancelled() => false,
        () = reader.connection.cut.cancelled() => false,
    }
}

/// How many bytes a client's frame has that holds so many.
fn frame_bytes(payload: usize) -> u64 {
    let length = match payload {
        0..=125 => 0,
        126..=65_535 => 2,
        _ => 8,
    };
    // Two that every frame has, and its mask.
    (2 + length + 4 + payload) as u64
}

impl Awake {
    async fn over(socket: Socket, reader: Reader, quiet: Duration) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(WS_MESSAGE_BYTES_MAX))
            .max_frame_size(Some(WS_MESSAGE_BYTES_MAX))
            .read_buffer_size(WS_BUFFER_BYTES)
            .write_buffer_size(WS_BUFFER_BYTES)
            .max_write_buffer_size(WS_WRITE_BYTES_MAX);
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
        Self { socket, reader, heard: 0, quiet }
    }

    /// Says what is said first; whether it was taken.
    async fn greet(&mut self) -> bool {
        let feed = &mut self.reader.feed;
        let mut first = vec![feed.hello()];
        first.extend(feed.statuses().await);
        first.extend(feed.places().await);
        for json in first {
            if self.socket.send(Message::Text(json.into())).await.is_err() {
                return false;
            }
        }
        self.reader.ping_at = Instant::now() + self.reader.feed.app().silence.ping_every;
        true
    }

    async fn serve(&mut self) -> End {
        let app = self.reader.feed.app().clone();
        let mut quiet = self.quiet;
        let mut quiet_at = Some(Instant::now() + quiet);
        loop {
            let message = tokio::select! {
                heard = self.reader.feed.next() => match heard {
                    Heard::Event(event) => match self.reader.feed.told(&event).await {
                        Some(json) => Message::Text(json.into()),
                        None => continue,
                    },
                    Heard::TooSlow => return End::Told(TRY_AGAIN_LATER, "too slow"),
                    Heard::TurnedAway => return End::Told(POLICY_VIOLATION, BLOCKED),
                },
                came = self.socket.next() => match came {
                    Some(Ok(Message::Close(_))) => return End::Closed,
                    // Also a connection that is gone: then it cannot be told.
                    Some(Err(_)) => return End::Told(PROTOCOL_ERROR, "not a message that is taken here"),
                    None => return End::Gone,
                    Some(Ok(message)) => {
                        self.heard += frame_bytes(message.len());
                        self.reader.unanswered = 0;
                        (quiet, quiet_at) = (app.quiet, Some(Instant::now() + app.quiet));
                        continue;
                    }
                },
                () = sleep_until(self.reader.ping_at) => {
                    if self.reader.unanswered == app.silence.pings_max {
                        return End::Gone;
                    }
                    self.reader.unanswered += 1;
                    self.reader.ping_at = Instant::now() + app.silence.ping_every;
                    if self.socket.send(Message::Ping(Bytes::new())).await.is_err() {
                        return End::Gone;
                    }
                    continue;
                }
                () = sleep_until(quiet_at.unwrap_or(self.reader.ping_at)), if quiet_at.is_some() => {
                    if let Some(bed) = self.bed() {
                        return End::Tired(bed);
                    }
                    // Where there is no bed, or a connection takes nothing, it is tried again ever more seldom.
                    quiet = (quiet * 2).min(SLEEPLESS);
                    // Before the rest of a frame comes there is no use in it.
                    quiet_at = self.holds_nothing().then(|| Instant::now() + quiet);
                    continue;
                }
                () = app.stop.cancelled() => return End::Told(GOING_AWAY, STOPPING),
            };
            if self.socket.send(message).await.is_err() {
                return End::Gone;
            }
            (quiet, quiet_at) = (app.quiet, Some(Instant::now() + app.quiet));
        }
    }

    /// Whether nothing was read that was not heard: no part of a frame, and of a message.
    fn holds_nothing(&self) -> bool {
        self.socket.get_ref().heard() == Some(self.heard)
    }

    /// A bed, if there is one, and nothing is lost with the task.
    fn bed(&mut self) -> Option<Bed> {
        let is_sent =
            self.holds_nothing() && matches!(self.socket.flush().now_or_never(), Some(Ok(())));
        if !is_sent {
            return None;
        }
        self.reader.connection.service.beds.upgrade()?.one()
    }

    async fn end(self, end: End) {
        let Self { mut socket, reader, .. } = self;
        let last = match end {
            End::Gone => return,
            End::Tired(bed) => return lie_down(socket.into_inner(), reader, bed),
            End::Closed => None,
            End::Told(code, reason) => {
                Some(Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() })))
            }
        };
        let Reader { feed, connection, _present, .. } = reader;
        // What waited in the hub is given up before the farewell, which may take its time.
        drop(feed);
        let farewell = async {
            let sent = match last {
                Some(last) => socket.send(last).await,
                // The answer to its frame waits to be written already.
                None => Ok(()),
            };
            if sent.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        };
        tokio::select! {
            () = farewell => {}
            // A reader that does not take it is left.
            () = tokio::time::sleep(CLOSE_TIMEOUT) => {}
            () = connection.cut.cancelled() => {}
        }
    }
}

/// Puts a WebSocket to sleep.
fn lie_down(socket: Socket, reader: Reader, bed: Bed) {
    // One that the event loop does not let go is lost.
    if let Some(Ok(stream)) = socket.into_stream().map(TcpStream::into_std) {
        drop(bed.send(Box::new(Sleeper::new(stream, reader))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_long_as_its_head_its_mask_and_what_it_holds() {
        for (payload, bytes) in [(0, 6), (125, 131), (126, 134), (65_535, 65_543), (65_536, 65_550)]
        {
            assert_eq!(frame_bytes(payload), bytes, "{payload}");
        }
    }
}

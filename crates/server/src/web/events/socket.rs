//! `GET /v1/ws`: the same events over a WebSocket. What a reader sends is read for its pongs and its farewell alone.

use std::sync::Arc;

use axum::Extension;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use doorbuster_api::event::{BEARER_SUBPROTOCOL_PREFIX, SUBPROTOCOL};
use doorbuster_api::problem::{Fault, Place, Problem};
use http::HeaderMap;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::feed::{Feed, Told};
use super::follow;
use crate::auth::Shopper;
use crate::web::App;
use crate::web::connection::Connection;
use crate::web::limits::{CLOSE_TIMEOUT, WS_BUFFER_BYTES, WS_MESSAGE_BYTES_MAX, WS_WRITE_BYTES_MAX};
use crate::web::refusals::BLOCKED;
use crate::web::reply::Refused;
use crate::web::who::{Client, owned};

/// Close code: come again later.
const TRY_AGAIN_LATER: u16 = 1013;
/// Close code: this end does not want to.
const POLICY_VIOLATION: u16 = 1008;
/// Close code: what came is no message, or longer than one may be.
const PROTOCOL_ERROR: u16 = 1002;
/// Close code: this end is going away.
const GOING_AWAY: u16 = 1001;

/// `GET /v1/ws`
pub(crate) async fn socket(
    State(app): State<Arc<App>>,
    client: Client,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    connection: Option<Extension<Arc<Connection>>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refused> {
    let buyer = owned(buyer(&app, &headers).await?.name);
    let (Ok(upgrade), Some(Extension(connection))) = (upgrade, connection) else {
        let fault = Fault::new(Place::Header("Upgrade"), "must ask for a WebSocket, version 13");
        return Err(Problem::invalid_request(vec![fault]).into());
    };
    let feed = follow(&app, (client, buyer), query.as_deref(), None).await?;
    Ok(upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(WS_MESSAGE_BYTES_MAX)
        .max_frame_size(WS_MESSAGE_BYTES_MAX)
        .read_buffer_size(WS_BUFFER_BYTES)
        .write_buffer_size(WS_BUFFER_BYTES)
        .max_write_buffer_size(WS_WRITE_BYTES_MAX)
        .on_upgrade(move |socket| run(socket, feed, connection)))
}

/// The buyer, by the header or by the second subprotocol.
async fn buyer(app: &App, headers: &HeaderMap) -> Result<Shopper, Problem> {
    if headers.contains_key(AUTHORIZATION) {
        return app.buyer(headers).await;
    }
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let token = offered
        .flat_map(|value| value.split(','))
        .find_map(|protocol| protocol.trim().strip_prefix(BEARER_SUBPROTOCOL_PREFIX));
    match token {
        Some(token) => app.buyer_of(token).await,
        None => app.buyer(headers).await,
    }
}

/// Why a socket ends.
enum End {
    /// The other end is gone.
    Gone,
    /// The other end closes it, and is told that this was heard.
    Closed,
    /// It is told this.
    Told(u16, &'static str),
}

async fn run(mut socket: WebSocket, mut feed: Feed, connection: Arc<Connection>) {
    let _present = feed.app().metrics.sockets.enter();
    let end = serve(&mut socket, &mut feed).await;
    // What waited in the hub is given up before the farewell, which may take its time.
    drop(feed);
    let last = match end {
        End::Gone => return,
        End::Closed => None,
        End::Told(code, reason) => Some(Message::Close(Some(CloseFrame { code, reason: reason.into() }))),
    };
    {
        let farewell = async {
            let sent = match last {
                Some(last) => socket.send(last).await,
                // The answer to its frame waits to be written already.
                None => Ok(()),
            };
            if sent.is_ok() {
                while let Some(Ok(_)) = socket.recv().await {}
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

async fn serve(socket: &mut WebSocket, feed: &mut Feed) -> End {
    let app = feed.app().clone();
    let mut first = vec![feed.hello()];
    first.extend(feed.statuses().await);
    first.extend(feed.places().await);
    for json in first {
        if socket.send(Message::Text(json.into())).await.is_err() {
            return End::Gone;
        }
    }
    let mut ping = interval_at(Instant::now() + app.silence.ping_every, app.silence.ping_every);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut unanswered = 0;
    loop {
        let message = tokio::select! {
            told = feed.next() => match told {
                Told::Event(_, json) => Message::Text(json.into()),
                Told::TooSlow => return End::Told(TRY_AGAIN_LATER, "too slow"),
                Told::TurnedAway => return End::Told(POLICY_VIOLATION, BLOCKED),
            },
            came = socket.recv() => match came {
                Some(Ok(Message::Close(_))) => return End::Closed,
                // Also a connection that is gone: then it cannot be told.
                Some(Err(_)) => return End::Told(PROTOCOL_ERROR, "not a message that is taken here"),
                None => return End::Gone,
                Some(Ok(_)) => {
                    unanswered = 0;
                    continue;
                }
            },
            _ = ping.tick() => {
                if unanswered == app.silence.pings_max {
                    return End::Gone;
                }
                unanswered += 1;
                Message::Ping(Bytes::new())
            }
            () = app.stop.cancelled() => return End::Told(GOING_AWAY, "the server is stopping"),
        };
        if socket.send(message).await.is_err() {
            return End::Gone;
        }
    }
}

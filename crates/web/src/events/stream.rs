//! `GET /v1/events`: server-sent events.
//!
//! The stream has no task of its own: the connection polls the stream for a frame when the
//! connection's buffer has room. Until then, events wait in the hub, up to the hub's limit. If the
//! stream must end and the client does not read, the connection closes after `CLOSE_TIMEOUT`.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawQuery, State};
use bytes::Bytes;
use doorbuster_telemetry::metrics::GaugeGuard;
use futures_util::stream::unfold;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::time::Instant;

use super::feed::{EventFeed, FeedEvent};
use super::follow;
use crate::App;
use crate::connection::{Connection, StreamGuard};
use crate::identity::{Buyer, ClientAddress, TokenExpiry};
use crate::reply::{HandlerResult, ReplyBody};

/// In this header, a browser that connects again sends the id of the last event that it got.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Asks a proxy not to buffer the stream.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The last frame of a stream whose token expired. The client connects again with a new token.
const BYE: &str = "event: bye\ndata: {\"reason\":\"token_expired\"}\n\n";

struct EventStream {
    feed: EventFeed,
    first: VecDeque<String>,
    ping_at: Instant,
    is_over: bool,
    _present: (GaugeGuard, StreamGuard),
}

/// `GET /v1/events`
pub(crate) async fn stream(
    State(app): State<Arc<App>>,
    Buyer(buyer): Buyer,
    expiry: TokenExpiry,
    client: ClientAddress,
    Extension(connection): Extension<Arc<Connection>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> HandlerResult {
    // This server's event ids are numbers. Any other value is not from this server, so it is
    // ignored.
    let after = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok());
    let mut feed = follow(&app, (client, buyer, expiry), query.as_deref(), after).await?;
    let mut first = VecDeque::from([format!("id: {}\ndata: {}\n\n", feed.since(), feed.hello())]);
    for json in feed.statuses().await.into_iter().chain(feed.positions().await) {
        first.push_back(format!("data: {json}\n\n"));
    }
    let ping_at = Instant::now() + app.ping_policy.ping_every;
    let _present = (app.metrics.streams.hold(), StreamGuard::new(connection, feed.overdue()));
    let stream = EventStream { feed, first, ping_at, is_over: false, _present };
    let body = axum::body::Body::from_stream(unfold(stream, |mut stream| async move {
        let frame = stream.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(frame)), stream))
    }));
    let mut reply = Response::new(ReplyBody::Routed(body));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(reply)
}

impl EventStream {
    /// `None` ends the stream.
    async fn next(&mut self) -> Option<String> {
        if let Some(frame) = self.first.pop_front() {
            return Some(frame);
        }
        if self.is_over {
            return None;
        }
        let app = self.feed.app().clone();
        loop {
            tokio::select! {
                feed_event = self.feed.next() => match feed_event {
                    FeedEvent::Event(event) => {
                        if let Some(json) = self.feed.event_json(&event).await {
                            return Some(format!("id: {}\ndata: {json}\n\n", event.id));
                        }
                    }
                    FeedEvent::TooSlow | FeedEvent::TurnedAway => return None,
                    FeedEvent::Expired => {
                        self.is_over = true;
                        return Some(BYE.to_owned());
                    }
                },
                () = tokio::time::sleep_until(self.ping_at) => {
                    self.ping_at = Instant::now() + app.ping_policy.ping_every;
                    return Some(": ping\n\n".to_owned());
                }
                () = app.stop.cancelled() => return None,
            }
        }
    }
}

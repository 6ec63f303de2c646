//! Sends a buyer's events, as server-sent events or over a WebSocket, with the same JSON. An event
//! can be lost, so clients must read orders and sales with `GET` to be sure of their state.

mod edge_link;
mod feed;
mod frame;
mod idle;
mod idle_connection;
mod stream;
mod upgrade;
mod websocket;

pub(crate) use idle_connection::IdleTasks;
pub(crate) use stream::stream;
pub(crate) use websocket::websocket;

use std::sync::Arc;

use doorbuster_api::problem::{Problem, RateLimitScope};
use doorbuster_api::query::parse_followed_sales;
use doorbuster_core::BuyerId;

use super::App;
use super::identity::{ClientAddress, TokenExpiry};
use super::limits::STREAM_RETRY_SECS;
use super::sales::find_sale;
use feed::EventFeed;

/// Subscribes to the buyer's orders and to the sales in the query. With `after`, the stream begins
/// with the buyer's events after this number, if this node still has them.
async fn follow(
    app: &Arc<App>,
    (client, buyer, expiry): (ClientAddress, BuyerId, TokenExpiry),
    query: Option<&str>,
    after: Option<u64>,
) -> Result<EventFeed, Problem> {
    // Subscribes to new blocks before the check for blocks. In the opposite order, a block between
    // the two steps would be missed.
    let blocks = app.gate.blocks.changes();
    app.ensure_not_blocked(client, &buyer)?;
    let sales = parse_followed_sales(query.unwrap_or_default())?;
    for sale in &sales {
        find_sale(app, sale).await?;
    }
    let feed = EventFeed::new(app.clone(), (client, buyer, expiry), sales, blocks, after);
    let mut feed =
        feed.ok_or_else(|| Problem::rate_limited(RateLimitScope::Buyer, STREAM_RETRY_SECS))?;
    feed.wait_until_followed().await;
    Ok(feed)
}

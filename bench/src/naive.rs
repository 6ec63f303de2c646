//! The naive design, which the figure R4N compares with the server. It sells units without the
//! protocol of the server. A handler deducts units in Redis and pushes the order to a list in
//! Redis. A consumer takes orders from the list, and inserts the orders into PostgreSQL.
//!
//! - A crash of Redis or of the consumer can lose a confirmed order.
//! - If the handler crashes before the order is in the list, the deducted units are lost.
//! - The design does not verify tokens, so it is faster than a design that verifies them.
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Args;
use redis::aio::MultiplexedConnection;
use serde_json::Value;

const RESERVE_SCRIPT: &str = include_str!("peer/booked.lua");
/// The list in Redis to which the handler pushes orders, and from which the consumer takes them.
pub const QUEUE: &str = "orders";
/// One `BRPOP` of the consumer waits at most this many seconds for an order.
const POP_SECS: f64 = 1.0;

/// The addresses of the naive design's parts.
#[derive(Clone, Debug, Args)]
pub struct NaiveArgs {
    /// Run the naive peer on this address, instead of measuring.
    #[arg(long, hide = true, requires = "naive_redis", requires = "naive_postgres")]
    pub naive: Option<SocketAddr>,
    #[arg(long, hide = true)]
    naive_redis: Option<String>,
    #[arg(long, hide = true)]
    naive_postgres: Option<String>,
}

struct App {
    redis: MultiplexedConnection,
    /// The digest of the loaded script.
    script: String,
}

/// Serves requests until the process is killed.
///
/// # Errors
/// Fails if the handler cannot start, or Redis or PostgreSQL fails.
pub fn serve(args: &NaiveArgs) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (addr, url) = (
            args.naive.context("--naive is missing")?,
            args.naive_redis.as_deref().context("--naive-redis is missing")?,
        );
        let client = redis::Client::open(url)?;
        let mut redis =
            client.get_multiplexed_async_connection().await.context("cannot connect to Redis")?;
        // `BRPOP` blocks its connection, so the consumer needs a separate connection, without a
        // timeout.
        let config = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let waiting = client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .context("cannot connect to Redis")?;
        let (db, connection) = tokio_postgres::connect(
            args.naive_postgres.as_deref().context("--naive-postgres is missing")?,
            tokio_postgres::NoTls,
        )
        .await
        .context("cannot connect to PostgreSQL")?;
        tokio::spawn(connection);
        let consumer = tokio::spawn(consume(waiting, db));
        let load =
            redis::cmd("SCRIPT").arg("LOAD").arg(RESERVE_SCRIPT).query_async(&mut redis).await;
        let app = Arc::new(App { redis, script: load.context("cannot load the script")? });
        let router = Router::new().route("/v1/orders", post(buy)).with_state(app);
        let listener = tokio::net::TcpListener::bind(addr).await?;
        println!("naive peer listening on http://{addr}");
        tokio::select! {
            served = axum::serve(listener, router) => served.context("failed to serve"),
            consumed = consumer => consumed.context("the consumer failed")?,
        }
    })
}

async fn buy(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Cow<'static, str>) {
    let mut redis = app.redis.clone();
    let Some((buyer, item, units)) = read(&headers, &body) else {
        return (StatusCode::BAD_REQUEST, "{}".into());
    };
    let reserved_units = redis::cmd("EVALSHA")
        .arg(&app.script)
        .arg(1)
        .arg(item)
        .arg(units)
        .query_async::<i64>(&mut redis)
        .await;
    match reserved_units {
        Ok(0) => (StatusCode::CONFLICT, r#"{"code":"sold_out"}"#.into()),
        Ok(_) => {
            let pushed = redis::cmd("LPUSH")
                .arg(QUEUE)
                .arg(format!("{buyer} {units}"))
                .exec_async(&mut redis)
                .await;
            match pushed {
                // Each buyer buys once, so the buyer's id serves as the order's id.
                Ok(()) => {
                    let order = format!(r#"{{"id":"{buyer}","state":"reserved"}}"#);
                    (StatusCode::CREATED, order.into())
                }
                Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "{}".into()),
            }
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "{}".into()),
    }
}

/// Returns the buyer, the item and the units of a request. Does not verify the token's signature.
fn read(headers: &HeaderMap, body: &[u8]) -> Option<(String, String, u32)> {
    let token = headers.get("authorization")?.to_str().ok()?;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let (claims, body): (Value, Value) =
        (serde_json::from_slice(&claims).ok()?, serde_json::from_slice(body).ok()?);
    let units = u32::try_from(body["units"].as_u64()?).ok()?;
    Some((claims["sub"].as_str()?.to_owned(), body["item"].as_str()?.to_owned(), units))
}

async fn consume(mut redis: MultiplexedConnection, db: tokio_postgres::Client) -> Result<()> {
    let insert = db.prepare("INSERT INTO naive_order (buyer, units) VALUES ($1, $2)").await?;
    loop {
        let popped: Option<(String, String)> =
            redis::cmd("BRPOP").arg(QUEUE).arg(POP_SECS).query_async(&mut redis).await?;
        let Some((_, order)) = popped else { continue };
        let (buyer, units) =
            order.split_once(' ').context("the list has an entry that is not an order")?;
        let units: i32 = units.parse()?;
        // If the process ends before the next line runs, this confirmed order is lost, because the
        // order is no longer in the list.
        db.execute(&insert, &[&buyer, &units]).await?;
    }
}

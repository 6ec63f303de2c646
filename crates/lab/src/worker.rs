//! A worker process: an application server that runs one strategy and serves buyers over HTTP.
//!
//! The lab may kill a worker at any time. So data that must survive has to be in PostgreSQL or
//! Redis.

use std::convert::Infallible;
use std::io::{BufRead, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::backends::{Addresses, Backends};
use crate::contract::{Answer, Strategy, StrategyKind};
use crate::registry;

/// How long the worker waits before it calls the strategy's background work again, if no work was
/// waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// How long the worker waits before it calls the strategy's background work again, if the work
/// failed.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// The parameters of a worker. The lab writes them as one line to the worker's standard input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerSpec {
    /// The strategy.
    pub strategy: String,
    /// The addresses of the servers.
    pub addresses: Addresses,
    /// The port to listen on.
    pub port: u16,
    /// True for one worker of a run. This worker does the background work of strategies in which
    /// one process does that work for all.
    pub leads: bool,
}

/// Serves buyers until the standard input ends. The standard input also ends when the lab dies, so
/// a worker never runs longer than the lab.
pub fn run() -> Result<()> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("cannot read standard input")?;
    let spec: WorkerSpec =
        serde_json::from_str(&line).context("the worker's specification is invalid")?;
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        // If the read returns, the lab has ended. It does not matter whether the read returns the
        // end of the input or an error.
        let _ = std::io::stdin().read_to_end(&mut rest);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&spec))
}

async fn serve(spec: &WorkerSpec) -> Result<()> {
    let entry = registry::find(&spec.strategy).context("unknown strategy")?;
    let StrategyKind::Worker(make) = entry.kind else { bail!("{} has no worker", spec.strategy) };
    let strategy: Arc<dyn Strategy> = make(&Backends::new(&spec.addresses)?).into();
    let listener = TcpListener::bind(("127.0.0.1", spec.port)).await?;
    if spec.leads || strategy.works_everywhere() {
        tokio::spawn(run_background(Arc::clone(&strategy)));
    }
    println!("ready");
    std::io::stdout().flush()?;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // With Nagle's algorithm, the system would hold back a small response until the client has
        // acknowledged the previous one.
        let _ = stream.set_nodelay(true);
        let strategy = Arc::clone(&strategy);
        tokio::spawn(async move {
            let answer = service_fn(|request| answer(Arc::clone(&strategy), request));
            let mut http = hyper::server::conn::http1::Builder::new();
            // An error of a connection concerns only the buyer on this connection, who repeats the
            // request.
            let _ =
                http.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn run_background(strategy: Arc<dyn Strategy>) {
    loop {
        match strategy.background().await {
            Ok(true) => {}
            Ok(false) => tokio::time::sleep(POLL_INTERVAL).await,
            Err(error) => {
                eprintln!("background work failed; retrying: {error:#}");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

async fn answer(
    strategy: Arc<dyn Strategy>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let outcome = match request.uri().path() {
        "/take" => take(&*strategy, request.uri().query().unwrap_or_default()).await,
        "/waiting" => strategy.waiting().await.map(|count| (StatusCode::OK, count.to_string())),
        _ => Ok((StatusCode::NOT_FOUND, String::new())),
    };
    let (status, text) =
        outcome.unwrap_or_else(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")));
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    Ok(response)
}

async fn take(strategy: &dyn Strategy, query: &str) -> Result<(StatusCode, String)> {
    let value = |name: &str| -> Result<i64> {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let found =
            pairs.find(|(key, _)| *key == name).context("the request needs `buyer` and `units`")?;
        Ok(found.1.parse()?)
    };
    let (status, text) = match strategy.take(value("buyer")?, value("units")?).await? {
        Answer::Sold => (StatusCode::OK, "sold"),
        Answer::SoldOut => (StatusCode::CONFLICT, "sold out"),
        Answer::Busy => (StatusCode::TOO_MANY_REQUESTS, "try again"),
    };
    Ok((status, text.to_owned()))
}

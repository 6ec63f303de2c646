//! D8: the latency of orders while every webhook endpoint fails. One endpoint never answers, one
//! refuses connections, and one answers `500`.
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::figure_or_invalid;
use super::sale_server::{self, SaleServer};
use crate::config::BenchConfig;
use crate::figure::{Figure, Target, median};
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::{Load, Pace, RunResult};

const MEASURED: &str = "p99 of an order while three endpoints fail";
const SALE: &str = "spring";
const ENDPOINTS: &str = "/v1/admin/webhook-endpoints";
/// Settings that allow webhook endpoints on this machine, and that end a delivery after one second
/// without an answer. An endpoint that never answers then fails many times during the measurement.
const SETTINGS: [(&str, &str); 2] =
    [("DOORBUSTER_WEBHOOKS__ALLOW_PRIVATE", "true"), ("DOORBUSTER_WEBHOOKS__TIMEOUT_SECS", "1")];
/// The rate of orders, per second. D5 uses the same rate.
const ORDERS_PER_SEC: f64 = 300.0;
const CONNECTIONS: usize = 64;
/// A p99 of up to this many milliseconds meets the floor, because buyers do not notice it.
const UNNOTICED_MS: f64 = 50.0;
/// How long an endpoint waits for the remaining bytes of a webhook request.
const REST_WITHIN: Duration = Duration::from_secs(2);

/// Measures D8.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    let target = Target::AtMost { floor: UNNOTICED_MS, goal: UNNOTICED_MS / 2.0 };
    vec![figure_or_invalid("D8", MEASURED, target, beside_endpoints(config))]
}

#[derive(Debug)]
struct Measured {
    /// The latency of an order while the endpoints fail: the 99th percentile and the median, in
    /// milliseconds.
    with: (f64, f64),
    without: (f64, f64),
    /// The number of events that wait for the endpoint with the largest backlog.
    waiting: u64,
}

fn beside_endpoints(config: &BenchConfig) -> Result<Figure> {
    let mut measured = Vec::new();
    for round in 0..=config.rounds {
        let one = one_round(config)?;
        if round > 0 {
            measured.push(one);
        }
    }
    let middle =
        |of: &dyn Fn(&Measured) -> f64| median(&measured.iter().map(of).collect::<Vec<_>>());
    let without = middle(&|m| m.without.0);
    let target = Target::AtMost { floor: UNNOTICED_MS.max(2.0 * without), goal: 2.0 * without };
    let mut figure = Figure::new("D8", MEASURED, target).with_value(middle(&|m| m.with.0), "ms");
    figure.peer = Some((without, "ms before"));
    figure.rounds = measured.iter().map(|m| m.with.0).collect();
    Ok(figure.note(format!(
        "{ORDERS_PER_SEC:.0}/s; median {:.2} ms, and {:.2} ms before the endpoints were added; at \
         the end {:.0} events waited for the endpoint with the largest backlog, and no event was \
         given up",
        middle(&|m| m.with.1),
        middle(&|m| m.without.1),
        middle(&|m| m.waiting as f64),
    )))
}

fn one_round(config: &BenchConfig) -> Result<Measured> {
    let mut sale_server = SaleServer::open_with(config, &SETTINGS)?;
    sale_server.open_plenty(SALE)?;
    let (warm_up, time) = (config.time, config.time * 2);
    let pace = Pace::Open(ORDERS_PER_SEC);
    let load = Load { pace, warm_up, time, ..config.load(sale_server.addr(), CONNECTIONS) };
    // The buyers must suffice for two loads: one before and one after the endpoints are added.
    // Arrivals are random, so the bench prepares a tenth more buyers than arrive on average.
    let count = ORDERS_PER_SEC * 2.0 * (warm_up + time).as_secs_f64() * 1.1;
    let buyers = sale_server::buyers("buyer", count as u32 + 100);
    let mut script = Purchases::each_once(&buyers, sale_server::template(&buyers, SALE, 1, ""), 0);
    let before = sale_server.take_orders(&load, &mut script)?;
    let away = [
        DeadEndpoint::start(Some(EndpointAnswer::Never))?,
        DeadEndpoint::start(None)?,
        DeadEndpoint::start(Some(EndpointAnswer::Fails))?,
    ];
    for endpoint in &away {
        let body = json!({"url": format!("http://{}/", endpoint.addr), "types": ["*"]});
        sale_server.server().operate("POST", ENDPOINTS, &body.to_string(), 201)?;
    }
    let meanwhile = sale_server.take_orders(&load, &mut script)?;
    ensure!(
        script.next_buyer() < buyers.count(),
        "the prepared buyers ran out before the measurement ended"
    );
    let waiting = largest_backlog(&sale_server.server().operate("GET", ENDPOINTS, "", 200)?)?;
    let ordered = u64::from(script.next_buyer());
    sale_server.server().check_stock(SALE, ordered..=ordered)?;
    sale_server.close()?;
    let shown =
        |run: &RunResult| (run.p99_us() / 1e3, run.latency.value_at_quantile(0.5) as f64 / 1e3);
    Ok(Measured { with: shown(&meanwhile), without: shown(&before), waiting })
}

/// Returns the largest number of events that wait for one endpoint. Fails if an endpoint has no
/// failed delivery, or if a delivery became a dead letter.
fn largest_backlog(page: &Value) -> Result<u64> {
    let all = page["endpoints"].as_array().context("no endpoints in the answer")?;
    ensure!(all.len() == 3, "expected 3 endpoints, found {}", all.len());
    let number =
        |one: &Value, name: &str| one[name].as_u64().with_context(|| format!("no {name} in {one}"));
    let mut most = 0;
    for one in all {
        let waiting = number(one, "waiting")?;
        ensure!(
            waiting > 0 && number(one, "failing")? > 0 && number(one, "dead")? == 0,
            "the endpoint does not fail as intended: {one}"
        );
        most = most.max(waiting);
    }
    Ok(most)
}

#[derive(Clone, Copy, Debug)]
enum EndpointAnswer {
    Never,
    Fails,
}

/// A webhook endpoint that accepts no event. It stops when this value is dropped.
#[derive(Debug)]
struct DeadEndpoint {
    addr: SocketAddr,
    over: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl DeadEndpoint {
    /// Starts an endpoint. If `answer` is `None`, the endpoint refuses connections.
    fn start(answer: Option<EndpointAnswer>) -> Result<Self> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on a free port")?;
        let addr = listener.local_addr()?;
        let over = Arc::<AtomicBool>::default();
        let until = over.clone();
        let serving =
            answer.map(|answer| std::thread::spawn(move || serve(&listener, answer, &until)));
        Ok(Self { addr, over, serving })
    }
}

impl Drop for DeadEndpoint {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        if let Some(serving) = self.serving.take() {
            // The thread waits in `accept`, and this connection wakes it. If the connection fails,
            // the thread has already ended.
            drop(TcpStream::connect(self.addr));
            let _ = serving.join();
        }
    }
}

fn serve(listener: &TcpListener, answer: EndpointAnswer, over: &AtomicBool) {
    let mut kept = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if over.load(Ordering::Acquire) {
            return;
        }
        match answer {
            EndpointAnswer::Never => kept.push(stream),
            // If `fail` returns an error, the connection closes without an answer. The server
            // counts this as a failed delivery.
            EndpointAnswer::Fails => drop(fail(stream)),
        }
    }
}

fn fail(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(REST_WITHIN))?;
    let (mut bytes, mut more) = (Vec::new(), [0; 8_192]);
    while !is_whole(&bytes) {
        match stream.read(&mut more)? {
            0 => return Ok(()),
            count => bytes.extend_from_slice(&more[..count]),
        }
    }
    stream.write_all(b"HTTP/1.1 500 Not now\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
}

fn is_whole(bytes: &[u8]) -> bool {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    bytes.len() >= head + 4 + length.unwrap_or(0)
}

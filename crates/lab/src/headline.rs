//! `lab headline`: runs a sale at a fixed rate against one process of the product, and checks the
//! result.
//!
//! Every buyer sends one request, for one of 10,000 units. The load generator of the benchmarks
//! sends the requests. After the sale, the product's rows are checked and the independent auditor
//! runs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use doorbuster_harness::audit::{self, StoreLocation};
use doorbuster_harness::generator::buyers::{Buyers, RequestOptions, Template};
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::{AnswerKind, Load, Pace, RunResult as LoadResult};
use serde::Serialize;

use crate::driver::Target;
use crate::product::{Product, Shape};
use crate::result::LatencyMs;

/// Units on sale.
const STOCK: i64 = 10_000;
/// The default number of keep-alive connections. More connections would only hold more waiting
/// requests: at 120,000 requests a second, about 120 requests are under way if an answer takes 1
/// ms.
pub const CONNECTIONS: usize = 128;
/// The rate counts as reached if it is at least this part of the requested rate, because arrivals
/// are random.
const REACHED: f64 = 0.98;

/// The options of a run.
#[derive(Debug, Clone)]
pub struct HeadlineOptions {
    /// The program to run as the product. The caller gives the path of this program itself.
    pub program: PathBuf,
    /// The rate of requests, in requests per second.
    pub rate: u32,
    /// How long the sale runs, in seconds.
    pub secs: u32,
    /// Keep-alive connections.
    pub connections: usize,
}

/// The auditor's result.
#[derive(Debug, Clone, Serialize)]
pub struct Audit {
    /// Whether the auditor found no fault.
    pub ok: bool,
    /// The faults that the auditor found.
    pub findings: Vec<String>,
}

/// The result of the sale.
#[derive(Debug, Clone, Serialize)]
pub struct HeadlineReport {
    /// Whether all checks passed: no unit was oversold, no answer was lost, each promise has one
    /// order, and the audit found nothing.
    pub ok: bool,
    /// Requests per second that were requested.
    pub rate: u32,
    /// Whether the requested rate was reached.
    pub rate_reached: bool,
    /// How long the sale lasted, in seconds.
    pub secs: u32,
    /// Keep-alive connections.
    pub connections: usize,
    /// Requests that were sent.
    pub requests: u64,
    /// Requests that were due during the sale, but were not sent within 5 seconds after its end,
    /// because every connection still waited for an answer.
    pub not_sent: u64,
    /// Answers per second.
    pub answers_per_second: f64,
    /// The latency, from the time when a request was due to its answer.
    pub latency_ms: LatencyMs,
    /// Orders at the end.
    pub orders: u64,
    /// Answers "reserved".
    pub reserved: u64,
    /// Answers that were neither "reserved" nor "sold out".
    pub other_answers: u64,
    /// Units on sale.
    pub stock: i64,
    /// Units in orders beyond the stock.
    pub oversold: i64,
    /// Requests without an answer.
    pub lost_answers: u64,
    /// The part of the time in which the generator's thread ran on a core.
    pub generator_busy: f64,
    /// The auditor's result.
    pub audit: Audit,
}

/// Runs the sale. The server ends with the calling thread.
pub fn run(options: &HeadlineOptions) -> Result<HeadlineReport> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let start = Product::start(&options.program, Shape::Embedded, false);
    let mut product = runtime.block_on(start)?;
    let target = product.open_sale(STOCK, 1)?;
    let load = send(options, &product, &target)?;
    let rows = product.order_rows(&target)?;
    let store = product.store();
    // Keep the directory until the auditor has read it.
    let _dir = product.stop()?;
    let audited = audit::run(&StoreLocation::parse(&store)?, None)?;
    let units: i64 = rows.iter().map(|(_, units)| units).sum();
    let reserved = load.count(AnswerKind::Accepted) + load.count(AnswerKind::Fine);
    let (orders, oversold) = (rows.len() as u64, (units - STOCK).max(0));
    let answers_per_second =
        load.in_time.values().sum::<u64>() as f64 / load.time.as_secs_f64().max(f64::MIN_POSITIVE);
    let ms = |micros: u64| micros as f64 / 1_000.0;
    let findings = audited.audit.findings.iter().map(|finding| format!("{finding:?}")).collect();
    let audit = Audit { ok: audited.audit.ok, findings };
    Ok(HeadlineReport {
        ok: oversold == 0 && load.lost == 0 && orders == reserved && audit.ok,
        rate: options.rate,
        rate_reached: answers_per_second >= f64::from(options.rate) * REACHED,
        secs: options.secs,
        connections: options.connections,
        requests: load.sent,
        not_sent: load.given_up,
        answers_per_second: answers_per_second.round(),
        latency_ms: LatencyMs {
            p50: ms(load.latency.value_at_quantile(0.5)),
            p99: ms(load.latency.value_at_quantile(0.99)),
            max: ms(load.latency.max()),
        },
        orders,
        reserved,
        other_answers: load.total() - reserved - load.count(AnswerKind::SoldOut),
        stock: STOCK,
        oversold,
        lost_answers: load.lost,
        generator_busy: (load.generator_busy * 100.0).round() / 100.0,
        audit,
    })
}

fn send(options: &HeadlineOptions, product: &Product, target: &Target) -> Result<LoadResult> {
    let Target::Product { sale, .. } = target else { anyhow::bail!("not a sale of the product") };
    // The number is a little above the mean number of arrivals, because arrivals are random.
    let count = u64::from(options.rate) * u64::from(options.secs) * 21 / 20 + 1_000;
    let count = u32::try_from(count).context("too many requests")?;
    let buyers = Buyers::new(product.secret(), "headline", count);
    let request_options = RequestOptions {
        host: "127.0.0.1",
        sale,
        item: "unit",
        units: 1,
        headers: "Prefer: wait=30\r\n",
        keys: "k",
    };
    let template = Template::new(&buyers, &request_options);
    let load = Load {
        addr: *product.addrs().first().context("the server has no address")?,
        connections: options.connections,
        // A request that finds no free connection waits, and its latency counts from the time when
        // it was due. So a slow server shows in the latency and in the rate.
        pace: Pace::Open(f64::from(options.rate)),
        warm_up: Duration::ZERO,
        time: Duration::from_secs(options.secs.into()),
        core: None,
    };
    load.run(&mut Purchases::each_once(&buyers, template, 0))
}

//! `lab headline`: runs one sale at a fixed rate against one process of the product. After the
//! sale, the lab compares the answers with the orders in the store, and runs the independent
//! auditor.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doorbuster_harness::audit::{self, StoreLocation};
use doorbuster_harness::generator::buyers::{Buyers, RequestOptions, Template};
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::promises::PromisedOrders;
use doorbuster_harness::generator::{
    AnswerKind, Load, Pace, RunResult as LoadResult, StoppableRequestScript,
};
use serde::Serialize;

use crate::driver::Target;
use crate::product::ProductInstallation;
use crate::result::{LatencyMs, Machine};
use crate::shape::Shape;

/// Units on sale.
const STOCK: i64 = 10_000;
/// The default number of keep-alive connections. If 120,000 requests arrive per second and an
/// answer takes 1 ms, about 120 requests wait for their answers at any time. Each of them needs a
/// connection.
pub const CONNECTIONS: usize = 128;
/// The rate counts as reached if the server answered at least this fraction of the due requests
/// before the end of the sale. The fraction is less than 1, because the last answers always come a
/// little after the end of the sale.
const REACHED: f64 = 0.98;

/// The options of a run.
#[derive(Debug, Clone)]
pub struct HeadlineOptions {
    /// The program to run as the product. The caller passes the path of its own program.
    pub program: PathBuf,
    /// The rate of requests, in requests per second.
    pub rate: u32,
    /// How long the sale runs, in seconds.
    pub secs: u32,
    /// Keep-alive connections.
    pub connections: usize,
    /// The caller sets this flag to stop the sale. A stopped sale has no result.
    pub stop: Arc<AtomicBool>,
}

/// The largest number of requests of a run. A run with more requests is refused, because the
/// signature of each buyer's token stays in memory.
pub const REQUESTS_MAX: u64 = 10_000_000;

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
    /// Whether all checks passed. If they did, `findings` is empty.
    pub ok: bool,
    /// The checks that failed.
    pub findings: Vec<String>,
    /// The machine.
    pub machine: Machine,
    /// The requested rate, in requests per second.
    pub rate: u32,
    /// Whether the requested rate was reached.
    pub rate_reached: bool,
    /// How long the sale lasted, in seconds.
    pub secs: u32,
    /// Keep-alive connections.
    pub connections: usize,
    /// Requests that were sent.
    pub requests: u64,
    /// Requests that were due during the sale but were never sent, because all connections still
    /// waited for answers 5 seconds after the end of the sale.
    pub not_sent: u64,
    /// Answers per second.
    pub answers_per_second: f64,
    /// The latencies of all answers, including the answers after the end of the sale. A latency is
    /// the arrival time of an answer minus the time at which the request was due.
    pub latency_ms: LatencyMs,
    /// Orders at the end.
    pub orders: u64,
    /// Answers "reserved".
    pub reserved: u64,
    /// Answers that were neither "reserved" nor "sold out".
    pub other_answers: u64,
    /// Units on sale.
    pub stock: i64,
    /// Units that were sold beyond the stock.
    pub oversold: i64,
    /// Requests without an answer.
    pub lost_answers: u64,
    /// The fraction of the time during which the generator's thread ran on a core, from 0 to 1.
    pub generator_busy: f64,
    /// The auditor's result.
    pub audit: Audit,
}

impl HeadlineReport {
    /// Returns the result as a sentence.
    #[must_use]
    pub fn heading(&self) -> &'static str {
        match (self.ok, self.rate_reached) {
            (false, _) => "The checks failed.",
            (true, true) => "The checks passed at the requested rate; the audit is clean.",
            (true, false) => "The checks passed and the audit is clean. The rate was not reached.",
        }
    }

    /// Returns the failed checks as a sentence, or an empty text if all checks passed.
    #[must_use]
    pub fn findings_text(&self) -> String {
        match self.findings.as_slice() {
            [] => String::new(),
            findings => format!("Failed: {}.", findings.join("; ")),
        }
    }

    /// Returns the command that repeats the sale.
    #[must_use]
    pub fn command(&self) -> String {
        let Self { rate, secs, connections, .. } = self;
        format!("doorbuster lab headline --rate {rate} --secs {secs} --connections {connections}")
    }
}

#[derive(Debug, Clone, Default)]
struct Counts {
    stock: i64,
    /// Requests that were sent.
    requests: u64,
    /// Units in orders.
    units: i64,
    other_answers: u64,
    lost_answers: u64,
    /// The order ids in the answers "reserved".
    promised: BTreeSet<String>,
    reserved: u64,
    orders: BTreeSet<String>,
    audit_ok: bool,
}

impl Counts {
    fn findings(&self) -> Vec<String> {
        let sellable = self.requests.min(self.stock.unsigned_abs());
        let orders = self.orders.len() as u64;
        let mut findings = Vec::new();
        let mut check = |failed: bool, finding: String| {
            if failed {
                findings.push(finding);
            }
        };
        let oversold = self.units - self.stock;
        check(oversold > 0, format!("{oversold} units were oversold"));
        check(self.lost_answers > 0, format!("{} answers were lost", self.lost_answers));
        check(
            self.other_answers > 0,
            format!("{} answers were neither reserved nor sold out", self.other_answers),
        );
        check(
            orders < sellable,
            format!("{orders} orders were made, but {sellable} units could be sold"),
        );
        check(
            self.reserved != self.promised.len() as u64,
            format!("{} answers named only {} orders", self.reserved, self.promised.len()),
        );
        let missing = self.promised.difference(&self.orders).next();
        check(missing.is_some(), format!("order {} was promised and is missing", text(missing)));
        let untold = self.orders.difference(&self.promised).next();
        check(untold.is_some(), format!("order {} exists, but no answer named it", text(untold)));
        check(!self.audit_ok, "the auditor found a fault".to_owned());
        findings
    }
}

fn text(id: Option<&String>) -> &str {
    id.map_or("", String::as_str)
}

/// Runs the sale. The server ends when the calling thread ends.
pub fn run(options: &HeadlineOptions) -> Result<HeadlineReport> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let start = ProductInstallation::start(&options.program, Shape::Embedded, false);
    let mut product = runtime.block_on(start)?;
    let target = runtime.block_on(product.open_sale(STOCK, 1))?;
    let (load, promised) = send(options, &product, &target)?;
    ensure!(!options.stop.load(Ordering::Relaxed), "the sale was interrupted");
    let rows = product.order_rows(&target)?;
    let store = product.store();
    // The directory is removed when this value is dropped. So the value must live until the auditor
    // has read the store.
    let _dir = product.stop()?;
    let audited = audit::run(&StoreLocation::parse(&store)?, None)?;
    let findings = audited.audit.findings.iter().map(|finding| format!("{finding:?}")).collect();
    let audit = Audit { ok: audited.audit.ok, findings };
    let reserved = load.count(AnswerKind::Accepted) + load.count(AnswerKind::Fine);
    let counts = Counts {
        stock: STOCK,
        requests: load.sent,
        units: rows.iter().map(|row| row.units).sum(),
        other_answers: load.total() - reserved - load.count(AnswerKind::SoldOut),
        lost_answers: load.lost,
        promised,
        reserved,
        orders: rows.into_iter().map(|row| row.id).collect(),
        audit_ok: audit.ok,
    };
    Ok(report(options, &load, &counts, audit))
}

fn report(
    options: &HeadlineOptions,
    load: &LoadResult,
    counts: &Counts,
    audit: Audit,
) -> HeadlineReport {
    let answered = load.in_time.values().sum::<u64>() as f64;
    let answers_per_second = answered / load.time.as_secs_f64().max(f64::MIN_POSITIVE);
    // Requests come at random instants, so the number of due requests differs a little from the
    // rate times the duration. The answers are therefore compared with the requests that were
    // really due.
    let due = (load.sent_in_time + load.given_up) as f64;
    let latency = &load.latency;
    let ms = |micros: u64| micros as f64 / 1_000.0;
    let findings = counts.findings();
    HeadlineReport {
        ok: findings.is_empty(),
        findings,
        machine: Machine::read(vec![format!("Doorbuster {}", env!("CARGO_PKG_VERSION"))]),
        rate: options.rate,
        rate_reached: answered >= due * REACHED,
        secs: options.secs,
        connections: options.connections,
        requests: load.sent,
        not_sent: load.given_up,
        answers_per_second: answers_per_second.round(),
        latency_ms: LatencyMs {
            p50: ms(latency.value_at_quantile(0.5)),
            p99: ms(latency.value_at_quantile(0.99)),
            max: ms(latency.max()),
        },
        orders: counts.orders.len() as u64,
        reserved: counts.reserved,
        other_answers: counts.other_answers,
        stock: STOCK,
        oversold: (counts.units - STOCK).max(0),
        lost_answers: load.lost,
        generator_busy: (load.generator_busy * 100.0).round() / 100.0,
        audit,
    }
}

/// Sends the load. Returns the result, and the order ids that the answers promised.
fn send(
    options: &HeadlineOptions,
    product: &ProductInstallation,
    target: &Target,
) -> Result<(LoadResult, BTreeSet<String>)> {
    let Target::Product { sale, .. } = target else {
        anyhow::bail!("the target must be a sale of Doorbuster")
    };
    // Requests come at random instants, so there may be a few more requests than `rate` × `secs`.
    // The run prepares buyers for these requests too.
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
        // If no connection is free, a request waits, and this time is part of its latency. So a
        // slow server shows a higher latency and fewer answers per second.
        pace: Pace::Open(f64::from(options.rate)),
        warm_up: Duration::ZERO,
        time: Duration::from_secs(options.secs.into()),
        core: None,
    };
    let mut script = PromisedOrders::new(Purchases::each_once(&buyers, template, 0));
    let mut stoppable = StoppableRequestScript { script: &mut script, over: &options.stop };
    Ok((load.run(&mut stoppable)?, script.ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(count: usize) -> BTreeSet<String> {
        (0..count).map(|number| format!("ord_{number}")).collect()
    }

    fn correct() -> Counts {
        Counts {
            stock: 10,
            requests: 30,
            units: 10,
            promised: ids(10),
            reserved: 10,
            orders: ids(10),
            audit_ok: true,
            ..Counts::default()
        }
    }

    #[test]
    fn a_correct_sale_has_no_findings() {
        assert_eq!(correct().findings(), [""; 0]);
        let few = Counts {
            requests: 4,
            units: 4,
            promised: ids(4),
            reserved: 4,
            orders: ids(4),
            ..correct()
        };
        assert_eq!(few.findings(), [""; 0], "fewer requests than units are no fault");
    }

    #[test]
    fn a_sale_with_any_fault_has_a_finding() {
        let nothing = Counts {
            units: 0,
            promised: ids(0),
            reserved: 0,
            orders: ids(0),
            other_answers: 30,
            ..correct()
        };
        let mut renamed = ids(9);
        renamed.insert("ord_other".to_owned());
        let planted = [
            ("could be sold", nothing.clone()),
            ("neither reserved nor sold out", nothing),
            ("neither reserved nor sold out", Counts { other_answers: 1, ..correct() }),
            ("were lost", Counts { lost_answers: 1, ..correct() }),
            ("oversold", Counts { units: 11, ..correct() }),
            ("is missing", Counts { orders: renamed.clone(), ..correct() }),
            ("no answer named it", Counts { orders: renamed, ..correct() }),
            ("answers named", Counts { reserved: 11, ..correct() }),
            ("auditor", Counts { audit_ok: false, ..correct() }),
        ];
        for (finding, counts) in planted {
            let findings = counts.findings();
            assert!(findings.iter().any(|text| text.contains(finding)), "{finding}: {findings:?}");
        }
    }

    #[test]
    fn the_rate_is_reached_if_the_due_requests_were_answered() {
        let options = HeadlineOptions {
            program: PathBuf::new(),
            rate: 100,
            secs: 1,
            connections: 1,
            stop: Arc::default(),
        };
        let is_reached = |due: u64, given_up: u64, answered: u64| {
            let load = LoadResult {
                in_time: [(AnswerKind::SoldOut, answered)].into(),
                time: Duration::from_secs(1),
                sent_in_time: due - given_up,
                given_up,
                ..LoadResult::default()
            };
            let audit = Audit { ok: true, findings: Vec::new() };
            report(&options, &load, &correct(), audit).rate_reached
        };
        assert!(is_reached(93, 0, 93), "the rate counts as reached if all requests are answered");
        assert!(is_reached(100, 0, 98) && !is_reached(100, 0, 97) && !is_reached(110, 11, 99));
    }
}

//! The result of `lab run`, as `report.json` contains it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::checker::Findings;
use crate::contract::{Claim, StrategyEntry};
use crate::driver::{Answers, LastAnswer};
use crate::fault::Fault;

/// The checker's verdict about one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No fault was found: every promised unit has its order, and no unit was sold twice.
    Held,
    /// More units were sold than existed.
    Oversold,
    /// Units were left although buyers wanted them.
    Undersold,
    /// A buyer was promised units and has no order.
    Lost,
    /// A buyer has more than one order.
    Duplicated,
}

impl Verdict {
    /// Returns the verdict as a word in the report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Oversold => "oversold",
            Self::Undersold => "undersold",
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
        }
    }

    /// Returns whether the verdict agrees with the strategy's promise. Units that stay unsold after
    /// a fault reduce sales, not safety.
    #[must_use]
    pub fn agrees_with(self, claim: Claim, fault: Fault) -> bool {
        match (claim, fault) {
            (Claim::Unsafe, _) => true,
            (Claim::SafeWithoutFaults, Fault::None) | (Claim::Safe, Fault::None) => {
                self == Self::Held
            }
            (Claim::SafeWithoutFaults, _) => true,
            (Claim::Safe, _) => matches!(self, Self::Held | Self::Undersold),
        }
    }
}

/// The machine.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The machine's processor.
    pub processor: String,
    /// The number of cores that the lab may use.
    pub cores: usize,
    /// The machine's memory in MiB.
    pub memory_mib: u64,
    /// The machine's operating system.
    pub system: String,
    /// The servers: PostgreSQL and Redis with their versions.
    pub servers: Vec<String>,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatencyMs {
    /// The latency that half of the buyers did not exceed.
    pub p50: f64,
    /// The latency that 99 of 100 buyers did not exceed.
    pub p99: f64,
    /// The longest latency.
    pub max: f64,
}

/// One run of one strategy.
#[derive(Debug, Clone, Serialize)]
pub struct RunResult {
    /// The strategy.
    pub strategy: String,
    /// How many buyers sent requests at the same time.
    pub level: usize,
    /// The fault during the run.
    pub faults: Fault,
    /// The seed, which decides the order of the buyers and the times of the faults.
    pub seed: u64,
    /// The number of buyers per second who got their last answer.
    pub throughput_per_second: f64,
    /// The time from a buyer's first request to the last answer.
    pub latency_ms: LatencyMs,
    /// The number of buyers for each last answer.
    pub answers: BTreeMap<&'static str, u64>,
    /// Units on sale.
    pub stock: i64,
    /// Units in orders.
    pub sold: i64,
    /// Units sold beyond the stock.
    pub oversold: i64,
    /// Units that were left although buyers still wanted units.
    pub unsold: i64,
    /// Orders beyond the first of each buyer.
    pub duplicate_orders: i64,
    /// Answers "sold" without an order.
    pub lost_orders: i64,
    /// Orders of buyers who did not get the answer "sold".
    pub untold_orders: i64,
    /// Errors that buyers met.
    pub errors: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the verdict agrees with the strategy's promise.
    pub agrees: bool,
    /// The strategy's promise.
    pub claim: Claim,
    /// The kind of load that the strategy suits.
    pub suits: &'static str,
    /// The first buyer for whom a promise was broken.
    pub first_offender: Option<String>,
    /// The first error that a buyer met.
    pub first_error: Option<String>,
    /// The results of the same buyers without HTTP, for the embedded shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_http: Option<WithoutHttp>,
}

/// The embedded shape without HTTP: the same buyers call the engine in its own process.
#[derive(Debug, Clone, Serialize)]
pub struct WithoutHttp {
    /// Buyers per second who got their last answer.
    pub throughput_per_second: f64,
    /// The time from a buyer's first call to the last answer.
    pub latency_ms: LatencyMs,
    /// Units in orders.
    pub sold: i64,
    /// The verdict.
    pub verdict: Verdict,
}

/// The result of all runs.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// The machine.
    pub machine: Machine,
    /// The seed, which decides the order of the buyers and the times of the faults.
    pub seed: u64,
    /// The command that repeats the run.
    pub command: String,
    /// Buyers of each run.
    pub buyers: i64,
    /// Units on sale in each run.
    pub stock: i64,
    /// Units that each buyer requests.
    pub units: i64,
    /// The levels of concurrency.
    pub levels: Vec<usize>,
    /// The settings of the servers and the clients.
    pub settings: Vec<String>,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// One result for each strategy, level and fault.
    pub results: Vec<RunResult>,
}

impl RunReport {
    /// Returns whether every verdict agrees with the claim.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.results.iter().all(|result| {
            let direct = result.without_http.as_ref();
            result.agrees && direct.is_none_or(|direct| direct.verdict == Verdict::Held)
        })
    }
}

impl RunResult {
    /// Combines the driver's measurements with the checker's findings.
    pub(crate) fn new(
        entry: &StrategyEntry,
        (level, faults, seed): (usize, Fault, u64),
        stock: i64,
        answers: &Answers,
        findings: Findings,
    ) -> Self {
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        for record in &answers.records {
            let word = match record.last_answer {
                LastAnswer::Sold => "sold",
                LastAnswer::SoldOut => "sold_out",
                LastAnswer::NoAnswer => "no_answer",
            };
            *counts.entry(word).or_default() += 1;
        }
        Self {
            strategy: entry.id.to_owned(),
            level,
            faults,
            seed,
            throughput_per_second: throughput(answers),
            latency_ms: latencies(answers),
            answers: counts,
            stock,
            sold: findings.sold,
            oversold: findings.oversold,
            unsold: findings.unsold,
            duplicate_orders: findings.duplicate_orders,
            lost_orders: findings.lost_orders,
            untold_orders: findings.untold_orders,
            errors: answers.records.iter().map(|record| u64::from(record.errors)).sum(),
            verdict: findings.verdict,
            agrees: findings.verdict.agrees_with(entry.claim, faults),
            claim: entry.claim,
            suits: entry.suits,
            first_offender: findings.offender,
            first_error: answers.first_error.clone(),
            without_http: None,
        }
    }
}

impl WithoutHttp {
    /// Combines the measurements with the checker's findings.
    pub(crate) fn new(answers: &Answers, findings: &Findings) -> Self {
        Self {
            throughput_per_second: throughput(answers),
            latency_ms: latencies(answers),
            sold: findings.sold,
            verdict: findings.verdict,
        }
    }
}

fn throughput(answers: &Answers) -> f64 {
    let seconds = answers.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    round(answers.records.len() as f64 / seconds)
}

/// The longest latency that the histogram distinguishes, in microseconds.
const LATENCY_MAX_US: u64 = 600_000_000;

fn latencies(answers: &Answers) -> LatencyMs {
    let mut histogram =
        Histogram::<u64>::new_with_bounds(1, LATENCY_MAX_US, 3).expect("constant bounds in order");
    for record in &answers.records {
        let micros = u64::try_from(record.latency.as_micros()).unwrap_or(u64::MAX);
        histogram.saturating_record(micros.max(1));
    }
    let ms = |micros: u64| round(micros as f64 / 10.0) / 100.0;
    LatencyMs {
        p50: ms(histogram.value_at_quantile(0.5)),
        p99: ms(histogram.value_at_quantile(0.99)),
        max: ms(histogram.max()),
    }
}

fn round(value: f64) -> f64 {
    value.round()
}

//! The results of `lab run`, with the fields of `report.json`.

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
    /// The checker found none of the problems that the other verdicts name.
    Held,
    /// More units were sold than existed.
    Oversold,
    /// A buyer got no units, although enough units for this buyer were left.
    Undersold,
    /// A buyer got the answer "sold" and has no order. Or a buyer has an order, but got the answer
    /// "sold out", was refused for another reason, or sent no request.
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

    /// Returns whether the verdict agrees with the strategy's promise. During a fault, even a
    /// `Safe` strategy may leave units unsold: the shop sells less, but no buyer gets a wrong
    /// answer.
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

/// The machine that ran the lab.
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
    /// The names and versions of the servers, for example of PostgreSQL and Redis.
    pub servers: Vec<String>,
}

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LatencyMs {
    /// Half of the buyers had at most this latency.
    pub p50: f64,
    /// Of 100 buyers, 99 had at most this latency.
    pub p99: f64,
    /// The longest latency.
    pub max: f64,
}

/// One run of one strategy.
#[derive(Debug, Clone, Serialize)]
pub struct RunResult {
    /// The strategy.
    pub strategy: String,
    /// The largest number of buyers who tried to buy at the same time.
    pub level: usize,
    /// The fault during the run.
    pub faults: Fault,
    /// The seed. It determines the sequence of the buyers and the times of the faults.
    pub seed: u64,
    /// Whether the fault affected the strategy. For example, a restart of Redis does not affect a
    /// strategy that does not use Redis.
    pub applies: bool,
    /// Buyers of the run.
    pub buyers: i64,
    /// Buyers who sent a request. The remaining buyers had not started when the run's time ended.
    pub started: u64,
    /// Whether the run's time ended before every buyer had started.
    pub stopped_early: bool,
    /// How many buyers got their last answer per second, on average.
    pub throughput_per_second: f64,
    /// The time from a buyer's first request to the buyer's last answer.
    pub latency_ms: LatencyMs,
    /// The fraction of the time during which the driver's thread ran on a core. If this fraction is
    /// near 1, the driver may have limited the speed, and the strategy may be faster than measured.
    pub driver_busy: f64,
    /// The number of buyers by their last answer: `sold`, `sold_out`, `refused` or `no_answer`. The
    /// sum of these numbers is `started`.
    pub answers: BTreeMap<&'static str, u64>,
    /// Units on sale.
    pub stock: i64,
    /// Units in orders.
    pub sold: i64,
    /// Units sold beyond the stock.
    pub oversold: i64,
    /// Remaining units that could have been sold to buyers who got no units.
    pub unsold: i64,
    /// Orders beyond each buyer's first order.
    pub duplicate_orders: i64,
    /// Buyers who got the answer "sold" but have no order with the units that they requested.
    pub lost_orders: i64,
    /// Orders of buyers who got no final answer.
    pub untold_orders: i64,
    /// Orders of buyers who got `sold_out` or `refused`, or who sent no request.
    pub unexpected_orders: i64,
    /// Errors that buyers met.
    pub errors: u64,
    /// The verdict.
    pub verdict: Verdict,
    /// Whether the run agrees with the strategy's promise. If the fault did not affect the run, the
    /// promise for runs without a fault applies.
    pub agrees: bool,
    /// The strategy's promise.
    pub claim: Claim,
    /// The kind of load that the strategy suits.
    pub suits: &'static str,
    /// The first buyer for whom a promise was broken.
    pub first_offender: Option<String>,
    /// The first error that a buyer met.
    pub first_error: Option<String>,
    /// Set for the embedded shape: the result of the same buyers when they buy without HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_http: Option<DirectRunResult>,
    /// The reason why the run without HTTP failed, if it failed. The report lists this run among
    /// the failed runs.
    #[serde(skip)]
    pub without_http_error: Option<String>,
}

/// The result of a run without HTTP: the same buyers call the engine in its own process.
#[derive(Debug, Clone, Serialize)]
pub struct DirectRunResult {
    /// How many buyers got their last answer per second, on average.
    pub throughput_per_second: f64,
    /// The time from a buyer's first call to the buyer's last answer.
    pub latency_ms: LatencyMs,
    /// Units in orders.
    pub sold: i64,
    /// Whether the run's time ended while units were left and some buyers had not started.
    pub unfinished: bool,
    /// The verdict.
    pub verdict: Verdict,
}

/// If the driver's thread ran for more than this fraction of the time, the driver may have limited
/// the speed.
const DRIVER_BUSY: f64 = 0.9;

/// A run without a result, because a server or a process failed.
#[derive(Debug, Clone, Serialize)]
pub struct RunFailure {
    /// The strategy.
    pub strategy: String,
    /// The largest number of buyers who tried to buy at the same time.
    pub level: usize,
    /// The fault during the run.
    pub faults: Fault,
    /// The seed.
    pub seed: u64,
    /// What failed.
    pub error: String,
}

/// The result of all runs.
#[derive(Debug, Clone, Serialize)]
pub struct RunReport {
    /// The machine.
    pub machine: Machine,
    /// The seed. It determines the sequence of the buyers and the times of the faults.
    pub seed: u64,
    /// The command that repeats the run.
    pub command: String,
    /// Buyers of each run.
    pub buyers: i64,
    /// Units on sale in each run.
    pub stock: i64,
    /// Units that each buyer requests.
    pub units: i64,
    /// The levels of the runs. A level is the largest number of buyers who try to buy at the same
    /// time.
    pub levels: Vec<usize>,
    /// The settings that determine the speed of the servers and the clients.
    pub settings: Vec<String>,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// One result for each combination of strategy, level, fault and seed.
    pub results: Vec<RunResult>,
    /// The runs that have no result.
    pub failures: Vec<RunFailure>,
    /// Whether the command was stopped before all runs had ended.
    pub interrupted: bool,
}

impl RunReport {
    /// Returns true if the command ran to its end, no run failed, and every strategy kept its
    /// promise.
    #[must_use]
    pub fn agrees(&self) -> bool {
        !self.interrupted
            && self.failures.is_empty()
            && self.results.iter().all(RunResult::keeps_promise)
    }
}

impl RunResult {
    /// Returns whether the strategy kept its promise in this run, over HTTP and without HTTP.
    #[must_use]
    pub fn keeps_promise(&self) -> bool {
        let direct = self.without_http.as_ref();
        self.agrees && direct.is_none_or(|direct| direct.verdict == Verdict::Held)
    }

    /// Returns whether the run's time ended while units were left and some buyers had not started.
    /// The run then does not show whether the strategy would have sold these units.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.stopped_early && self.sold < self.stock
    }

    /// Returns the verdict as text. The text also says if the run did not finish, or if a promise
    /// was broken.
    #[must_use]
    pub fn verdict_text(&self) -> String {
        verdict_text(self.verdict, self.is_unfinished(), self.agrees)
    }

    /// Returns whether the driver's thread ran nearly all the time. The strategy may then be faster
    /// than measured.
    #[must_use]
    pub fn is_driver_busy(&self) -> bool {
        self.driver_busy > DRIVER_BUSY
    }

    /// Returns the fault as text, with "(not affected)" if the fault did not affect the run.
    #[must_use]
    pub fn fault_text(&self) -> String {
        let unaffected = if self.applies { "" } else { " (not affected)" };
        format!("{}{unaffected}", self.faults.as_str())
    }

    /// Returns the names and values of the counts that the tables show.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, i64); 6] {
        [
            ("oversold", self.oversold),
            ("unsold", self.unsold),
            ("duplicates", self.duplicate_orders),
            ("lost", self.lost_orders),
            ("unexpected", self.unexpected_orders),
            ("untold", self.untold_orders),
        ]
    }

    pub(crate) fn new(
        entry: &StrategyEntry,
        run: &RunKey,
        stock: i64,
        answers: &Answers,
        findings: Findings,
    ) -> Self {
        let mut counts: BTreeMap<&'static str, u64> =
            BTreeMap::from(["sold", "sold_out", "refused", "no_answer"].map(|word| (word, 0)));
        for record in &answers.records {
            let word = match record.last_answer {
                LastAnswer::Sold => "sold",
                LastAnswer::SoldOut => "sold_out",
                LastAnswer::Refused => "refused",
                LastAnswer::NoAnswer => "no_answer",
            };
            *counts.entry(word).or_default() += 1;
        }
        // A fault that did not affect the run is no excuse, so the promise for runs without a fault
        // applies.
        let effective = if run.applies { run.fault } else { Fault::None };
        let stopped_early = (answers.records.len() as u64) < answers.buyers.unsigned_abs();
        // In a complete run without a fault, a strategy must answer every buyer, unless its claim
        // is `Unsafe`.
        let may_fail = entry.claim == Claim::Unsafe || effective != Fault::None || stopped_early;
        let is_complete = may_fail || counts["refused"] + counts["no_answer"] == 0;
        Self {
            strategy: entry.id.to_owned(),
            level: run.level,
            faults: run.fault,
            seed: run.seed,
            applies: run.applies,
            buyers: answers.buyers,
            started: answers.records.len() as u64,
            stopped_early,
            driver_busy: (answers.driver_busy * 10_000.0).round() / 10_000.0,
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
            unexpected_orders: findings.unexpected_orders,
            errors: answers.records.iter().map(|record| u64::from(record.errors)).sum(),
            verdict: findings.verdict,
            agrees: findings.verdict.agrees_with(entry.claim, effective) && is_complete,
            claim: entry.claim,
            suits: entry.suits,
            first_offender: findings.offender,
            first_error: answers.first_error.clone(),
            without_http: None,
            without_http_error: None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct RunKey {
    pub level: usize,
    pub seed: u64,
    pub fault: Fault,
    /// Whether the fault affected the strategy.
    pub applies: bool,
}

impl DirectRunResult {
    pub(crate) fn new(answers: &Answers, stock: i64, findings: &Findings) -> Self {
        let stopped_early = (answers.records.len() as u64) < answers.buyers.unsigned_abs();
        Self {
            throughput_per_second: throughput(answers),
            latency_ms: latencies(answers),
            sold: findings.sold,
            unfinished: stopped_early && findings.sold < stock,
            verdict: findings.verdict,
        }
    }

    /// Returns the verdict as text. Adds "not finished" if the run did not finish, and "not as
    /// promised" if the verdict is not `Held`.
    #[must_use]
    pub fn verdict_text(&self) -> String {
        verdict_text(self.verdict, self.unfinished, self.verdict == Verdict::Held)
    }
}

fn verdict_text(verdict: Verdict, unfinished: bool, agrees: bool) -> String {
    let unfinished = if unfinished { ", not finished" } else { "" };
    let broken = if agrees { "" } else { ", not as promised" };
    format!("{}{unfinished}{broken}", verdict.as_str())
}

fn throughput(answers: &Answers) -> f64 {
    let seconds = answers.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    (answers.records.len() as f64 / seconds).round()
}

/// The longest latency that is recorded, in microseconds. A longer latency is recorded as this
/// value.
const LATENCY_MAX_US: u64 = 600_000_000;

fn latencies(answers: &Answers) -> LatencyMs {
    let mut histogram =
        Histogram::<u64>::new_with_bounds(1, LATENCY_MAX_US, 3).expect("constant bounds in order");
    for record in &answers.records {
        let micros = u64::try_from(record.latency.as_micros()).unwrap_or(u64::MAX);
        histogram.saturating_record(micros.max(1));
    }
    let ms = |micros: u64| (micros as f64 / 10.0).round() / 100.0;
    LatencyMs {
        p50: ms(histogram.value_at_quantile(0.5)),
        p99: ms(histogram.value_at_quantile(0.99)),
        max: ms(histogram.max()),
    }
}

#[cfg(test)]
mod tests;

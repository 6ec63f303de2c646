//! The result of a measurement: how many answers of each kind arrived, and their latencies.
use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use hdrhistogram::Histogram;

/// The kind of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnswerKind {
    /// The server made an order. In a benchmark of another program: that program accepted the
    /// request.
    Accepted,
    /// The answer "sold out".
    SoldOut,
    /// Another successful answer.
    Fine,
    /// A queued request (`202`).
    Queued,
    /// The server is overloaded (`503`).
    Overloaded,
    /// An answer with any other status.
    Other(u16),
}

/// Whether an answer came before, within or after the measured time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AnswerTime {
    WarmUp,
    Measured,
    Late,
}

/// The result of a measurement.
#[derive(Debug)]
pub struct RunResult {
    /// Answers by kind, including those before and after the measured time.
    pub answers: BTreeMap<AnswerKind, u64>,
    /// Answers by kind within the measured time.
    pub in_time: BTreeMap<AnswerKind, u64>,
    /// The measured time.
    pub time: Duration,
    /// The number of requests that were written to a connection.
    pub sent: u64,
    /// How many of the sent requests were due within the measured time.
    pub sent_in_time: u64,
    /// The number of due requests that were never sent, because no connection was free.
    pub given_up: u64,
    /// The number of sent requests that never got an answer.
    pub lost: u64,
    /// The number of connections that broke or that the server closed.
    pub closed: u64,
    /// The latencies in microseconds. A latency is the arrival time of an answer minus the time at
    /// which the request was due. The histogram contains the latencies of all answers since the
    /// beginning of the measured time, including late answers. Late answers matter, because a
    /// server that is too slow sends its slowest answers last.
    pub latency: Histogram<u64>,
    /// The fraction of the time during which the generator's thread ran on a core.
    pub generator_busy: f64,
    /// The first answer of an unexpected kind.
    pub first_unexpected: Option<String>,
}

/// The number of significant digits with which a latency is recorded.
const DIGITS: u8 = 2;
/// The longest latency that is recorded, in microseconds. A longer latency is recorded as this
/// value.
const LATENCY_MAX_US: u64 = 120_000_000;

impl Default for RunResult {
    fn default() -> Self {
        Self {
            answers: BTreeMap::new(),
            in_time: BTreeMap::new(),
            time: Duration::ZERO,
            sent: 0,
            sent_in_time: 0,
            given_up: 0,
            lost: 0,
            closed: 0,
            latency: Histogram::new_with_bounds(1, LATENCY_MAX_US, DIGITS)
                .expect("constant bounds in order"),
            generator_busy: 0.0,
            first_unexpected: None,
        }
    }
}

impl RunResult {
    pub(super) fn answer(&mut self, kind: AnswerKind, latency: Duration, time: AnswerTime) {
        *self.answers.entry(kind).or_default() += 1;
        if time == AnswerTime::Measured {
            *self.in_time.entry(kind).or_default() += 1;
        }
        if time != AnswerTime::WarmUp {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            self.latency.saturating_record(micros);
        }
    }

    /// Returns the number of answers of this kind.
    #[must_use]
    pub fn count(&self, kind: AnswerKind) -> u64 {
        self.answers.get(&kind).copied().unwrap_or(0)
    }

    /// Returns the total number of answers of all kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Returns how many answers of this kind arrived per second of the measured time.
    #[must_use]
    pub fn per_sec(&self, kind: AnswerKind) -> f64 {
        self.in_time.get(&kind).copied().unwrap_or(0) as f64
            / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Returns the rate at which requests were sent. This is the number of sent requests that were
    /// due within the measured time, divided by that time in seconds.
    #[must_use]
    pub fn sent_per_sec(&self) -> f64 {
        self.sent_in_time as f64 / self.time.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Returns the 99th percentile of the latencies, in microseconds.
    #[must_use]
    pub fn p99_us(&self) -> f64 {
        self.latency.value_at_quantile(0.99) as f64
    }

    /// Checks that every sent request got an answer, and that each answer has one of these kinds.
    ///
    /// # Errors
    ///
    /// Fails if an answer is of another kind, an answer was lost, the server closed a connection,
    /// or no answer arrived.
    pub fn expect_only(&self, kinds: &[AnswerKind]) -> Result<()> {
        let unexpected: Vec<String> = self
            .answers
            .iter()
            .filter(|(kind, _)| !kinds.contains(kind))
            .map(|(kind, count)| format!("{count} × {kind:?}"))
            .collect();
        if !unexpected.is_empty() {
            bail!(
                "unexpected answers: {}{}",
                unexpected.join(", "),
                self.first_unexpected
                    .as_ref()
                    .map_or(String::new(), |first_unexpected| format!(" ({first_unexpected})"))
            );
        }
        if self.lost > 0 || self.closed > 0 {
            bail!("{} answers lost, {} connections closed by the server", self.lost, self.closed);
        }
        if self.total() == 0 {
            bail!("no answers at all");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_a_lost_or_unexpected_answer_is_an_error() {
        let mut run = RunResult { time: Duration::from_secs(2), ..RunResult::default() };
        assert!(
            run.expect_only(&[AnswerKind::Accepted]).is_err(),
            "a run without answers must be an error"
        );
        run.answer(AnswerKind::Accepted, Duration::from_millis(1), AnswerTime::Measured);
        run.answer(AnswerKind::Accepted, Duration::from_millis(1), AnswerTime::Late);
        assert!(run.expect_only(&[AnswerKind::Accepted]).is_ok());
        assert!(
            (run.per_sec(AnswerKind::Accepted) - 0.5).abs() < 1e-9,
            "the rate must count only the answers within the measured time"
        );
        run.answer(AnswerKind::Overloaded, Duration::from_millis(1), AnswerTime::Measured);
        assert!(run.expect_only(&[AnswerKind::Accepted]).is_err());
        assert!(run.expect_only(&[AnswerKind::Accepted, AnswerKind::Overloaded]).is_ok());
        run.lost = 1;
        assert!(run.expect_only(&[AnswerKind::Accepted, AnswerKind::Overloaded]).is_err());
    }

    #[test]
    fn a_late_answer_counts_in_the_latency() {
        let mut run = RunResult::default();
        run.answer(AnswerKind::Fine, Duration::from_secs(9), AnswerTime::WarmUp);
        run.answer(AnswerKind::Fine, Duration::from_millis(1), AnswerTime::Measured);
        run.answer(AnswerKind::Fine, Duration::from_secs(5), AnswerTime::Late);
        assert_eq!(run.latency.len(), 2);
        let p99 = run.p99_us();
        assert!((5e6..6e6).contains(&p99), "{p99}");
    }
}

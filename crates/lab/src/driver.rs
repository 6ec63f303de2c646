//! The driver sends the requests of the same buyers to every strategy. Each buyer repeats its
//! request until it gets a final answer. The checker gets only each buyer's last answer.

mod crowd;
mod target;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use doorbuster_harness::generator::cores;
use doorbuster_harness::generator::event_loop::{EventLoop, LoopOptions};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use crate::limits::ANSWER_WITHIN;
use crowd::BuyerSource;
use target::Reply;
pub use target::{SERIES, Target};

/// The buyers of one run.
#[derive(Debug, Clone)]
pub struct BuyerLoad {
    /// The number of buyers.
    pub buyers: i64,
    /// Units that each buyer requests.
    pub units: i64,
    /// The largest number of buyers who try to buy at the same time.
    pub level: usize,
    /// The seed. It determines the sequence in which the buyers come.
    pub seed: u64,
    /// The time over which the buyers arrive, in waves of `level` buyers. `None` means that a new
    /// buyer comes as soon as an earlier buyer has its last answer.
    pub arrivals: Option<Duration>,
    /// After this time, no new buyer starts.
    pub within: Duration,
}

/// The last answer that a buyer got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastAnswer {
    /// The buyer has the units.
    Sold,
    /// Too few units are left.
    SoldOut,
    /// The server refused the request for a reason other than the stock, and would refuse it again.
    Refused,
    /// The buyer got no final answer.
    NoAnswer,
}

/// The result for one buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuyerRecord {
    /// The buyer's number.
    pub buyer: i64,
    /// The requested units.
    pub units: i64,
    /// The last answer.
    pub last_answer: LastAnswer,
    /// The time from the buyer's first request to the buyer's last answer.
    pub latency: Duration,
    /// The number of answers that were errors, plus the number of requests without an answer.
    pub errors: u32,
}

/// The results for all buyers.
#[derive(Debug, Default)]
pub struct Answers {
    /// The number of buyers, including those who did not start.
    pub buyers: i64,
    /// One record for each buyer who started.
    pub records: Vec<BuyerRecord>,
    /// The time from the start of the run to the last answer of any buyer.
    pub elapsed: Duration,
    /// The fraction of `elapsed` during which the driver's thread ran on a core, from 0 to 1.
    pub driver_busy: f64,
    /// The first error that a buyer met.
    pub first_error: Option<String>,
}

/// The progress of a run. Other threads read it during the run, for example to inject a fault.
#[derive(Debug, Default)]
pub struct Progress {
    /// Buyers who got the answer "sold".
    pub sold: AtomicU64,
    /// Buyers who got their last answer.
    pub answered: AtomicU64,
    /// If this flag is set, the run ends at once and has no result.
    pub stop: Arc<AtomicBool>,
}

/// Returns the buyers' numbers in the sequence in which the buyers come.
#[must_use]
pub fn order_of_arrival(buyers: i64, seed: u64) -> Vec<i64> {
    let mut order: Vec<i64> = (1..=buyers).collect();
    order.shuffle(&mut SmallRng::seed_from_u64(seed));
    order
}

/// Sends the buyers' requests from a separate thread. The connections are distributed over
/// `servers`.
pub async fn send(
    crowd: BuyerLoad,
    target: Target,
    servers: Vec<SocketAddr>,
    progress: Arc<Progress>,
) -> Result<Answers> {
    tokio::task::spawn_blocking(move || send_blocking(&crowd, target, servers, progress)).await?
}

fn send_blocking(
    crowd: &BuyerLoad,
    target: Target,
    addrs: Vec<SocketAddr>,
    progress: Arc<Progress>,
) -> Result<Answers> {
    let requests = target.requests(crowd)?;
    let mut source = BuyerSource::new(crowd, target, requests, progress);
    let options = LoopOptions {
        addrs,
        connections: crowd.level,
        reopens: true,
        answer_within: Some(ANSWER_WITHIN),
        tick: Duration::ZERO,
    };
    let mut connections =
        EventLoop::open(options, &mut source).context("cannot open connections")?;
    let cpu_time = cores::thread_cpu_time();
    let start = Instant::now();
    source.start(start);
    connections.run(&mut source).context("failed to send requests")?;
    let (elapsed, spent) = (start.elapsed(), cores::thread_cpu_time().saturating_sub(cpu_time));
    let mut answers = source.finish();
    answers.driver_busy = spent.as_secs_f64() / elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
    Ok(answers)
}

//! The driver sends the same buyers to every strategy. Each buyer sends one request over a
//! keep-alive connection, and repeats it after "busy" or no answer. The driver gives the checker
//! only each buyer's last answer.

mod connection;
mod target;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use tokio::task::JoinSet;

use crate::limits::{ANSWER_WITHIN, TRIES_MAX};
use connection::Connection;
pub use connection::get;
use target::Reply;
pub use target::Target;

/// The pauses before a repeated request. They double from the first to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(2);
const RETRY_LAST: Duration = Duration::from_millis(50);

/// The buyers of one run.
#[derive(Debug, Clone)]
pub struct Crowd {
    /// The number of buyers.
    pub buyers: i64,
    /// Units that each buyer requests.
    pub units: i64,
    /// How many buyers send requests at the same time.
    pub level: usize,
    /// The seed of the order in which the buyers come.
    pub seed: u64,
    /// The time over which the buyers come in waves. `None` means that they come as fast as answers
    /// come.
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
    /// No answer that decides the request.
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
    pub told: LastAnswer,
    /// The time from the first request to the last answer.
    pub latency: Duration,
    /// Answers that were errors, plus requests without an answer.
    pub errors: u32,
}

/// The results for all buyers.
#[derive(Debug, Default)]
pub struct Answers {
    /// One record for each buyer who started.
    pub records: Vec<BuyerRecord>,
    /// The time from the first request to the last answer.
    pub elapsed: Duration,
    /// The first error that a buyer met.
    pub first_error: Option<String>,
}

/// The progress of all buyers.
#[derive(Debug, Default)]
pub struct Progress {
    /// Buyers who got the answer "sold".
    pub sold: AtomicU64,
    /// Buyers who got their last answer.
    pub answered: AtomicU64,
}

struct Shared {
    crowd: Crowd,
    target: Target,
    order: Vec<i64>,
    next: AtomicUsize,
    start: Instant,
    progress: Arc<Progress>,
    first_error: std::sync::Mutex<Option<String>>,
}

/// Sends the buyers' requests. The connections are divided among these servers.
pub async fn send(
    crowd: Crowd,
    target: Target,
    servers: Vec<SocketAddr>,
    progress: Arc<Progress>,
) -> Answers {
    let mut order: Vec<i64> = (1..=crowd.buyers).collect();
    order.shuffle(&mut SmallRng::seed_from_u64(crowd.seed));
    let (level, start) = (crowd.level, Instant::now());
    let first_error = std::sync::Mutex::new(None);
    let next = AtomicUsize::new(0);
    let shared = Arc::new(Shared { crowd, target, order, next, start, progress, first_error });
    let mut tasks = JoinSet::new();
    for server in servers.iter().cycle().take(level) {
        let (shared, connection) = (Arc::clone(&shared), Connection::new(*server));
        tasks.spawn(shared.serve_buyers(connection));
    }
    let mut answers = Answers::default();
    while let Some(records) = tasks.join_next().await {
        answers.records.extend(records.expect("a buyer's task does not panic"));
    }
    answers.elapsed = start.elapsed();
    answers.first_error = shared.first_error.lock().expect("no holder of it panics").take();
    answers
}

impl Shared {
    /// Serves one buyer after another over one connection.
    async fn serve_buyers(self: Arc<Self>, mut connection: Connection) -> Vec<BuyerRecord> {
        let mut records = Vec::new();
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(&buyer) = self.order.get(index) else { return records };
            if let Some(arrivals) = self.crowd.arrivals {
                // Buyers come in waves as large as the level, so that they compete.
                let wave = index / self.crowd.level * self.crowd.level;
                let at = arrivals.mul_f64(wave as f64 / self.order.len() as f64);
                tokio::time::sleep(at.saturating_sub(self.start.elapsed())).await;
            }
            if self.start.elapsed() > self.crowd.within {
                return records;
            }
            let record = self.serve(buyer, &mut connection).await;
            self.progress
                .sold
                .fetch_add(u64::from(record.told == LastAnswer::Sold), Ordering::Relaxed);
            self.progress.answered.fetch_add(1, Ordering::Relaxed);
            records.push(record);
        }
    }

    /// Handles one buyer, from the first request to the last answer.
    async fn serve(&self, buyer: i64, connection: &mut Connection) -> BuyerRecord {
        let (begun, mut errors) = (Instant::now(), 0);
        let request = self.target.request(buyer, self.crowd.units);
        let mut pause = RETRY_FIRST;
        let mut told = LastAnswer::NoAnswer;
        for _ in 0..TRIES_MAX {
            let asked = tokio::time::timeout(ANSWER_WITHIN, connection.ask(&request)).await;
            let reply = match asked {
                Ok(Ok((status, body))) => self.target.read(status, body),
                Ok(Err(error)) => Reply::Error(error.to_string()),
                Err(_) => Reply::Error("no answer in time".to_owned()),
            };
            match reply {
                Reply::Final(answer) => {
                    told = answer;
                    break;
                }
                Reply::Busy => {}
                Reply::Error(text) => {
                    errors += 1;
                    connection.close();
                    let mut first = self.first_error.lock().expect("no holder of it panics");
                    first.get_or_insert(text);
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_LAST);
        }
        let latency = begun.elapsed();
        BuyerRecord { buyer, units: self.crowd.units, told, latency, errors }
    }
}

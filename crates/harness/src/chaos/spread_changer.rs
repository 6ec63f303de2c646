//! A thread that repeatedly changes the spread of the item while buyers buy its units.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::json;

use super::limits::{PARTITIONS, SPREAD_STAYS};
use super::round_state::{ITEM, RoundRunner, random_duration};
use crate::cluster::{ClusterError, http};

pub(super) fn spread_path(sale: &str) -> String {
    format!("/v1/admin/sales/{sale}/items/{ITEM}/spread")
}

/// Returns a random number of partitions, and the body of the request that sets this number.
pub(super) fn random_spread(stock: u64, rng: &mut SmallRng) -> (u32, String) {
    let partitions = PARTITIONS[rng.random_range(0..PARTITIONS.len())];
    if partitions == 1 {
        return (1, json!({"partitions": 1}).to_string());
    }
    let choose = ["buyer", "random", "round_robin"][rng.random_range(0..3)];
    let spread = json!({"partitions": partitions, "choose": choose, "initial": stock / 10 + 1,
                        "threshold": stock / 40 + 1, "refill": stock / 20 + 1});
    (partitions, spread.to_string())
}

#[derive(Debug)]
pub(super) struct SpreadChanger {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Vec<String>)>,
}

impl SpreadChanger {
    pub(super) fn start(
        runner: &RoundRunner<'_>,
        rng: &mut SmallRng,
    ) -> Result<Self, ClusterError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (until, addr) = (Arc::clone(&stop), runner.cluster.addr());
        let (path, stock) = (spread_path(&runner.sale), runner.round.stock);
        let authorization = format!("Authorization: Bearer {}\r\n", runner.cluster.admin_key());
        let mut rng = SmallRng::seed_from_u64(rng.next_u64());
        let change = move || {
            let (mut changes, mut failures) = (0, Vec::new());
            while !until.load(Ordering::Relaxed) {
                let (_, body) = random_spread(stock, &mut rng);
                // During a fault, the request may fail or get status 503. Any status other than
                // 200 and 503 is a failure of the product.
                match http::send_request(addr, "PUT", &path, &authorization, &body) {
                    Ok(reply) if reply.status == 200 => changes += 1,
                    Ok(reply) if reply.status != 503 => {
                        failures.push(format!("{path}: {} {}", reply.status, reply.body));
                    }
                    _ => {}
                }
                let (begun, stays) = (Instant::now(), random_duration(&mut rng, SPREAD_STAYS));
                while begun.elapsed() < stays && !until.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            (changes, failures)
        };
        let thread = std::thread::Builder::new().name("spread".into()).spawn(change);
        thread
            .map(|thread| Self { stop, thread })
            .map_err(|error| ClusterError::failed("starting to change the spread", error))
    }

    /// Stops the thread. Returns the number of changes, and a text about each change that the
    /// server refused.
    pub(super) fn finish(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .unwrap_or_else(|_| (0, vec!["the thread that changes the spread panicked".into()]))
    }
}

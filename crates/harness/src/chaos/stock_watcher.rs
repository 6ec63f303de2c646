//! Looks at the stock again and again while a round goes on: at every instant each unit is in
//! exactly one place.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;

use super::limits::POLL_EVERY;
use crate::cluster::{ClusterError, http};

/// Where the units of an item are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StockTotals {
    /// All there are.
    pub total: u64,
    /// Not sold.
    pub free: u64,
    /// In orders.
    pub sold: u64,
}

impl StockTotals {
    /// Reads it; an error says what does not add up.
    pub fn read(body: &Value) -> Result<Self, String> {
        let row = &body["items"][0];
        // A negative number is no u64.
        let part = |name: &str| row[name].as_u64().ok_or_else(|| format!("no {name} in {body}"));
        let (total, free) = (part("total")?, part("pool")? + part("in_slots")?);
        let sold = part("held")? + part("paid")?;
        if free + sold == total {
            Ok(Self { total, free, sold })
        } else {
            Err(format!("it does not add up: {row}"))
        }
    }
}

/// Whoever looks.
#[derive(Debug)]
pub(super) struct StockWatcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Vec<String>)>,
}

impl StockWatcher {
    /// Begins to look at a sale.
    pub fn start(addr: SocketAddr, key: &str, sale: &str) -> Result<Self, ClusterError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (path, line) =
            (format!("/v1/admin/sales/{sale}/stock"), format!("Authorization: Bearer {key}\r\n"));
        let until = Arc::clone(&stop);
        let look = move || {
            let (mut polls, mut wrong) = (0, Vec::new());
            while !until.load(Ordering::Relaxed) {
                // While something is broken there may be no answer; a wrong answer there may not
                // be.
                match http::send_request(addr, "GET", &path, &line, "") {
                    Ok(reply) if reply.status == 200 => {
                        polls += 1;
                        wrong.extend(StockTotals::read(&reply.json()).err());
                    }
                    Ok(reply) if reply.status != 503 => {
                        wrong.push(format!("{path}: {} {}", reply.status, reply.body))
                    }
                    _ => {}
                }
                std::thread::sleep(POLL_EVERY);
            }
            (polls, wrong)
        };
        let thread = std::thread::Builder::new().name("watch".into()).spawn(look);
        thread
            .map(|thread| Self { stop, thread })
            .map_err(|error| ClusterError::failed("watching", error))
    }

    /// Ends it: how often there was an answer, and what was wrong.
    pub fn finish(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| (0, vec!["whoever watched the stock is gone".into()]))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_unit_in_two_places_or_in_none_does_not_add_up() {
        let row = |pool: i64, held: i64| json!({"items": [{"total": 10, "pool": pool, "in_slots": 3, "held": held, "paid": 1}]});
        assert_eq!(StockTotals::read(&row(4, 2)), Ok(StockTotals { total: 10, free: 7, sold: 3 }));
        for wrong in [row(4, 3), row(4, 1), row(-1, 7), json!({"items": []})] {
            assert!(StockTotals::read(&wrong).is_err(), "{wrong}");
        }
    }
}

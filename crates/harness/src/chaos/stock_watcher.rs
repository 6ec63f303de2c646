//! A thread that repeatedly reads the stock during a round, and checks that each unit is in exactly
//! one state.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use serde_json::Value;

use super::limits::POLL_INTERVAL;
use crate::cluster::{ClusterError, http};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StockTotals {
    /// All units.
    pub total: u64,
    /// Units that are not sold.
    pub free: u64,
    /// Units in orders.
    pub sold: u64,
}

impl StockTotals {
    /// Parses a response with the stock of the sale. Fails if the units in all states do not add up
    /// to the total.
    pub fn read(body: &Value) -> Result<Self, String> {
        let row = &body["items"][0];
        // `as_u64` also refuses a negative number.
        let part = |name: &str| row[name].as_u64().ok_or_else(|| format!("no {name} in {body}"));
        let (total, free) = (part("total")?, part("pool")? + part("in_slots")?);
        let sold = part("held")? + part("paid")?;
        if free + sold == total {
            Ok(Self { total, free, sold })
        } else {
            Err(format!("total is not pool + in_slots + held + paid: {row}"))
        }
    }
}

#[derive(Debug)]
pub(super) struct StockWatcher {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Vec<String>)>,
}

impl StockWatcher {
    /// Starts to watch a sale.
    pub fn start(addr: SocketAddr, key: &str, sale: &str) -> Result<Self, ClusterError> {
        let stop = Arc::new(AtomicBool::new(false));
        let (path, line) =
            (format!("/v1/admin/sales/{sale}/stock"), format!("Authorization: Bearer {key}\r\n"));
        let until = Arc::clone(&stop);
        let look = move || {
            let (mut polls, mut wrong) = (0, Vec::new());
            while !until.load(Ordering::Relaxed) {
                // During a fault, the request may fail or get status 503. Any status other than
                // 200 and 503 is a failure of the product.
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
                std::thread::sleep(POLL_INTERVAL);
            }
            (polls, wrong)
        };
        let thread = std::thread::Builder::new().name("watch".into()).spawn(look);
        thread
            .map(|thread| Self { stop, thread })
            .map_err(|error| ClusterError::failed("starting the stock watcher", error))
    }

    /// Stops the thread. Returns the number of responses with the stock, and a text about each
    /// wrong response. If no response had the stock, a text says so.
    pub fn finish(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let (polls, mut wrong) = self
            .thread
            .join()
            .unwrap_or_else(|_| (0, vec!["the thread that watches the stock panicked".into()]));
        if polls == 0 {
            wrong.push("no response had the stock".into());
        }
        (polls, wrong)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use socket2::{Domain, Socket, Type};

    use super::*;

    #[test]
    fn a_unit_in_two_places_or_in_none_is_an_error() {
        let row = |pool: i64, held: i64| {
            let item = json!({"total": 10, "pool": pool, "in_slots": 3, "held": held, "paid": 1});
            json!({"items": [item]})
        };
        assert_eq!(StockTotals::read(&row(4, 2)), Ok(StockTotals { total: 10, free: 7, sold: 3 }));
        for wrong in [row(4, 3), row(4, 1), row(-1, 7), json!({"items": []})] {
            assert!(StockTotals::read(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_watcher_without_any_response_reports_it() {
        // This socket occupies its port without listening, so no server can answer the watcher.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        let addr = socket.local_addr().expect("an address").as_socket().expect("of TCP");
        let watcher = StockWatcher::start(addr, "key", "spring").expect("a thread");
        assert_eq!(watcher.finish(), (0, vec!["no response had the stock".to_owned()]));
    }
}

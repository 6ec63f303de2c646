//! Measures the naive design of R4N: without a fault, with a killed process, and with a Redis that
//! loses its data.
use std::time::Duration;

use anyhow::{Result, ensure};
use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::promises::{PromisedOrders, count_missing};
use doorbuster_harness::generator::{AnswerKind, Load};

use super::during_load;
use crate::config::BenchConfig;
use crate::figures::sale_server::template;
use crate::limits::ORDER_CONNECTIONS;
use crate::peer::naive::Naive;

/// How long each round loads the peer. The time is short, because after the load the peer's
/// consumer needs many times as long to insert the orders.
const NAIVE_TIME: Duration = Duration::from_secs(1);

/// Sends load to the naive peer, and injects no fault. Returns the confirmed orders per second.
pub(super) fn measure_round(naive: &mut Naive, config: &BenchConfig, secret: &[u8]) -> Result<f64> {
    naive.reset()?;
    let buyers = Buyers::new(secret, "n", config.buyers());
    let load = Load { time: NAIVE_TIME, ..config.load(naive.addr(), ORDER_CONNECTIONS) };
    let run =
        load.run(&mut Purchases::each_once(&buyers, template(&buyers, Naive::item(), 1, ""), 0))?;
    run.expect_only(&[AnswerKind::Accepted])?;
    let (confirmed, orders) = (run.count(AnswerKind::Accepted), naive.orders()?);
    ensure!(
        confirmed == orders,
        "without a fault, the naive peer confirmed {confirmed} orders but inserted {orders}"
    );
    Ok(run.per_sec(AnswerKind::Accepted))
}

/// Kills the naive peer's process during one load, and empties its Redis during a second load.
/// Returns a text that says how many confirmed orders the peer lost in each case.
pub(super) fn check_after_kill(
    naive: &mut Naive,
    config: &BenchConfig,
    secret: &[u8],
) -> Result<String> {
    let mut found = Vec::new();
    for kill_process in [true, false] {
        naive.reset()?;
        let buyers = Buyers::new(secret, "j", config.buyers());
        let load = Load { time: NAIVE_TIME, ..config.load(naive.addr(), ORDER_CONNECTIONS) };
        let script = template(&buyers, Naive::item(), 1, "");
        let mut script = PromisedOrders::new(Purchases::each_once(&buyers, script, 0));
        let run_load = || load.run(&mut script);
        let (run, done) = during_load(load.warm_up + load.time, run_load, || {
            if kill_process {
                naive.kill()?;
                naive.serve()
            } else {
                naive.empty_redis()
            }
        });
        done?;
        let (confirmed, stored) = (run?.count(AnswerKind::Accepted), naive.buyers()?);
        ensure!(
            script.ids.len() as u64 >= confirmed,
            "{confirmed} answers named only {} buyers",
            script.ids.len()
        );
        let (reserved_units, orders) = (naive.reserved_units().unwrap_or(0), naive.orders()?);
        found.push((
            confirmed,
            count_missing(&script.ids, &stored),
            reserved_units.saturating_sub(orders),
        ));
    }
    Ok(format!(
        "the naive peer lost {} of {} confirmed orders when it was killed, and deducted {} \
         units without an order; the peer lost {} of {} when its Redis was emptied",
        found[0].1, found[0].0, found[0].2, found[1].1, found[1].0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_harness::generator::Pace;

    /// The largest number of attempts to empty Redis at a moment when an order waits in a list
    /// there.
    const EMPTIED_MAX: u32 = 20;

    #[test]
    fn the_naive_peer_loses_orders_only_when_its_redis_is_emptied() {
        let parent = std::env::temp_dir();
        let mut naive = Naive::start(&parent).expect("redis-server and postgresql are installed");
        let time = Duration::from_secs(1);
        let load = |naive: &Naive| Load {
            addr: naive.addr(),
            connections: 64,
            pace: Pace::Open(2_000.0),
            warm_up: Duration::ZERO,
            time,
            core: None,
        };
        let buyers = Buyers::new(&[7; 32], "t", 10_000);
        let script = || Purchases::each_once(&buyers, template(&buyers, Naive::item(), 1, ""), 0);
        naive.reset().expect("the peer is reset");
        let run = load(&naive).run(&mut script()).expect("answers");
        assert_eq!(run.count(AnswerKind::Accepted), naive.orders().expect("a count"));

        // Redis loses only the orders that wait in its list. If the list is empty when the test
        // empties Redis, no order is lost, so the test tries again.
        let loses = (0..EMPTIED_MAX).any(|_| {
            naive.reset().expect("the peer is reset");
            let generator = load(&naive);
            let run = || generator.run(&mut script());
            let (run, done) = during_load(time, run, || naive.empty_redis());
            done.expect("Redis is emptied");
            run.expect("answers").count(AnswerKind::Accepted) > naive.orders().expect("a count")
        });
        assert!(loses, "no order was lost in {EMPTIED_MAX} runs");
    }
}

//! B1: the latency of reading orders after a sale. Many buyers each read their orders once, while
//! another sale runs on the same server.
use anyhow::{Result, ensure};

use super::figure_or_invalid;
use super::sale_server::{self, SaleServer};
use crate::config::BenchConfig;
use crate::door_requests::DoorRequests;
use crate::figure::{Figure, Target, median};
use crate::limits::ORDER_CONNECTIONS;
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::{AnswerKind, Load, Pace};

const TARGET: Target = Target::AtMost { floor: 50.0, goal: 10.0 };
const MEASURED: &str = "p99 of reading one's orders";
const READS_PER_SEC: f64 = 5_000.0;
/// The rate of new orders in the other sale, per second.
const ORDERS_PER_SEC: f64 = 2_000.0;
/// The generator must send at least this share of the planned requests. Otherwise the generator was
/// the bottleneck, and not the server.
const PACE_KEPT: f64 = 0.97;

/// Measures B1.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    vec![figure_or_invalid("B1", MEASURED, TARGET, beside_sales(config))]
}

fn beside_sales(config: &BenchConfig) -> Result<Figure> {
    let (mut reads, mut medians, mut orders) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..config.rounds {
        let round = one_round(config)?;
        reads.push(round.reads_p99_ms);
        medians.push(round.reads_median_ms);
        orders.push(round.orders_p99_ms);
    }
    let figure =
        Figure::new("B1", MEASURED, TARGET).with_value(median(&reads), "ms").note(format!(
            "{READS_PER_SEC:.0} reads a second, each by a different buyer with one order, beside \
         {ORDERS_PER_SEC:.0} orders a second; median of the reads {:.2} ms; p99 of the orders \
         {:.2} ms",
            median(&medians),
            median(&orders)
        ));
    Ok(Figure { rounds: reads, ..figure })
}

struct Measured {
    reads_p99_ms: f64,
    reads_median_ms: f64,
    orders_p99_ms: f64,
}

fn one_round(config: &BenchConfig) -> Result<Measured> {
    let mut sale_server = SaleServer::open(config, None, None)?;
    let usual = config.load(sale_server.addr(), ORDER_CONNECTIONS);
    // Arrivals are random, so the bench prepares a tenth more buyers than arrive on average.
    let seconds = (usual.warm_up + usual.time).as_secs_f64() * 1.1;
    let owners = sale_server::buyers("owner", (READS_PER_SEC * seconds) as u32);
    let others = sale_server::buyers("other", (ORDERS_PER_SEC * seconds) as u32);
    sale_server.sell_out("sold", &owners, 1)?;
    sale_server.open_plenty("running")?;
    let template = sale_server::template(&others, "running", 1, "");
    let (reads, orders) = std::thread::scope(|scope| {
        let reads = scope.spawn(|| {
            let load = Load { pace: Pace::Open(READS_PER_SEC), ..usual };
            load.run(&mut DoorRequests::own_orders(&owners))
        });
        let load = Load { pace: Pace::Open(ORDERS_PER_SEC), ..usual };
        let orders =
            sale_server.take_orders(&load, &mut Purchases::each_once(&others, template, 0));
        (reads.join().expect("the generator does not panic"), orders)
    });
    let (reads, orders) = (reads?, orders?);
    reads.expect_only(&[AnswerKind::Fine])?;
    sale_server.check("running", &orders)?;
    for (run, due) in [(&reads, READS_PER_SEC), (&orders, ORDERS_PER_SEC)] {
        let kept = run.sent_per_sec() / due;
        ensure!(
            kept > PACE_KEPT,
            "the generator sent only {} of the planned requests",
            sale_server::percent(kept)
        );
    }
    sale_server.close()?;
    Ok(Measured {
        reads_p99_ms: reads.p99_us() / 1e3,
        reads_median_ms: reads.latency.value_at_quantile(0.5) as f64 / 1e3,
        orders_p99_ms: orders.p99_us() / 1e3,
    })
}

//! R7: the latency of an order at half of the server's capacity. The bench compares this latency
//! with the latency of appending rows to a file at the same rate.
use anyhow::{Result, ensure};

use super::figure_or_invalid;
use super::sale_server::{self, SaleServer};
use crate::config::BenchConfig;
use crate::disk;
use crate::figure::{Comparison, Figure, Target, median};
use crate::limits::ORDER_CONNECTIONS;
use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::{AnswerKind, Load, Pace};

const TARGET: Target = Target::AtMost { floor: 3.0, goal: 1.5 };
const MEASURED: &str = "p99 of an order at half of capacity";
/// An order may take this much longer than an append, in microseconds. The bench compares the
/// latency of an order with the latency of an append plus this allowance.
const ALLOWANCE_US: f64 = 1000.0;
/// The generator must send at least this share of the planned requests. Otherwise the generator was
/// the bottleneck, and not the server.
const PACE_KEPT: f64 = 0.97;

/// Measures R7.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    vec![figure_or_invalid("R7", MEASURED, TARGET, against_disk(config))]
}

#[derive(Debug, Default)]
struct Measured {
    comparison: Comparison,
    capacity: Vec<f64>,
    median_us: Vec<f64>,
}

fn against_disk(config: &BenchConfig) -> Result<Figure> {
    let buyers = sale_server::buyers("buyer", config.buyers() * 2);
    let mut measured = Measured::default();
    for round in 0..=config.rounds {
        one_round(config, &buyers, &mut measured, round > 0)?;
    }
    let note = format!(
        "{:.0} requests arrive per second, at random times; this is half of the capacity of {:.0}/s; \
         a latency starts at the time when the request should arrive; median {:.1} ms; the peer is \
         the p99 latency of synced appends at the same rate, plus 1 ms",
        median(&measured.capacity) / 2.0,
        median(&measured.capacity),
        median(&measured.median_us) / 1e3
    );
    Ok(Figure::new("R7", MEASURED, TARGET)
        .comparison(&measured.comparison, "µs", "append + 1 ms, µs")
        .note(note))
}

fn one_round(
    config: &BenchConfig,
    buyers: &Buyers,
    measured: &mut Measured,
    counts: bool,
) -> Result<()> {
    let mut sale_server = SaleServer::open(config, None, None)?;
    sale_server.open_plenty("full")?;
    sale_server.open_plenty("half")?;
    let mut script = Purchases::each_once(buyers, sale_server::template(buyers, "full", 1, ""), 0);
    let run = sale_server
        .take_orders(&config.load(sale_server.addr(), ORDER_CONNECTIONS), &mut script)?;
    sale_server.check("full", &run)?;
    let capacity = run.per_sec(AnswerKind::Accepted);
    let mut script = Purchases::each_once(
        buyers,
        sale_server::template(buyers, "half", 1, ""),
        script.next_buyer(),
    );
    let half = Load {
        pace: Pace::Open(capacity / 2.0),
        ..config.load(sale_server.addr(), ORDER_CONNECTIONS)
    };
    let run = sale_server.take_orders(&half, &mut script)?;
    sale_server.check("half", &run)?;
    let append = disk::append_p99(config.temp_dir("disk")?.path(), capacity / 2.0, config.time)?;
    let kept = run.sent_per_sec() / (capacity / 2.0);
    ensure!(
        kept > PACE_KEPT,
        "the generator sent only {} of the planned requests",
        sale_server::percent(kept)
    );
    sale_server.close()?;
    if counts {
        measured.comparison.ours.push(run.p99_us());
        measured.comparison.peer.push(append.as_secs_f64() * 1e6 + ALLOWANCE_US);
        measured.capacity.push(capacity);
        measured.median_us.push(run.latency.value_at_quantile(0.5) as f64);
    }
    Ok(())
}

//! R8: the orders per second of a server that gets several times as many requests as it can serve.
//!
//! The server and the generator have one core each. Buyers overload the server in two ways:
//! - A crowd waits for its verdicts. Each request needs a connection until its verdict. If no
//!   connection is free, the generator does not send the planned request.
//! - A flood does not wait for its verdicts (`Prefer: respond-async`). The server's queue of
//!   tickets is always full, so the server refuses requests.
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags};

use super::figure_or_invalid;
use super::sale_server::{self, SaleServer};
use crate::attack::Attack;
use crate::config::BenchConfig;
use crate::figure::{Comparison, Figure, Target, median};
use crate::limits::{
    BOMBS_PER_SEC, CROWD_CONNECTIONS, CROWD_CONNECTIONS_BESIDE, DEAD_SOCKETS, ORDER_CONNECTIONS,
    OVERLOAD, OVERLOAD_LARGE, SLOW_HEADS,
};
use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::cores;
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::{AnswerKind, DRAIN_WITHIN, Load, Pace, RunResult};

const TARGET: Target = Target::AtLeast { floor: 0.85, goal: 0.95 };
const CROWD: &str = "orders while a crowd waits, one core";
const LARGE: &str = "orders a second, while a crowd of ten times the capacity waits";
const ATTACKED: &str = "orders while a crowd waits, beside attack clients";
const FLOOD: &str = "orders during a flood, one core";

/// Measures R8.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    match rounds(config) {
        Ok(rows) => rows,
        Err(error) => [CROWD, LARGE, ATTACKED, FLOOD]
            .map(|what| figure_or_invalid("R8", what, TARGET, Err(anyhow::anyhow!("{error:#}"))))
            .into(),
    }
}

#[derive(Debug, Default)]
struct Measured {
    comparison: Comparison,
    /// The rate of requests that reached the server, as a multiple of the server's capacity.
    attained: Vec<f64>,
    /// The share of the requests that the server answered with `503`.
    refused: Vec<f64>,
    busy: f64,
}

impl Measured {
    fn add(&mut self, orders_per_sec: f64, capacity: f64, run: &RunResult) {
        self.comparison.ours.push(orders_per_sec);
        self.comparison.peer.push(capacity);
        self.attained.push(run.sent_per_sec() / capacity);
        self.refused.push(run.count(AnswerKind::Overloaded) as f64 / run.total().max(1) as f64);
        self.busy = self.busy.max(run.generator_busy);
    }

    fn figure(&self, what: &str, how: &str) -> Figure {
        Figure::new("R8", what, TARGET).comparison(&self.comparison, "/s", "at capacity /s").note(format!(
            "{how}; the server got {:.1} × its capacity and refused {} of the requests with 503; the \
             generator was busy {} of the time",
            median(&self.attained),
            sale_server::percent(median(&self.refused)),
            sale_server::percent(self.busy)
        ))
    }
}

/// A crowd that overloads the server.
#[derive(Clone, Copy, Debug)]
struct CrowdCase {
    what: &'static str,
    /// The offered load, as a multiple of the capacity.
    times: f64,
    connections: usize,
    is_attacked: bool,
}

const CROWDS: [CrowdCase; 3] = [
    CrowdCase { what: CROWD, times: OVERLOAD, connections: CROWD_CONNECTIONS, is_attacked: false },
    CrowdCase {
        what: LARGE,
        times: OVERLOAD_LARGE,
        connections: CROWD_CONNECTIONS,
        is_attacked: false,
    },
    CrowdCase {
        what: ATTACKED,
        times: OVERLOAD,
        connections: CROWD_CONNECTIONS_BESIDE,
        is_attacked: true,
    },
];

impl CrowdCase {
    fn label(&self) -> String {
        let beside = if self.is_attacked {
            format!(
                ", beside {DEAD_SOCKETS} WebSockets that are never read, {SLOW_HEADS} request \
                 heads that never end, and each second {BOMBS_PER_SEC} headers of 64 KiB"
            )
        } else {
            String::new()
        };
        format!("load of {} × the capacity, {} connections{beside}", self.times, self.connections)
    }
}

fn rounds(config: &BenchConfig) -> Result<Vec<Figure>> {
    ensure!(cores::pair().0.is_some(), "this figure needs two cores");
    let buyers = sale_server::buyers("buyer", config.buyers() * 3);
    let mut crowds: [Measured; CROWDS.len()] = Default::default();
    let mut flood = Measured::default();
    for round in 0..=config.rounds {
        let mut capacities = Vec::new();
        for (crowd, measured) in CROWDS.iter().zip(&mut crowds) {
            let (capacity, orders_per_sec, run) =
                crowd_round(config, &buyers, crowd).context(crowd.what)?;
            capacities.push(capacity);
            if round > 0 {
                measured.add(orders_per_sec, capacity, &run);
            }
        }
        let (settled_per_sec, flooded) = flood_round(config, &buyers).context(FLOOD)?;
        if round > 0 {
            flood.add(settled_per_sec, median(&capacities), &flooded);
        }
    }
    let mut figures: Vec<Figure> = CROWDS
        .iter()
        .zip(&crowds)
        .map(|(crowd, measured)| measured.figure(crowd.what, &crowd.label()))
        .collect();
    figures.push(
        flood.figure(
            FLOOD,
            &format!("{ORDER_CONNECTIONS} connections that do not wait for verdicts"),
        ),
    );
    Ok(figures)
}

fn open(config: &BenchConfig) -> Result<SaleServer> {
    SaleServer::open(config, None, cores::pair().0)
}

fn crowd_round(
    config: &BenchConfig,
    buyers: &Buyers,
    crowd: &CrowdCase,
) -> Result<(f64, f64, RunResult)> {
    let mut sale_server = open(config)?;
    sale_server.open_plenty("full")?;
    sale_server.open_plenty("crowd")?;
    let core = cores::pair().1;
    let load = Load { core, ..config.load(sale_server.addr(), ORDER_CONNECTIONS) };
    let mut script = Purchases::each_once(buyers, sale_server::template(buyers, "full", 1, ""), 0);
    let run = sale_server.take_orders(&load, &mut script)?;
    sale_server.check("full", &run)?;
    let capacity = run.per_sec(AnswerKind::Accepted);
    let dead = sale_server::buyers("dead", DEAD_SOCKETS as u32);
    let attack = crowd
        .is_attacked
        .then(|| Attack::start(sale_server.addr(), core, &dead, "crowd"))
        .transpose()?;
    // The warm-up is long enough that all connections wait for verdicts when the measurement
    // starts.
    let (pace, warm_up) = (Pace::Crowd(capacity * crowd.times), config.time / 2);
    let load = Load { connections: crowd.connections, pace, warm_up, ..load };
    let mut script = Purchases::each_once(
        buyers,
        sale_server::template(buyers, "crowd", 1, ""),
        script.next_buyer(),
    );
    let run = sale_server.take_some_orders(&load, &mut script)?;
    run.expect_only(&[AnswerKind::Accepted, AnswerKind::Queued, AnswerKind::Overloaded])?;
    attack.map(Attack::end).transpose()?;
    sale_server.check("crowd", &run)?;
    ensure!(run.time == config.time, "the prepared buyers ran out before the measurement ended");
    sale_server.close()?;
    Ok((capacity, run.per_sec(AnswerKind::Accepted), run))
}

fn flood_round(config: &BenchConfig, buyers: &Buyers) -> Result<(f64, RunResult)> {
    let mut sale_server = open(config)?;
    sale_server.open_plenty("flood")?;
    let load = Load { core: cores::pair().1, ..config.load(sale_server.addr(), ORDER_CONNECTIONS) };
    let template = sale_server::template(buyers, "flood", 1, "Prefer: respond-async\r\n");
    let mut script = Purchases::each_once(buyers, template, 0);
    let file = sale_server.server().store_file()?;
    let (run, settled) = std::thread::scope(|scope| {
        let settled = scope.spawn(|| settled_per_sec(&file, &load));
        let run = sale_server.take_some_orders(&load, &mut script);
        (run, settled.join().expect("counting orders does not panic"))
    });
    let (run, settled) = (run?, settled?);
    run.expect_only(&[AnswerKind::Accepted, AnswerKind::Queued, AnswerKind::Overloaded])?;
    ensure!(run.time == config.time, "the prepared buyers ran out before the measurement ended");
    wait_for_verdicts(&file, run.count(AnswerKind::Queued) + run.count(AnswerKind::Accepted))?;
    sale_server.check("flood", &run)?;
    sale_server.close()?;
    Ok((settled, run))
}

fn wait_for_verdicts(file: &Path, tickets: u64) -> Result<()> {
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .context("cannot read the store")?;
    let until = Instant::now() + DRAIN_WITHIN;
    loop {
        let sql = "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM resolution)";
        let verdicts: i64 = db.query_row(sql, [], |row| row.get(0))?;
        if verdicts.unsigned_abs() == tickets {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "{tickets} tickets were issued, but only {verdicts} have a verdict"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Counts the orders in the store's file at two times during the load. Returns the orders per
/// second between these times.
fn settled_per_sec(file: &Path, load: &Load) -> Result<f64> {
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .context("cannot read the store")?;
    let orders =
        || db.query_row("SELECT coalesce(max(seq), 0) FROM orders", [], |row| row.get::<_, i64>(0));
    std::thread::sleep(load.warm_up);
    let (from, before) = (Instant::now(), orders()?);
    std::thread::sleep(load.time * 9 / 10);
    let (until, after) = (Instant::now(), orders()?);
    Ok((after - before) as f64 / (until - from).as_secs_f64())
}

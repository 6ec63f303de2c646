//! R8: how much good a server still does when it is asked for five times what it can.
//!
//! The server is kept on one core and the generator on another. Buyers overload it in two ways. *A crowd* waits for its answers: requests are due at
//! five times the capacity, and one that finds no free connection turns away. *A flood* does not wait (`Prefer: respond-async`): every connection asks
//! again at once, so that places in the queue run out and the server has to refuse. The crowd comes once more in twice that number, and once beside clients that
//! only mean to be a burden.
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, OpenFlags};

use super::or_invalid;
use super::shop::{self, Shop};
use crate::attack::Attack;
use crate::buyers::Buyers;
use crate::cores;
use crate::figure::{Compared, Figure, Target, median};
use crate::limits::{
    BOMBS_PER_SEC, CROWD_CONNECTIONS, CROWD_CONNECTIONS_BESIDE, DEAD_SOCKETS, DRAIN_WITHIN,
    ORDER_CONNECTIONS, OVERLOAD, OVERLOAD_LARGE, SLOW_HEADS,
};
use crate::load::http::Purchases;
use crate::load::{Kind, Load, Pace, Run};
use crate::setting::Setting;

const TARGET: Target = Target::AtLeast { floor: 0.8, goal: 0.95 };
const CROWD: &str = "orders while a crowd waits, one core";
const LARGE: &str = "orders while twice that crowd waits";
const ATTACKED: &str = "orders while a crowd waits, beside attack clients";
const FLOOD: &str = "orders while a flood comes in, one core";

/// Measures R8.
pub fn measure(setting: &Setting, _ids: &[&'static str]) -> Vec<Figure> {
    match rounds(setting) {
        Ok(rows) => rows,
        Err(error) => [CROWD, LARGE, ATTACKED, FLOOD]
            .map(|what| or_invalid("R8", what, TARGET, Err(anyhow::anyhow!("{error:#}"))))
            .into(),
    }
}

#[derive(Debug, Default)]
struct Measured {
    compared: Compared,
    /// Requests that reached the server, over its capacity.
    attained: Vec<f64>,
    /// The share of them that heard `503`.
    refused: Vec<f64>,
    busy: f64,
}

impl Measured {
    fn add(&mut self, orders_per_sec: f64, capacity: f64, run: &Run) {
        self.compared.ours.push(orders_per_sec);
        self.compared.peer.push(capacity);
        self.attained.push(run.sent_per_sec() / capacity);
        self.refused.push(run.count(Kind::Overloaded) as f64 / run.total().max(1) as f64);
        self.busy = self.busy.max(run.generator_busy);
    }

    fn figure(&self, what: &str, how: &str) -> Figure {
        Figure::new("R8", what, TARGET).compared(&self.compared, "/s", "at capacity /s").note(format!(
            "{how}; {:.1} × of capacity reached the server, which refused {} of it with 503; the generator was busy {} of the time",
            median(&self.attained),
            shop::percent(median(&self.refused)),
            shop::percent(self.busy)
        ))
    }
}

/// An overloading crowd.
#[derive(Clone, Copy, Debug)]
struct Crowd {
    what: &'static str,
    /// How many times the capacity is due.
    times: f64,
    connections: usize,
    is_attacked: bool,
}

const CROWDS: [Crowd; 3] = [
    Crowd { what: CROWD, times: OVERLOAD, connections: CROWD_CONNECTIONS, is_attacked: false },
    Crowd {
        what: LARGE,
        times: OVERLOAD_LARGE,
        connections: CROWD_CONNECTIONS,
        is_attacked: false,
    },
    Crowd {
        what: ATTACKED,
        times: OVERLOAD,
        connections: CROWD_CONNECTIONS_BESIDE,
        is_attacked: true,
    },
];

impl Crowd {
    fn how(&self) -> String {
        let beside = if self.is_attacked {
            format!(
                ", beside {DEAD_SOCKETS} WebSockets that are never read, {SLOW_HEADS} heads that never end and {BOMBS_PER_SEC} headers of 64 KiB a second"
            )
        } else {
            String::new()
        };
        format!("{} × of capacity due, over {} connections{beside}", self.times, self.connections)
    }
}

fn rounds(setting: &Setting) -> Result<Vec<Figure>> {
    ensure!(cores::pair().0.is_some(), "this figure needs two cores");
    let buyers = shop::buyers("buyer", setting.buyers() * 3);
    let mut crowds: [Measured; CROWDS.len()] = Default::default();
    let mut flood = Measured::default();
    for round in 0..=setting.rounds {
        let mut capacities = Vec::new();
        for (crowd, measured) in CROWDS.iter().zip(&mut crowds) {
            let (capacity, orders_per_sec, run) =
                crowd_round(setting, &buyers, crowd).context(crowd.what)?;
            capacities.push(capacity);
            if round > 0 {
                measured.add(orders_per_sec, capacity, &run);
            }
        }
        let (settled_per_sec, flooded) = flood_round(setting, &buyers).context(FLOOD)?;
        if round > 0 {
            flood.add(settled_per_sec, median(&capacities), &flooded);
        }
    }
    let mut figures: Vec<Figure> = CROWDS
        .iter()
        .zip(&crowds)
        .map(|(crowd, measured)| measured.figure(crowd.what, &crowd.how()))
        .collect();
    figures.push(
        flood.figure(
            FLOOD,
            &format!("{ORDER_CONNECTIONS} connections that do not wait for verdicts"),
        ),
    );
    Ok(figures)
}

fn open(setting: &Setting) -> Result<Shop> {
    Shop::open(setting, None, cores::pair().0)
}

/// Capacity, and the orders per second while a crowd waits.
fn crowd_round(setting: &Setting, buyers: &Buyers, crowd: &Crowd) -> Result<(f64, f64, Run)> {
    let mut shop = open(setting)?;
    shop.open_plenty("full")?;
    shop.open_plenty("crowd")?;
    let core = cores::pair().1;
    let load = Load { core, ..setting.load(shop.addr(), ORDER_CONNECTIONS) };
    let mut script = Purchases::each_once(buyers, shop::template(buyers, "full", 1, ""), 0);
    let run = shop.take_orders(&load, &mut script)?;
    shop.check("full", &run)?;
    let capacity = run.per_sec(Kind::Accepted);
    let dead = shop::buyers("dead", DEAD_SOCKETS as u32);
    let attack =
        crowd.is_attacked.then(|| Attack::begin(shop.addr(), core, &dead, "crowd")).transpose()?;
    // The crowd is there when it begins to count.
    let (pace, lead) = (Pace::Crowd(capacity * crowd.times), setting.time / 2);
    let load = Load { connections: crowd.connections, pace, lead, ..load };
    let mut script =
        Purchases::each_once(buyers, shop::template(buyers, "crowd", 1, ""), script.next_buyer());
    let run = shop.take_some_orders(&load, &mut script)?;
    run.only(&[Kind::Accepted, Kind::Queued, Kind::Overloaded])?;
    attack.map(Attack::end).transpose()?;
    shop.check("crowd", &run)?;
    ensure!(run.time == setting.time, "more requests were sent than buyers had been made ready");
    shop.close()?;
    Ok((capacity, run.per_sec(Kind::Accepted), run))
}

/// Orders per second in the store while a flood comes in.
fn flood_round(setting: &Setting, buyers: &Buyers) -> Result<(f64, Run)> {
    let mut shop = open(setting)?;
    shop.open_plenty("flood")?;
    let load = Load { core: cores::pair().1, ..setting.load(shop.addr(), ORDER_CONNECTIONS) };
    let template = shop::template(buyers, "flood", 1, "Prefer: respond-async\r\n");
    let mut script = Purchases::each_once(buyers, template, 0);
    let file = shop.server().store_file()?;
    let (run, settled) = std::thread::scope(|scope| {
        let settled = scope.spawn(|| settled_per_sec(&file, &load));
        let run = shop.take_some_orders(&load, &mut script);
        (run, settled.join().expect("counting orders does not panic"))
    });
    let (run, settled) = (run?, settled?);
    run.only(&[Kind::Accepted, Kind::Queued, Kind::Overloaded])?;
    ensure!(run.time == setting.time, "more requests were sent than buyers had been made ready");
    every_verdict(&file, run.count(Kind::Queued) + run.count(Kind::Accepted))?;
    shop.check("flood", &run)?;
    shop.close()?;
    Ok((settled, run))
}

/// Waits until each of so many tickets has its verdict: an order, or a record that it was returned.
fn every_verdict(file: &Path, tickets: u64) -> Result<()> {
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .context("reading the store")?;
    let until = Instant::now() + DRAIN_WITHIN;
    loop {
        let sql = "SELECT (SELECT count(*) FROM orders) + (SELECT count(*) FROM resolution)";
        let verdicts: i64 = db.query_row(sql, [], |row| row.get(0))?;
        if verdicts.unsigned_abs() == tickets {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "{tickets} places were given in the queue, and {verdicts} verdicts"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Orders per second in the time that counts, as the store's file shows them.
fn settled_per_sec(file: &Path, load: &Load) -> Result<f64> {
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .context("reading the store")?;
    let orders =
        || db.query_row("SELECT coalesce(max(seq), 0) FROM orders", [], |row| row.get::<_, i64>(0));
    std::thread::sleep(load.lead);
    let (from, before) = (Instant::now(), orders()?);
    std::thread::sleep(load.time * 9 / 10);
    let (until, after) = (Instant::now(), orders()?);
    Ok((after - before) as f64 / (until - from).as_secs_f64())
}

//! D5: how soon the units of 100,000 ended holds are available again, and how much the expiry of
//! the holds delays other requests.
//!
//! The holds are ordinary orders, whose `pay_by` the bench sets with SQL. Other buyers send
//! requests at steady rates during two periods: before the holds end, and from the end of the holds
//! until the last unit is back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

use super::figure_or_invalid;
use super::sale_server::template;
use crate::config::BenchConfig;
use crate::figure::{Figure, Target, median};
use crate::limits::ORDER_CONNECTIONS;
use crate::server::NewSale;
use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::http::{Purchases, RepeatedRequest};
use doorbuster_harness::generator::{AnswerKind, Load, Pace, RunResult, StoppableRequestScript};

mod store_server;

use store_server::{HoldExpiry, StoreKind, StoreServer};

const HOLDS: u32 = 100_000;
const HOLDS_QUICK: u32 = 10_000;
/// The largest number of rounds. It is small, because one round takes long.
const ROUNDS_MAX: usize = 3;
/// The rates of the other requests, per second: purchases, refusals, and reads of the status.
const RATES: [f64; 3] = [300.0, 500.0, 200.0];
const CONNECTIONS: usize = 64;
/// The time from the start of the SQL that sets `pay_by` to the end of the first hold.
const AHEAD: Duration = Duration::from_secs(8);
const CHECK_INTERVAL: Duration = Duration::from_millis(40);
/// All units must be back within this time after the end of the first hold. Otherwise the
/// measurement fails.
const RETURNED_WITHIN: Duration = Duration::from_secs(120);
/// The target for the time from the end of the holds until the first unit is back, in seconds.
const FIRST: Target = Target::AtMost { floor: 2.0, goal: 0.5 };
/// The target for the time from the end of the holds until the last unit is back, in seconds, if
/// the store is SQLite.
const LAST_SQLITE: Target = Target::AtMost { floor: 2.0, goal: 1.0 };
/// The target for the time until the last unit is back, if the store is PostgreSQL.
const LAST_POSTGRES: Target = Target::AtMost { floor: 3.0, goal: 2.0 };
/// The target for the longest delay of an expiry, in seconds. It applies to holds that end one
/// after another, as they do after a rush. The delay is the time from an order's `pay_by` to its
/// expiry.
const EACH_UNIT: Target = Target::AtMost { floor: 2.0, goal: 0.5 };
const OTHER_REQUESTS: [&str; 3] = ["p99 of an order", "p99 of a refusal", "p99 of a status read"];

/// Measures D5 in both stores.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    [StoreKind::Sqlite, StoreKind::Postgres]
        .into_iter()
        .flat_map(|store_kind| in_store(config, store_kind))
        .collect()
}

fn in_store(config: &BenchConfig, store_kind: StoreKind) -> Vec<Figure> {
    let rounds = if config.quick { 1 } else { config.rounds.min(ROUNDS_MAX) };
    let measured: Result<Vec<Measured>> =
        (0..rounds).map(|_| one_round(config, store_kind, HoldExpiry::AtOnce)).collect();
    let what = |what: &str| format!("{what}, {}", store_kind.name());
    let measured = match measured {
        Ok(measured) => measured,
        Err(error) => {
            return vec![figure_or_invalid(
                "D5",
                &what("holds that end at once"),
                FIRST,
                Err(error),
            )];
        }
    };
    let middle =
        |of: &dyn Fn(&Measured) -> f64| median(&measured.iter().map(of).collect::<Vec<_>>());
    let holds = measured[0].holds;
    let last_target = match store_kind {
        StoreKind::Sqlite => LAST_SQLITE,
        StoreKind::Postgres => LAST_POSTGRES,
    };
    let mut first = Figure::new("D5", what("first unit back after the end of the holds"), FIRST)
        .with_value(middle(&|m| m.back[0]), "s");
    first.rounds = measured.iter().map(|m| m.back[0]).collect();
    let mut last = Figure::new("D5", what("last unit back"), last_target).with_value(middle(&|m| m.back[2]), "s").note(format!(
        "{holds} holds; half of the units were back after {:.1} s; on average {:.0} units a second \
         came back; every order expired with one event; the audit is clean",
        middle(&|m| m.back[1]),
        f64::from(holds) / middle(&|m| m.back[2])
    ));
    last.rounds = measured.iter().map(|m| m.back[2]).collect();
    let mut figures = vec![first, last];
    for (at, name) in OTHER_REQUESTS.iter().enumerate() {
        let (with, without) = (middle(&|m| m.with[at].0), middle(&|m| m.without[at].0));
        let target = Target::AtMost { floor: 4.0 * without, goal: 2.0 * without };
        let mut figure =
            Figure::new("D5", what(&format!("{name} meanwhile")), target).with_value(with, "ms");
        figure.peer = Some((without, "ms before"));
        figure.rounds = measured.iter().map(|m| m.with[at].0).collect();
        let (with, without) = (middle(&|m| m.with[at].1), middle(&|m| m.without[at].1));
        figures.push(figure.note(format!(
            "{:.0}/s; median {with:.2} ms while the holds ended, and {without:.2} ms before",
            RATES[at]
        )));
    }
    figures.push(after_a_rush(config, rounds, store_kind));
    figures
}

/// Measures the expiry of holds that end one after another. This happens after a rush in which no
/// buyer pays.
fn after_a_rush(config: &BenchConfig, rounds: usize, store_kind: StoreKind) -> Figure {
    let what = format!("longest delay of an expiry after a rush, {}", store_kind.name());
    let measured: Result<Vec<Measured>> =
        (0..rounds).map(|_| one_round(config, store_kind, HoldExpiry::AsSold)).collect();
    let measured = match measured {
        Ok(measured) => measured,
        Err(error) => return figure_or_invalid("D5", &what, EACH_UNIT, Err(error)),
    };
    let middle =
        |of: &dyn Fn(&Measured) -> f64| median(&measured.iter().map(of).collect::<Vec<_>>());
    let mut slowest = Figure::new("D5", what, EACH_UNIT).with_value(middle(&|m| m.slowest), "s").note(format!(
        "{} holds, sold and ended within {:.1} s; p99 of an order {:.1} ms while the holds ended, and {:.1} ms before",
        measured[0].holds,
        middle(&|m| m.spread),
        middle(&|m| m.with[0].0),
        middle(&|m| m.without[0].0)
    ));
    slowest.rounds = measured.iter().map(|m| m.slowest).collect();
    slowest
}

#[derive(Debug)]
struct Measured {
    holds: u32,
    /// Three durations in seconds, each from the end of the first hold: until the first unit, half
    /// of the units, and all units were back.
    back: [f64; 3],
    /// The time from the end of the first hold to the end of the last hold, in seconds.
    spread: f64,
    /// The longest time from an order's `pay_by` until the server expires the order, in seconds.
    slowest: f64,
    /// The latencies of the three kinds of [`BackgroundLoad`] while holds ended: each with the 99th
    /// percentile and the median, in milliseconds.
    with: [(f64, f64); 3],
    without: [(f64, f64); 3],
}

fn one_round(config: &BenchConfig, store_kind: StoreKind, ends: HoldExpiry) -> Result<Measured> {
    let holds = if config.quick { HOLDS_QUICK } else { HOLDS };
    let store_server = StoreServer::open(config, store_kind)?;
    let secret = store_server.secret()?;
    let holders = Buyers::new(&secret, "holder", holds);
    let others = BackgroundLoad::new(&store_server, &secret)?;
    store_server.open_sale(&NewSale { id: "held", stock: holds.into(), limit: 1 })?;
    let fill = Load {
        warm_up: Duration::ZERO,
        time: RETURNED_WITHIN * 10,
        ..config.load(store_server.addr(), ORDER_CONNECTIONS)
    };
    let run =
        fill.run(&mut Purchases::each_once(&holders, template(&holders, "held", 1, ""), 0))?;
    run.expect_only(&[AnswerKind::Accepted])?;
    ensure!(store_server.stock("held")?.held == u64::from(holds), "not every unit is held");
    store_server.warm_up_log()?;

    let never = AtomicBool::new(false);
    let warm_up = Duration::from_secs(1);
    let before = others.ask(&store_server, warm_up, config.time * 2, &never)?;
    let due = store_server.expire_holds_from(|| SystemTime::now() + AHEAD, ends)?;
    let due = Instant::now()
        + due.duration_since(SystemTime::now()).context("the preparations took too long")?;
    let over = AtomicBool::new(false);
    let (meanwhile, back) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let back = wait_until_returned(&store_server, due, u64::from(holds));
            over.store(true, Ordering::Release);
            back
        });
        let warm_up = due.saturating_duration_since(Instant::now());
        let meanwhile = others.ask(&store_server, warm_up, RETURNED_WITHIN, &over);
        (meanwhile, watch.join().expect("the watcher does not panic"))
    });
    let (meanwhile, back) = (meanwhile?, back?);
    let (spread, slowest) = store_server.spread_and_slowest()?;
    let orders: u64 =
        [&before, &meanwhile].iter().map(|runs| runs[0].count(AnswerKind::Accepted)).sum();
    store_server.close(holds.into(), orders + 1)?;
    let shown = |runs: &[RunResult; 3]| {
        std::array::from_fn(|at| {
            (runs[at].p99_us() / 1e3, runs[at].latency.value_at_quantile(0.5) as f64 / 1e3)
        })
    };
    Ok(Measured { holds, back, spread, slowest, with: shown(&meanwhile), without: shown(&before) })
}

/// Waits until all units are back. Returns three durations in seconds, each from `due`: until the
/// first unit, half of the units, and all units were back.
fn wait_until_returned(store_server: &StoreServer, due: Instant, holds: u64) -> Result<[f64; 3]> {
    let mut back = [f64::NAN; 3];
    loop {
        let units = store_server.units_returned("held")?;
        let at = Instant::now();
        ensure!(at > due || units == 0, "{units} units are back before their holds end");
        let since = at.saturating_duration_since(due).as_secs_f64();
        for (seconds, wanted) in back.iter_mut().zip([1, holds.div_ceil(2), holds]) {
            if seconds.is_nan() && units >= wanted {
                *seconds = since;
            }
        }
        if units >= holds {
            ensure!(units == holds, "{units} units are back, but only {holds} were held");
            return Ok(back);
        }
        ensure!(
            at < due + RETURNED_WITHIN,
            "only {units} of {holds} units are back after {RETURNED_WITHIN:?}"
        );
        std::thread::sleep(CHECK_INTERVAL);
    }
}

/// The requests of buyers who hold no unit of the measured sale: purchases, refusals, and reads of
/// the status.
struct BackgroundLoad {
    buyers: Buyers,
    refused: Buyers,
    bought: std::sync::atomic::AtomicU32,
}

impl BackgroundLoad {
    /// Opens two sales for the background load: one has a unit for every buyer, and one is sold
    /// out.
    fn new(store_server: &StoreServer, secret: &[u8]) -> Result<Self> {
        store_server.open_sale(&NewSale {
            id: "open",
            stock: crate::limits::PLENTY_OF_STOCK,
            limit: 1,
        })?;
        store_server.open_sale(&NewSale { id: "gone", stock: 1, limit: 1 })?;
        let winner = Buyers::new(secret, "winner", 1);
        let warm_up = Duration::ZERO;
        let (pace, core) = (Pace::Closed, None);
        let load = Load {
            addr: store_server.addr(),
            connections: 1,
            pace,
            warm_up,
            time: RETURNED_WITHIN,
            core,
        };
        load.run(&mut Purchases::each_once(&winner, template(&winner, "gone", 1, ""), 0))?
            .expect_only(&[AnswerKind::Accepted])?;
        let most = (RATES[0] * 3.0 * RETURNED_WITHIN.as_secs_f64()) as u32;
        let bought = std::sync::atomic::AtomicU32::new(0);
        Ok(Self {
            buyers: Buyers::new(secret, "other", most),
            refused: Buyers::new(secret, "late", 10_000),
            bought,
        })
    }

    /// Sends purchases, refused purchases and status reads at the same time, until `time` has
    /// passed or `over` is set.
    fn ask(
        &self,
        store_server: &StoreServer,
        warm_up: Duration,
        time: Duration,
        over: &AtomicBool,
    ) -> Result<[RunResult; 3]> {
        let load = |rate| Load {
            addr: store_server.addr(),
            connections: CONNECTIONS,
            pace: Pace::Open(rate),
            warm_up,
            time,
            core: None,
        };
        let first = self.bought.load(Ordering::Acquire);
        let runs = std::thread::scope(|scope| {
            let buying = scope.spawn(|| {
                let mut script = Purchases::each_once(
                    &self.buyers,
                    template(&self.buyers, "open", 1, ""),
                    first,
                );
                let run =
                    load(RATES[0]).run(&mut StoppableRequestScript { script: &mut script, over });
                self.bought.store(script.next_buyer(), Ordering::Release);
                run
            });
            let refused = scope.spawn(|| {
                let mut script = Purchases::round_and_round(
                    &self.refused,
                    template(&self.refused, "gone", 1, ""),
                );
                load(RATES[1]).run(&mut StoppableRequestScript { script: &mut script, over })
            });
            let reading = scope.spawn(|| {
                load(RATES[2]).run(&mut StoppableRequestScript {
                    script: &mut RepeatedRequest::get("/v1/sales/held/status"),
                    over,
                })
            });
            [buying, refused, reading]
                .map(|generator| generator.join().expect("the generator does not panic"))
        });
        let [bought, refused, read] = runs;
        let (bought, refused, read) = (bought?, refused?, read?);
        bought
            .expect_only(&[AnswerKind::Accepted])
            .context("the other buyers' purchases got wrong answers")?;
        refused
            .expect_only(&[AnswerKind::SoldOut])
            .context("other buyers' purchases of the sold-out item got wrong answers")?;
        read.expect_only(&[AnswerKind::Fine])
            .context("the other buyers' status reads got wrong answers")?;
        Ok([bought, refused, read])
    }
}

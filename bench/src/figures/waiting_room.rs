//! E7: the latency of orders from admitted buyers while a crowd joins the waiting room. The room
//! opens by itself when the crowd arrives. The crowd joins at ten times the rate at which a node
//! admits buyers.
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use super::figure_or_invalid;
use super::sale_server::{self, ITEM, SaleServer};
use crate::config::BenchConfig;
use crate::door_requests::DoorRequests;
use crate::figure::{Figure, Target, median};
use crate::limits::ORDER_CONNECTIONS;
use crate::passes::{PassKind, Passes, WithPass};
use crate::server::NewSale;
use doorbuster_harness::generator::{AnswerKind, Load, Pace, RunResult, StoppableRequestScript};

const MEASURED: &str = "p99 of an admitted buyer's order while a crowd joins the room";
const SALE: &str = "spring";
const DOOR: &str =
    r#"{"front_door":{"waiting_room":"auto","limits":{"buyer":null,"ip":null,"interface":null}}}"#;
/// The number of buyers that a node admits per second: the default of `waiting_room.per_sec`.
const ADMITTED_PER_SEC: f64 = 2_000.0;
/// The rate of arriving buyers, as a multiple of the rate of admitted buyers.
const OVERLOAD_FACTOR: f64 = 10.0;
/// The orders per second of admitted buyers: half of the rate of admissions.
const ADMITTED_ORDERS_PER_SEC: f64 = ADMITTED_PER_SEC / 2.0;
/// The units on sale. They must not run out, because the waiting room admits buyers only while
/// units are free.
const STOCK: u64 = 100_000;
/// The floor of the figure: buyers do not notice a latency of up to this many milliseconds.
const UNNOTICED_MS: f64 = 50.0;

/// Measures E7.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    let target = Target::AtMost { floor: UNNOTICED_MS, goal: UNNOTICED_MS / 2.0 };
    vec![figure_or_invalid("E7", MEASURED, target, order_latency_in_crowd(config))]
}

#[derive(Debug)]
struct Measured {
    /// The 99th percentile of an order's latency while the crowd joins, in milliseconds.
    with: f64,
    without: f64,
    joined_per_sec: f64,
    /// The 99th percentile of the latency of joining the waiting room, in milliseconds.
    entering: f64,
    waiting: u64,
    busy: f64,
}

fn order_latency_in_crowd(config: &BenchConfig) -> Result<Figure> {
    let mut measured = Vec::new();
    for round in 0..=config.rounds {
        let one = one_round(config)?;
        if round > 0 {
            measured.push(one);
        }
    }
    let middle =
        |of: &dyn Fn(&Measured) -> f64| median(&measured.iter().map(of).collect::<Vec<_>>());
    let without = middle(&|m| m.without);
    let target = Target::AtMost { floor: UNNOTICED_MS.max(2.0 * without), goal: 2.0 * without };
    let mut figure = Figure::new("E7", MEASURED, target).with_value(middle(&|m| m.with), "ms");
    figure.peer = Some((without, "ms before"));
    figure.rounds = measured.iter().map(|m| m.with).collect();
    Ok(figure.note(format!(
        "{ADMITTED_ORDERS_PER_SEC:.0} orders a second with a pass, over {ORDER_CONNECTIONS} connections; {:.0} buyers a second joined, each once, within {:.0} ms \
         (p99); the room opened automatically, and {:.0} buyers waited at the end; the generator was busy {} of the time",
        middle(&|m| m.joined_per_sec),
        middle(&|m| m.entering),
        middle(&|m| m.waiting as f64),
        sale_server::percent(middle(&|m| m.busy)),
    )))
}

fn one_round(config: &BenchConfig) -> Result<Measured> {
    let mut sale_server = SaleServer::open(config, None, None)?;
    sale_server.server().open_sale(&NewSale { id: SALE, stock: STOCK, limit: 1 })?;
    sale_server.server().change(SALE, DOOR)?;
    let time = config.time * 2;
    let seconds = (time + config.time).as_secs_f64();
    // Arrivals are random, so the bench prepares a tenth more buyers than arrive on average.
    let inside = sale_server::buyers("inside", (ADMITTED_ORDERS_PER_SEC * 2.2 * seconds) as u32);
    let passes = Passes::new(&inside, SALE, ITEM, PassKind::Good);
    let crowd =
        sale_server::buyers("crowd", (ADMITTED_PER_SEC * OVERLOAD_FACTOR * 1.1 * seconds) as u32);
    let load =
        Load { warm_up: config.time, time, ..config.load(sale_server.addr(), ORDER_CONNECTIONS) };
    let orders = Load { pace: Pace::Open(ADMITTED_ORDERS_PER_SEC), ..load };

    let over = AtomicBool::new(false);
    let mut script =
        WithPass::each_once(&inside, &passes, sale_server::template(&inside, SALE, 1, ""), 0);
    let before = orders.run(&mut StoppableRequestScript { script: &mut script, over: &over })?;
    let waiting = || sale_server.server().metric("doorbuster_waiting_room_waiting", SALE);
    ensure!(waiting()? == 0, "the room opened although few buyers arrived");
    let (meanwhile, joined) = std::thread::scope(|scope| {
        let joined = scope.spawn(|| {
            let joined = Load { pace: Pace::Open(ADMITTED_PER_SEC * OVERLOAD_FACTOR), ..load }
                .run(&mut DoorRequests::take_position(&crowd, SALE));
            over.store(true, Ordering::Release);
            joined
        });
        // The admitted buyers continue to order until the server has answered the whole crowd.
        let long = Load { time: time + Duration::from_secs(30), ..orders };
        let meanwhile = long.run(&mut StoppableRequestScript { script: &mut script, over: &over });
        (meanwhile, joined.join().expect("the generator does not panic"))
    });
    let (meanwhile, joined) = (meanwhile?, joined?);
    before.expect_only(&[AnswerKind::Accepted])?;
    meanwhile.expect_only(&[AnswerKind::Accepted])?;
    joined.expect_only(&[AnswerKind::Accepted])?;
    let waiting = waiting()?;
    ensure!(waiting > 0, "the room did not open");
    let ordered = before.count(AnswerKind::Accepted) + meanwhile.count(AnswerKind::Accepted);
    sale_server.server().check_stock(SALE, ordered..=ordered)?;
    sale_server.note_orders(ordered);
    sale_server.close()?;
    let p99 = |run: &RunResult| run.p99_us() / 1e3;
    Ok(Measured {
        with: p99(&meanwhile),
        without: p99(&before),
        joined_per_sec: joined.sent_per_sec(),
        entering: p99(&joined),
        waiting,
        busy: joined.generator_busy + meanwhile.generator_busy,
    })
}

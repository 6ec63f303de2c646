//! E4: the processor time to make one challenge, and how long visitors wait for a challenge.
use std::time::Duration;

use anyhow::{Result, ensure};
use doorbuster_challenge::{Effort, RandomSource, WorkKeys, draw_captcha, draw_puzzle};

use super::figure_or_invalid;
use super::sale_server::{self, SaleServer};
use crate::config::BenchConfig;
use crate::door_requests::DoorRequests;
use crate::figure::{Figure, Target, median};
use crate::limits::ORDER_CONNECTIONS;
use crate::server::NewSale;
use doorbuster_harness::generator::cores;
use doorbuster_harness::generator::{AnswerKind, Load, Pace, RunResult};

/// The target for the processor time of one challenge, in milliseconds.
const TARGET: Target = Target::AtMost { floor: 2.0, goal: 1.0 };
/// The number of challenges in a round.
const TIMES: u32 = 100;

const SALE: &str = "puzzled";
const DOOR: &str =
    r#"{"front_door":{"challenge":"slider","limits":{"buyer":null,"ip":null,"interface":null}}}"#;
const MINUTE: &str = "p99 of a sliding puzzle, 10,000 visitors in a minute";
/// The target for the p99 of the wait for a challenge, in milliseconds.
const WAIT: Target = Target::AtMost { floor: 500.0, goal: 50.0 };
/// The rate at which 10,000 visitors request challenges during the last minute before an opening.
const MINUTE_PER_SEC: f64 = 10_000.0 / 60.0;
/// The number of visitors in a rush. All arrive within one second, each on a connection of its own.
const RUSH: u32 = 5_000;
/// The server must answer every visitor of the rush within this time.
const RUSH_OVER: Duration = Duration::from_secs(20);
/// How long the bench waits before the measurement, so that the server can draw challenges in
/// advance. Before a real opening, the server also has time to draw challenges.
const POOL_FILL_TIME: Duration = Duration::from_secs(6);

/// Measures E4.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    let keys = WorkKeys::new(&[1; 32], &[2; 32]);
    let mut chance = RandomSource::new();
    vec![
        cost(config, "drawing a captcha", || drop(std::hint::black_box(draw_captcha(&mut chance)))),
        cost(config, "drawing a sliding puzzle", || {
            drop(std::hint::black_box(draw_puzzle(&mut RandomSource::new())))
        }),
        cost(config, "making proof of work", || {
            drop(std::hint::black_box(
                keys.new_challenge(&mut RandomSource::new(), Effort::DEFAULT),
            ));
        }),
        figure_or_invalid("E4", MINUTE, WAIT, challenge_latency(config)),
    ]
}

/// Measures how long visitors wait if they arrive at a steady rate. Then tests a rush, in which
/// visitors arrive faster than the server can draw puzzles.
fn challenge_latency(config: &BenchConfig) -> Result<Figure> {
    let sale_server = SaleServer::open(config, None, None)?;
    sale_server.server().open_sale(&NewSale { id: SALE, stock: 100, limit: 1 })?;
    sale_server.server().change(SALE, DOOR)?;
    let visitors = sale_server::buyers("visitor", 60_000);
    let mut visits = DoorRequests::challenge(&visitors, SALE);
    std::thread::sleep(POOL_FILL_TIME);
    let load = Load {
        pace: Pace::Open(MINUTE_PER_SEC),
        ..config.load(sale_server.addr(), ORDER_CONNECTIONS)
    };
    let mut waits = Vec::new();
    for _ in 0..config.rounds {
        let from = visits.next_buyer();
        let run = load.run(&mut visits)?;
        ensure!(visits.next_buyer() > from, "no visitor arrived");
        run.expect_only(&[AnswerKind::Accepted])?;
        waits.push(run.p99_us() / 1e3);
    }
    let rush = Load {
        connections: RUSH as usize,
        pace: Pace::Open(RUSH.into()),
        warm_up: Duration::ZERO,
        time: RUSH_OVER,
        ..load
    };
    let first = visits.next_buyer();
    let rush = rush.run(
        &mut DoorRequests::challenge(&visitors, SALE).limited_to(first + RUSH).starting_at(first),
    )?;
    rush.expect_only(&[AnswerKind::Accepted, AnswerKind::Overloaded])?;
    sale_server.close()?;
    let share = |run: &RunResult| run.count(AnswerKind::Accepted) as f64 / run.total() as f64;
    let figure = Figure::new("E4", MINUTE, WAIT).with_value(median(&waits), "ms");
    Ok(Figure { rounds: waits, ..figure }.note(format!(
        "at {MINUTE_PER_SEC:.0} visitors a second, every visitor got a challenge; of {} visitors \
         in one second, {} got a challenge and the others had to retry; each visitor had an answer \
         within {:.1} s",
        rush.total(),
        sale_server::percent(share(&rush)),
        rush.latency.max() as f64 / 1e6
    )))
}

/// Measures the processor time that this thread needs for one call of `make`. The elapsed time
/// would also depend on other programs on the machine.
fn cost(config: &BenchConfig, what: &str, mut make: impl FnMut()) -> Figure {
    make();
    let rounds: Vec<f64> = (0..config.rounds)
        .map(|_| {
            let before = cores::thread_cpu_time();
            (0..TIMES).for_each(|_| make());
            cores::thread_cpu_time().saturating_sub(before).as_secs_f64() * 1e3 / f64::from(TIMES)
        })
        .collect();
    let figure = Figure::new("E4", what, TARGET).with_value(median(&rounds), "ms");
    Figure { rounds, ..figure }
        .note(format!("processor time of one thread: the mean of {TIMES} challenges in each round"))
}

//! E4: what a challenge costs the server to make, which it does beside its buyers; and how long visitors wait for theirs.
use std::time::Duration;

use anyhow::{Result, ensure};
use doorbuster_challenge::{RandomSource, Effort, WorkKeys, draw_captcha, draw_puzzle};

use super::or_invalid;
use super::shop::{self, Shop};
use crate::cores;
use crate::figure::{Figure, Target, median};
use crate::limits::ORDER_CONNECTIONS;
use crate::load::{Kind, Load, Pace, Run};
use crate::server::NewSale;
use crate::setting::Setting;
use crate::visits::Visits;

/// Milliseconds.
const TARGET: Target = Target::AtMost { floor: 2.0, goal: 1.0 };
/// Challenges of a round.
const TIMES: u32 = 100;

const SALE: &str = "puzzled";
/// The sale is open already: the shelf is as full then as it is before an opening.
const DOOR: &str =
    r#"{"front_door":{"challenge":"slider","limits":{"buyer":null,"ip":null,"interface":null}}}"#;
const MINUTE: &str = "p99 of a sliding puzzle, 10,000 visitors in a minute";
/// Milliseconds.
const WAIT: Target = Target::AtMost { floor: 500.0, goal: 50.0 };
/// Visitors get their challenges spread over the minute before an opening, as the sale page does it.
const MINUTE_PER_SEC: f64 = 10_000.0 / 60.0;
/// And some who do not: so many, each over a connection of their own, within a second.
const RUSH: u32 = 5_000;
/// The last of them has an answer by then.
const RUSH_OVER: Duration = Duration::from_secs(20);
/// So long the shelf is filled before.
const FILL: Duration = Duration::from_secs(6);

/// Measures E4.
pub fn measure(setting: &Setting, _ids: &[&'static str]) -> Vec<Figure> {
    let keys = WorkKeys::new(&[1; 32], &[2; 32]);
    let mut chance = RandomSource::new();
    vec![
        cost(setting, "drawing a captcha", || {
            drop(std::hint::black_box(draw_captcha(&mut chance)))
        }),
        cost(setting, "drawing a sliding puzzle", || {
            drop(std::hint::black_box(draw_puzzle(&mut RandomSource::new())))
        }),
        cost(setting, "making proof of work", || {
            drop(std::hint::black_box(keys.new_challenge(&mut RandomSource::new(), Effort::DEFAULT)));
        }),
        or_invalid("E4", MINUTE, WAIT, handed_out(setting)),
    ]
}

/// How long visitors wait for a puzzle: in the minute before an opening, and in a rush that is more than can be drawn.
fn handed_out(setting: &Setting) -> Result<Figure> {
    let shop = Shop::open(setting, None, None)?;
    shop.server().open_sale(&NewSale { id: SALE, stock: 100, limit: 1 })?;
    shop.server().change(SALE, DOOR)?;
    let visitors = shop::buyers("visitor", 60_000);
    let mut visits = Visits::challenge(&visitors, SALE);
    std::thread::sleep(FILL);
    let load =
        Load { pace: Pace::Open(MINUTE_PER_SEC), ..setting.load(shop.addr(), ORDER_CONNECTIONS) };
    let mut waits = Vec::new();
    for _ in 0..setting.rounds {
        let from = visits.next_buyer();
        let run = load.run(&mut visits)?;
        ensure!(visits.next_buyer() > from, "nobody came");
        run.only(&[Kind::Accepted])?;
        waits.push(run.p99_us() / 1e3);
    }
    let rush = Load {
        connections: RUSH as usize,
        pace: Pace::Open(RUSH.into()),
        lead: Duration::ZERO,
        time: RUSH_OVER,
        ..load
    };
    let first = visits.next_buyer();
    let rush = rush.run(&mut Visits::challenge(&visitors, SALE).only(first + RUSH).from(first))?;
    rush.only(&[Kind::Accepted, Kind::Overloaded])?;
    shop.close()?;
    let share = |run: &Run| run.count(Kind::Accepted) as f64 / run.total() as f64;
    let figure = Figure::new("E4", MINUTE, WAIT).plain(median(&waits), "ms");
    Ok(Figure { rounds: waits, ..figure }.note(format!(
        "{MINUTE_PER_SEC:.0} visitors a second, all of them served; of {} who came within one second {} got theirs, the others were told to come again; each had an answer within {:.1} s",
        rush.total(),
        shop::percent(share(&rush)),
        rush.latency.max() as f64 / 1e6
    )))
}

/// Processor time of one, the mean of each round, which does not count what else the machine does.
fn cost(setting: &Setting, what: &str, mut make: impl FnMut()) -> Figure {
    make();
    let rounds: Vec<f64> = (0..setting.rounds)
        .map(|_| {
            let before = cores::spent();
            (0..TIMES).for_each(|_| make());
            cores::spent().saturating_sub(before).as_secs_f64() * 1e3 / f64::from(TIMES)
        })
        .collect();
    let figure = Figure::new("E4", what, TARGET).plain(median(&rounds), "ms");
    Figure { rounds, ..figure }
        .note(format!("processor time of one thread, the mean of {TIMES} in each round"))
}

//! R8: how much good a server still does when it is asked for five times what it can.
//!
//! The server is kept on one core and the generator on another, so that the generator can ask for more than the server can do.
use anyhow::{Result, ensure};

use super::or_invalid;
use super::shop::{self, Shop};
use crate::buyers::Buyers;
use crate::cores;
use crate::figure::{Compared, Figure, Target, median};
use crate::limits::{CROWD_CONNECTIONS, ORDER_CONNECTIONS, ORDERS_PER_SEC_MAX, OVERLOAD};
use crate::load::http::Purchases;
use crate::load::{Kind, Load, Pace, Run};
use crate::setting::Setting;

const TARGET: Target = Target::AtLeast { floor: 0.8, goal: 0.95 };
const MEASURED: &str = "orders at 5 × overload, one core";

/// Measures R8.
pub fn measure(setting: &Setting, _ids: &[&'static str]) -> Vec<Figure> {
    vec![or_invalid("R8", MEASURED, TARGET, against_capacity(setting))]
}

#[derive(Debug, Default)]
struct Measured {
    compared: Compared,
    attained: Vec<f64>,
    refused: Vec<f64>,
    busy: f64,
}

fn against_capacity(setting: &Setting) -> Result<Figure> {
    let seconds = u32::try_from(setting.time.as_secs()).unwrap_or(1).max(1);
    let buyers = shop::buyers("buyer", ORDERS_PER_SEC_MAX * seconds * 3);
    let mut measured = Measured::default();
    for round in 0..=setting.rounds {
        one_round(setting, &buyers, &mut measured, round > 0)?;
    }
    let note = format!(
        "{:.1} × of capacity reached the server over {CROWD_CONNECTIONS} connections, of which it refused {} with 503; the generator was busy {} of the time",
        median(&measured.attained),
        shop::percent(median(&measured.refused)),
        shop::percent(measured.busy)
    );
    Ok(Figure::new("R8", MEASURED, TARGET).compared(&measured.compared, "/s", "at capacity /s").note(note))
}

fn one_round(setting: &Setting, buyers: &Buyers, measured: &mut Measured, counts: bool) -> Result<()> {
    let (server_core, generator_core) = cores::pair();
    ensure!(server_core.is_some(), "this figure needs two cores");
    let mut shop = Shop::open(setting, None, server_core)?;
    shop.open_plenty("full")?;
    shop.open_plenty("crowd")?;
    let load = Load { core: generator_core, ..shop.load(ORDER_CONNECTIONS, Pace::Closed, setting.time) };
    let mut script = Purchases::each_once(buyers, shop::template(buyers, "full", 1, ""), 0);
    let run = shop.take_orders(&load, &mut script)?;
    shop.check("full", &run)?;
    let capacity = run.per_sec(Kind::Accepted);
    let crowd = Load { connections: CROWD_CONNECTIONS, pace: Pace::Crowd(capacity * OVERLOAD), ..load };
    let mut script = Purchases::each_once(buyers, shop::template(buyers, "crowd", 1, ""), script.next_buyer());
    let run = shop.take_some_orders(&crowd, &mut script)?;
    run.only(&[Kind::Accepted, Kind::Queued, Kind::Overloaded])?;
    shop.check("crowd", &run)?;
    ensure!(run.time == setting.time, "more requests were sent than buyers had been made ready");
    shop.close()?;
    if counts {
        measured.compared.ours.push(run.per_sec(Kind::Accepted));
        measured.compared.peer.push(capacity);
        measured.attained.push(run.sent as f64 / run.time.as_secs_f64() / capacity);
        measured.refused.push(refused(&run));
        measured.busy = measured.busy.max(run.generator_busy);
    }
    Ok(())
}

fn refused(run: &Run) -> f64 {
    run.count(Kind::Overloaded) as f64 / run.total().max(1) as f64
}

//! R7: how long a buyer waits for an order while the server does half of what it can, against what the disk alone needs.
use anyhow::{Result, ensure};

use super::or_invalid;
use super::shop::{self, Shop};
use crate::buyers::Buyers;
use crate::disk;
use crate::figure::{Compared, Figure, Target, median};
use crate::limits::ORDER_CONNECTIONS;
use crate::load::http::Purchases;
use crate::load::{Kind, Load, Pace};
use crate::setting::Setting;

const TARGET: Target = Target::AtMost { floor: 5.0, goal: 2.0 };
const MEASURED: &str = "p99 of an order at half of capacity";
/// What a purchase may need besides the disk, in microseconds.
const ALLOWANCE_US: f64 = 1000.0;
/// A run that sent less than this share of what was due measured the generator.
const PACE_KEPT: f64 = 0.97;

/// Measures R7.
pub fn measure(setting: &Setting, _ids: &[&'static str]) -> Vec<Figure> {
    vec![or_invalid("R7", MEASURED, TARGET, against_disk(setting))]
}

#[derive(Debug, Default)]
struct Measured {
    compared: Compared,
    capacity: Vec<f64>,
    median_us: Vec<f64>,
}

fn against_disk(setting: &Setting) -> Result<Figure> {
    let buyers = shop::buyers("buyer", setting.buyers() * 2);
    let mut measured = Measured::default();
    for round in 0..=setting.rounds {
        one_round(setting, &buyers, &mut measured, round > 0)?;
    }
    let note = format!(
        "random arrivals at {:.0}/s, half of {:.0}/s, counted from when a request was due; median {:.1} ms; over one synced write and 1 ms",
        median(&measured.capacity) / 2.0,
        median(&measured.capacity),
        median(&measured.median_us) / 1e3
    );
    Ok(Figure::new("R7", MEASURED, TARGET)
        .compared(&measured.compared, "µs", "disk + 1 ms, µs")
        .note(note))
}

fn one_round(
    setting: &Setting,
    buyers: &Buyers,
    measured: &mut Measured,
    counts: bool,
) -> Result<()> {
    let mut shop = Shop::open(setting, None, None)?;
    shop.open_plenty("full")?;
    shop.open_plenty("half")?;
    let mut script = Purchases::each_once(buyers, shop::template(buyers, "full", 1, ""), 0);
    let run = shop.take_orders(&setting.load(shop.addr(), ORDER_CONNECTIONS), &mut script)?;
    shop.check("full", &run)?;
    let capacity = run.per_sec(Kind::Accepted);
    let sync = disk::sync_time(setting.scratch("disk")?.path())?;
    let mut script =
        Purchases::each_once(buyers, shop::template(buyers, "half", 1, ""), script.next_buyer());
    let half =
        Load { pace: Pace::Open(capacity / 2.0), ..setting.load(shop.addr(), ORDER_CONNECTIONS) };
    let run = shop.take_orders(&half, &mut script)?;
    shop.check("half", &run)?;
    let kept = run.sent_per_sec() / (capacity / 2.0);
    ensure!(kept > PACE_KEPT, "the generator sent only {} of what was due", shop::percent(kept));
    shop.close()?;
    if counts {
        measured.compared.ours.push(run.p99_us());
        measured.compared.peer.push(sync.as_secs_f64() * 1e6 + ALLOWANCE_US);
        measured.capacity.push(capacity);
        measured.median_us.push(run.latency.value_at_quantile(0.5) as f64);
    }
    Ok(())
}

//! R10: whether refusals stay as fast with many sales, many connections and many known buyers.
use anyhow::Result;

use super::or_invalid;
use super::shop::{self, Shop};
use crate::buyers::Buyers;
use crate::cores;
use crate::figure::{Figure, Target, alternate};
use crate::limits::{CONNECTIONS, REFUSAL_CONNECTIONS, REFUSED_BUYERS, SALES};
use crate::load::http::Purchases;
use crate::load::{Kind, Load, Pace};
use crate::setting::Setting;

const TARGET: Target = Target::Reported { goal: 1.2 };
/// The fewest connections and the fewest known buyers.
const FEW_CONNECTIONS: usize = 10;
const FEW_BUYERS: u32 = 1_000;

/// Measures R10.
pub fn measure(setting: &Setting, _ids: &[&'static str]) -> Vec<Figure> {
    let late = shop::buyers("late", REFUSED_BUYERS);
    let rows: [(String, Result<Figure>); 3] = [
        (format!("growth: 1 → {SALES} sales"), over_sales(setting, &late)),
        (format!("growth: {FEW_CONNECTIONS} → {CONNECTIONS} connections"), over_connections(setting, &late)),
        (format!("growth: {FEW_BUYERS} → {} buyers", setting.known_buyers), over_buyers(setting, &late)),
    ];
    let name = |(measured, figure): (String, Result<Figure>)| {
        let figure = or_invalid("R10", &measured, TARGET, figure);
        Figure { measured, ..figure }
    };
    rows.into_iter().map(name).collect()
}

/// Keeps a server to one core, as for R1, once it is filled.
fn pin(shop: &Shop) -> Result<()> {
    cores::pair().0.map_or(Ok(()), |core| shop.server().process().pin(core))
}

/// One side: refusals per second, and the server's processor time for each, in microseconds.
struct Side<'a> {
    shop: &'a Shop,
    script: Purchases<'a>,
    connections: usize,
    busy: f64,
    cost: f64,
}

impl<'a> Side<'a> {
    fn new(shop: &'a Shop, late: &'a Buyers, sale: &str, sales: u32, connections: usize) -> Self {
        let script = Purchases::round_and_round(late, shop::template(late, sale, 1, "")).over_sales(sales);
        Self { shop, script, connections, busy: 0.0, cost: 0.0 }
    }

    fn measure(&mut self, setting: &Setting) -> Result<f64> {
        let core = cores::pair().1;
        let load = Load { core, ..self.shop.load(self.connections, Pace::Closed, setting.time) };
        let before = self.shop.server().process().cpu()?;
        let run = load.run(&mut self.script)?;
        run.only(&[Kind::SoldOut])?;
        let spent = self.shop.server().process().cpu()?.saturating_sub(before);
        self.cost = spent.as_secs_f64() * 1e6 / run.total() as f64;
        self.busy = run.generator_busy;
        Ok(run.per_sec(Kind::SoldOut))
    }
}

fn compare(setting: &Setting, mut few: Side<'_>, mut many: Side<'_>) -> Result<Figure> {
    let compared = alternate(setting.rounds, || few.measure(setting), || many.measure(setting))?;
    Ok(Figure::new("R10", "", TARGET).compared(&compared, "/s", "/s").note(format!(
        "{:.1} → {:.1} µs of the server's processor for each; the generator was busy {} → {} of the time",
        few.cost,
        many.cost,
        shop::percent(few.busy),
        shop::percent(many.busy)
    )))
}

fn over_sales(setting: &Setting, late: &Buyers) -> Result<Figure> {
    let mut one = Shop::open(setting, Some(1), None)?;
    let mut thousand = Shop::open(setting, Some(1), None)?;
    let winner = shop::buyers("winner", 1);
    one.sell_out("sale-0000", &winner, 1)?;
    for number in 0..SALES {
        thousand.sell_out(&format!("sale-{number:04}"), &shop::buyers(&format!("winner{number}"), 1), 1)?;
    }
    pin(&one)?;
    pin(&thousand)?;
    let few = Side::new(&one, late, "sale-0000", 1, REFUSAL_CONNECTIONS);
    let many = Side::new(&thousand, late, "sale-0000", SALES, REFUSAL_CONNECTIONS);
    let figure = compare(setting, few, many)?;
    one.close()?;
    thousand.close()?;
    Ok(figure)
}

fn over_connections(setting: &Setting, late: &Buyers) -> Result<Figure> {
    let mut shop = Shop::open(setting, Some(1), None)?;
    shop.sell_out("spring", &shop::buyers("winner", 1), 1)?;
    pin(&shop)?;
    let side = |connections| Side::new(&shop, late, "spring", 1, connections);
    let figure = compare(setting, side(FEW_CONNECTIONS), side(CONNECTIONS))?;
    shop.close()?;
    Ok(figure)
}

fn over_buyers(setting: &Setting, late: &Buyers) -> Result<Figure> {
    let sold_out = |known: u32| {
        let mut shop = Shop::open(setting, Some(1), None)?;
        shop.sell_out("spring", &shop::buyers("known", known), 1)?;
        pin(&shop)?;
        anyhow::Ok(shop)
    };
    let (thousand, million) = (sold_out(FEW_BUYERS)?, sold_out(setting.known_buyers)?);
    let side = |shop| Side::new(shop, late, "spring", 1, REFUSAL_CONNECTIONS);
    let figure = compare(setting, side(&thousand), side(&million))?;
    thousand.close()?;
    million.close()?;
    Ok(figure)
}

//! R10: whether answers cost the same with many sales, many connections, many known buyers, many partitions and many nodes.
//!
//! Judged is the server's processor time for an answer: with ten connections a rate shows how long a message travels, not what it costs.
use anyhow::Result;
use doorbuster_lab::cluster::Shape;

use super::cluster::{NODES, PARTITIONS, over_nodes, over_partitions};
use super::or_invalid;
use super::shop::{self, Shop};
use crate::buyers::Buyers;
use crate::cores;
use crate::figure::{Compared, Figure, Target, alternate, median};
use crate::limits::{CONNECTIONS, ORDER_CONNECTIONS, REFUSAL_CONNECTIONS, REFUSED_BUYERS, SALES};
use crate::load::http::Purchases;
use crate::load::{Kind, Load};
use crate::server::NewSale;
use crate::setting::Setting;

const TARGET: Target = Target::Reported { goal: 1.2 };
/// The fewest connections and the fewest known buyers.
const FEW_CONNECTIONS: usize = 10;
const FEW_BUYERS: u32 = 1_000;
/// Parts in which many buyers become known.
const PARTS: u32 = 10;

/// Measures R10.
pub fn measure(setting: &Setting, _ids: &[&'static str]) -> Vec<Figure> {
    let late = shop::buyers("late", REFUSED_BUYERS);
    let known = setting.known_buyers;
    let buyers = format!("{FEW_BUYERS} → {known} known buyers");
    let (refusals, orders) = match over_buyers(setting, &late) {
        Ok((refusals, orders)) => (Ok(refusals), Ok(orders)),
        Err(error) => (Err(anyhow::anyhow!("{error:#}")), Err(error)),
    };
    let rows: [(String, Result<Figure>); 7] = [
        (format!("refusals, 1 → {SALES} sales"), over_sales(setting, &late)),
        (
            format!("refusals, {FEW_CONNECTIONS} → {CONNECTIONS} connections"),
            over_connections(setting, &late),
        ),
        (format!("refusals, {buyers}"), refusals),
        (format!("orders, 0 → {known} known buyers"), orders),
        (
            format!("orders in cluster, 1 → {PARTITIONS} partitions"),
            over_partitions(setting, TARGET),
        ),
        (
            format!("orders in cluster, 1 → {NODES} nodes"),
            over_nodes(setting, Shape::Cluster, TARGET),
        ),
        (
            format!("orders in postgres, 1 → {NODES} nodes"),
            over_nodes(setting, Shape::Postgres, TARGET),
        ),
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

/// One side: a script, and what it came to.
struct Side<'a> {
    shop: &'a Shop,
    script: Purchases<'a>,
    connections: usize,
    rates: Vec<f64>,
    busy: f64,
}

impl<'a> Side<'a> {
    fn new(shop: &'a Shop, late: &'a Buyers, sale: &str, sales: u32, connections: usize) -> Self {
        let script =
            Purchases::round_and_round(late, shop::template(late, sale, 1, "")).over_sales(sales);
        Self { shop, script, connections, rates: Vec::new(), busy: 0.0 }
    }

    /// Microseconds of the server's processor for one refusal.
    fn measure(&mut self, setting: &Setting) -> Result<f64> {
        let core = cores::pair().1;
        let load = Load { core, ..setting.load(self.shop.addr(), self.connections) };
        let before = self.shop.server().process().cpu()?;
        let run = load.run(&mut self.script)?;
        run.only(&[Kind::SoldOut])?;
        let spent = self.shop.server().process().cpu()?.saturating_sub(before);
        self.rates.push(run.per_sec(Kind::SoldOut));
        self.busy = run.generator_busy;
        Ok(spent.as_secs_f64() * 1e6 / run.total() as f64)
    }
}

fn compare(setting: &Setting, mut few: Side<'_>, mut many: Side<'_>) -> Result<Figure> {
    let compared = alternate(setting.rounds, || many.measure(setting), || few.measure(setting))?;
    Ok(Figure::new("R10", "", TARGET).compared(&compared, "µs", "µs with few").note(format!(
        "processor time of the server for each; {:.0} → {:.0} refusals/s; the generator was busy {} → {} of the time",
        median(&few.rates),
        median(&many.rates),
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
        thousand.sell_out(
            &format!("sale-{number:04}"),
            &shop::buyers(&format!("winner{number}"), 1),
            1,
        )?;
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

/// Refusals beside few and many known buyers; and the orders themselves, the first of them and the last.
fn over_buyers(setting: &Setting, late: &Buyers) -> Result<(Figure, Figure)> {
    let mut few = Shop::open(setting, Some(1), None)?;
    few.sell_out("spring", &shop::buyers("known", FEW_BUYERS), 1)?;
    let mut many = Shop::open(setting, Some(1), None)?;
    let orders = fill(setting, &mut many)?;
    pin(&few)?;
    pin(&many)?;
    let side = |shop| Side::new(shop, late, "spring", 1, REFUSAL_CONNECTIONS);
    let refusals = compare(setting, side(&few), side(&many))?;
    few.close()?;
    many.close()?;
    Ok((refusals, orders))
}

/// Sells one unit to each of many buyers until it is sold out; what an order cost at the end, over what it cost at the beginning.
fn fill(setting: &Setting, shop: &mut Shop) -> Result<Figure> {
    let count = setting.known_buyers;
    let buyers = shop::buyers("known", count);
    shop.server().open_sale(&NewSale { id: "spring", stock: count.into(), limit: 1 })?;
    let share = count / PARTS;
    let (mut costs, mut rates) = (Vec::new(), Vec::new());
    for part in 0..PARTS {
        let template = shop::template(&buyers, "spring", 1, "");
        let mut script = Purchases::each_once(&buyers, template, part * share)
            .only(if part + 1 == PARTS { count } else { share });
        let before = shop.server().process().cpu()?;
        let run = shop.take_orders(&shop.fill(ORDER_CONNECTIONS), &mut script)?;
        let spent = shop.server().process().cpu()?.saturating_sub(before);
        costs.push(spent.as_secs_f64() * 1e6 / run.total() as f64);
        rates.push(run.per_sec(Kind::Accepted));
    }
    shop.server().check_stock("spring", count.into()..=count.into())?;
    let (first, last) = (costs[0], costs[costs.len() - 1]);
    let compared = Compared { ours: vec![last], peer: vec![first] };
    let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    Ok(Figure::new("R10", "", TARGET).compared(&compared, "µs", "µs at first").note(format!(
        "processor time of the server for each, the last tenth over the first; orders/s by tenths: {}",
        rates.join(" ")
    )))
}

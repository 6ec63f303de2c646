//! R10: how the server's processor time for one answer grows with the number of sales, connections,
//! known buyers (buyers with an order) and partitions. The figure does not compare answers per
//! second, because the network also influences the number of answers.
use anyhow::Result;

use super::cluster::{PARTITIONS, PARTITIONS_TARGET, over_partitions};
use super::figure_or_invalid;
use super::sale_server::{self, SaleServer};
use crate::config::BenchConfig;
use crate::figure::{Comparison, Figure, Target, compare_alternating, median};
use crate::limits::{CONNECTIONS, ORDER_CONNECTIONS, REFUSAL_CONNECTIONS, REFUSED_BUYERS, SALES};
use crate::server::NewSale;
use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::cores;
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::{AnswerKind, Load};

const SALES_TARGET: Target = Target::AtMost { floor: 1.2, goal: 1.05 };
const CONNECTIONS_TARGET: Target = Target::AtMost { floor: 1.8, goal: 1.4 };
const BUYERS_TARGET: Target = Target::AtMost { floor: 1.1, goal: 1.05 };
const FEW_CONNECTIONS: usize = 10;
const FEW_BUYERS: u32 = 1_000;
/// The bench divides the orders of the many known buyers into this many parts of equal size. It
/// compares the cost of an order in the last part with the cost in the first part.
const PARTS: u32 = 10;

/// Measures R10, R10P or both.
pub fn measure(config: &BenchConfig, ids: &[&'static str]) -> Vec<Figure> {
    let mut figures = if ids.contains(&"R10") { refusals_and_orders(config) } else { Vec::new() };
    if ids.contains(&"R10P") {
        let measured = format!("orders in cluster, 1 → {PARTITIONS} partitions");
        let figure = over_partitions(config);
        let figure = figure_or_invalid("R10P", &measured, PARTITIONS_TARGET, figure);
        figures.push(Figure { measured, ..figure });
    }
    figures
}

fn refusals_and_orders(config: &BenchConfig) -> Vec<Figure> {
    let late = sale_server::buyers("late", REFUSED_BUYERS);
    let known = config.known_buyers;
    let buyers = format!("{FEW_BUYERS} → {known} known buyers");
    let (refusals, orders) = match over_buyers(config, &late) {
        Ok((refusals, orders)) => (Ok(refusals), Ok(orders)),
        Err(error) => (Err(anyhow::anyhow!("{error:#}")), Err(error)),
    };
    let rows: [(String, Target, Result<Figure>); 4] = [
        (format!("refusals, 1 → {SALES} sales"), SALES_TARGET, over_sales(config, &late)),
        (
            format!("refusals, {FEW_CONNECTIONS} → {CONNECTIONS} connections"),
            CONNECTIONS_TARGET,
            over_connections(config, &late),
        ),
        (format!("refusals, {buyers}"), BUYERS_TARGET, refusals),
        (format!("orders, 0 → {known} known buyers"), BUYERS_TARGET, orders),
    ];
    let name = |(measured, target, figure): (String, Target, Result<Figure>)| {
        let figure = figure_or_invalid("R10", &measured, target, figure);
        Figure { measured, target, ..figure }
    };
    rows.into_iter().map(name).collect()
}

/// Pins the server to one core, as the measurement of R1 does.
fn pin(sale_server: &SaleServer) -> Result<()> {
    cores::pair().0.map_or(Ok(()), |core| sale_server.server().process().pin(core))
}

/// One of the two sides of a comparison: its server, the requests that it gets, and the results.
struct SideRun<'a> {
    sale_server: &'a SaleServer,
    script: Purchases<'a>,
    connections: usize,
    rates: Vec<f64>,
    busy: f64,
}

impl<'a> SideRun<'a> {
    fn new(
        sale_server: &'a SaleServer,
        late: &'a Buyers,
        sale: &str,
        sales: u32,
        connections: usize,
    ) -> Self {
        let script = Purchases::round_and_round(late, sale_server::template(late, sale, 1, ""))
            .over_sales(sales);
        Self { sale_server, script, connections, rates: Vec::new(), busy: 0.0 }
    }

    /// Runs the load once. Returns the server's processor time for one refusal, in microseconds.
    fn measure(&mut self, config: &BenchConfig) -> Result<f64> {
        let core = cores::pair().1;
        let load = Load { core, ..config.load(self.sale_server.addr(), self.connections) };
        let before = self.sale_server.server().process().cpu_time()?;
        let run = load.run(&mut self.script)?;
        run.expect_only(&[AnswerKind::SoldOut])?;
        let spent = self.sale_server.server().process().cpu_time()?.saturating_sub(before);
        self.rates.push(run.per_sec(AnswerKind::SoldOut));
        self.busy = run.generator_busy;
        Ok(spent.as_secs_f64() * 1e6 / run.total() as f64)
    }
}

fn compare(config: &BenchConfig, mut few: SideRun<'_>, mut many: SideRun<'_>) -> Result<Figure> {
    let comparison =
        compare_alternating(config.rounds, || many.measure(config), || few.measure(config))?;
    Ok(Figure::new("R10", "", BUYERS_TARGET).comparison(&comparison, "µs", "µs with few").note(
        format!(
            "the server's processor time for each refusal; {:.0} → {:.0} refusals/s; the generator \
         was busy {} → {} of the time",
            median(&few.rates),
            median(&many.rates),
            sale_server::percent(few.busy),
            sale_server::percent(many.busy)
        ),
    ))
}

fn over_sales(config: &BenchConfig, late: &Buyers) -> Result<Figure> {
    let mut one = SaleServer::open(config, Some(1), None)?;
    let mut thousand = SaleServer::open(config, Some(1), None)?;
    let winner = sale_server::buyers("winner", 1);
    one.sell_out("sale-0000", &winner, 1)?;
    for number in 0..SALES {
        thousand.sell_out(
            &format!("sale-{number:04}"),
            &sale_server::buyers(&format!("winner{number}"), 1),
            1,
        )?;
    }
    pin(&one)?;
    pin(&thousand)?;
    let few = SideRun::new(&one, late, "sale-0000", 1, REFUSAL_CONNECTIONS);
    let many = SideRun::new(&thousand, late, "sale-0000", SALES, REFUSAL_CONNECTIONS);
    let figure = compare(config, few, many)?;
    one.close()?;
    thousand.close()?;
    Ok(figure)
}

fn over_connections(config: &BenchConfig, late: &Buyers) -> Result<Figure> {
    let mut sale_server = SaleServer::open(config, Some(1), None)?;
    sale_server.sell_out("spring", &sale_server::buyers("winner", 1), 1)?;
    pin(&sale_server)?;
    let side = |connections| SideRun::new(&sale_server, late, "spring", 1, connections);
    let figure = compare(config, side(FEW_CONNECTIONS), side(CONNECTIONS))?;
    sale_server.close()?;
    Ok(figure)
}

fn over_buyers(config: &BenchConfig, late: &Buyers) -> Result<(Figure, Figure)> {
    let mut few = SaleServer::open(config, Some(1), None)?;
    few.sell_out("spring", &sale_server::buyers("known", FEW_BUYERS), 1)?;
    let mut many = SaleServer::open(config, Some(1), None)?;
    let orders = fill_load(config, &mut many)?;
    pin(&few)?;
    pin(&many)?;
    let side = |sale_server| SideRun::new(sale_server, late, "spring", 1, REFUSAL_CONNECTIONS);
    let refusals = compare(config, side(&few), side(&many))?;
    few.close()?;
    many.close()?;
    Ok((refusals, orders))
}

/// Sells one unit to each of many buyers. Compares the server's processor time for each order in
/// the last tenth of these orders with that in the first tenth.
fn fill_load(config: &BenchConfig, sale_server: &mut SaleServer) -> Result<Figure> {
    let count = config.known_buyers;
    let buyers = sale_server::buyers("known", count);
    sale_server.server().open_sale(&NewSale { id: "spring", stock: count.into(), limit: 1 })?;
    let share = count / PARTS;
    let (mut costs, mut rates) = (Vec::new(), Vec::new());
    for part in 0..PARTS {
        let template = sale_server::template(&buyers, "spring", 1, "");
        let mut script = Purchases::each_once(&buyers, template, part * share)
            .limited_to(if part + 1 == PARTS { count } else { share });
        let before = sale_server.server().process().cpu_time()?;
        let run =
            sale_server.take_orders(&sale_server.fill_load(ORDER_CONNECTIONS), &mut script)?;
        let spent = sale_server.server().process().cpu_time()?.saturating_sub(before);
        costs.push(spent.as_secs_f64() * 1e6 / run.total() as f64);
        rates.push(run.per_sec(AnswerKind::Accepted));
    }
    sale_server.server().check_stock("spring", count.into()..=count.into())?;
    let (first, last) = (costs[0], costs[costs.len() - 1]);
    let comparison = Comparison { ours: vec![last], peer: vec![first] };
    let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    Ok(Figure::new("R10", "", BUYERS_TARGET).comparison(&comparison, "µs", "µs at first").note(format!(
        "the server's processor time for each order in the last tenth of the orders ÷ that in the \
         first tenth; orders/s in each tenth: {}",
        rates.join(" ")
    )))
}

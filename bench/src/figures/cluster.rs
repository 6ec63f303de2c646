//! R4: durable orders over HTTP with the slot in Redis and the truth in PostgreSQL, all on this machine, against PostgreSQL's hot row; and
//! against the naive design built from the same parts, whose promises are counted afterwards as ours are.
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doorbuster_lab::audit;
use doorbuster_lab::cluster::{Cluster, Node, Plan, Shape};
use doorbuster_lab::storm::read_secret;

use super::or_invalid;
use super::shop::{percent, template};
use crate::buyers::Buyers;
use crate::figure::{Compared, Figure, Target, alternate, median};
use crate::limits::{ORDER_CONNECTIONS, PLENTY};
use crate::load::http::Purchases;
use crate::load::{Kind, Load, Run};
use crate::peer::naive::Naive;
use crate::peer::postgres::Postgres;
use crate::process::cpu;
use crate::scratch::Scratch;
use crate::server::{NewSale, StockRow};
use crate::setting::Setting;

/// How long the naive peer is asked in a round: its consumer takes many times that to insert what was promised.
const NAIVE_TIME: Duration = Duration::from_secs(1);
/// Partitions of an item that is spread.
pub(super) const PARTITIONS: u32 = 16;
/// Nodes of an installation that has several.
pub(super) const NODES: usize = 4;
const MEASURED: &str = "durable orders over HTTP, in cluster";

/// Measures R4 and its like against the naive design.
pub fn measure(setting: &Setting, ids: &[&'static str]) -> Vec<Figure> {
    let measured = rounds(setting, ids.contains(&"R4"), ids.contains(&"R4N"));
    let row = |id: &'static str| {
        let (target, what) = match id {
            "R4" => (Target::AtLeast { floor: 3.0, goal: 8.0 }, "hot row /s"),
            _ => (Target::AtLeast { floor: 0.0, goal: 1.0 }, "naive promises /s"),
        };
        let figure = measured.as_ref().map(|measured| {
            let peer = if id == "R4" { measured.hot_row.clone() } else { measured.naive.clone() };
            let compared = Compared { ours: measured.ours.clone(), peer };
            let figure = Figure::new(id, MEASURED, target).compared(&compared, "/s", what);
            if id == "R4" {
                figure.note(measured.note())
            } else {
                figure.note(measured.judged.clone())
            }
        });
        or_invalid(id, MEASURED, target, figure.map_err(|error| anyhow::anyhow!("{error:#}")))
    };
    ids.iter().map(|id| row(id)).collect()
}

#[derive(Debug, Default)]
struct Measured {
    ours: Vec<f64>,
    hot_row: Vec<f64>,
    naive: Vec<f64>,
    busy: f64,
    p99_us: f64,
    judged: String,
}

impl Measured {
    fn note(&self) -> String {
        format!(
            "one node, one Redis, one PostgreSQL; {ORDER_CONNECTIONS} connections, each buyer once, all audited; p99 {:.1} ms; the generator was \
             busy {} of the time",
            self.p99_us / 1e3,
            percent(self.busy)
        )
    }
}

fn rounds(setting: &Setting, with_hot_row: bool, with_naive: bool) -> Result<Measured> {
    let mut site = Site::open(setting, Shape::Cluster, 1)?;
    let postgres = if with_hot_row { Some(Postgres::start(setting.parent())?) } else { None };
    let mut naive = if with_naive { Some(Naive::start(setting.parent())?) } else { None };
    let mut measured = Measured::default();
    for round in 0..=setting.rounds {
        let run = site.one_round(setting, 1)?;
        let hot_row =
            postgres.as_ref().map(|postgres| postgres.hot_row(setting.time)).transpose()?;
        let promises =
            naive.as_mut().map(|naive| naive_round(naive, setting, &site.secret)).transpose()?;
        if round > 0 {
            measured.ours.push(run.per_sec(Kind::Accepted));
            measured.hot_row.extend(hot_row);
            measured.naive.extend(promises);
            measured.busy = measured.busy.max(run.generator_busy);
            measured.p99_us = run.p99_us();
        }
    }
    if let Some(naive) = &mut naive {
        let theirs = naive_judged(naive, setting, &site.secret)?;
        measured.judged = format!("{}; {theirs}", site.judged(setting)?);
    }
    site.close()?;
    Ok(measured)
}

/// Our side.
struct Site {
    cluster: Cluster,
    secret: Vec<u8>,
    sales: u32,
    /// Orders promised so far.
    promised: u64,
    _dir: Scratch,
}

impl Site {
    fn open(setting: &Setting, shape: Shape, nodes: usize) -> Result<Self> {
        let dir = setting.scratch("site")?;
        let mut plan = Plan::new(&setting.program, &dir.path().join("cluster"), shape);
        (plan.nodes, plan.shards, plan.replicas) = (nodes, 1, false);
        let cluster = Cluster::start(&plan)?;
        let secret = read_secret(cluster.buyer_secret())?;
        Ok(Self { cluster, secret, sales: 0, promised: 0, _dir: dir })
    }

    fn load(&self, setting: &Setting) -> Load {
        setting.load(self.cluster.nodes[0].addr(), ORDER_CONNECTIONS)
    }

    /// A sale of its own, over so many partitions, to buyers of its own.
    fn open_sale(&mut self, setting: &Setting, partitions: u32) -> Result<(String, Buyers)> {
        self.sales += 1;
        let sale = format!("sale-{:04}", self.sales);
        let new = NewSale { id: &sale, stock: PLENTY, limit: 1 };
        self.operate("POST", "/v1/admin/sales", &new.json(), 201)?;
        let spread = format!(r#"{{"partitions":{partitions}}}"#);
        self.operate("PUT", &format!("/v1/admin/sales/{sale}/items/item/spread"), &spread, 200)?;
        self.operate("POST", &format!("/v1/admin/sales/{sale}/open"), "", 200)?;
        let buyers = Buyers::new(&self.secret, &format!("c{}", self.sales), setting.buyers());
        Ok((sale, buyers))
    }

    fn one_round(&mut self, setting: &Setting, partitions: u32) -> Result<Run> {
        let (sale, buyers) = self.open_sale(setting, partitions)?;
        let addrs: Vec<SocketAddr> = self.cluster.nodes.iter().map(Node::addr).collect();
        let run = self.load(setting).run_at(
            &addrs,
            &mut Purchases::each_once(&buyers, template(&buyers, &sale, 1, ""), 0),
        )?;
        run.only(&[Kind::Accepted])?;
        ensure!(run.time == setting.time, "more orders were taken than buyers had been made ready");
        self.promised += run.count(Kind::Accepted);
        let row = self.stock(&sale)?;
        ensure!(row.adds_up(), "the stock does not add up: {row:?}");
        ensure!(
            row.held == run.count(Kind::Accepted),
            "{} were promised: {row:?}",
            run.count(Kind::Accepted)
        );
        self.operate("POST", &format!("/v1/admin/sales/{sale}/close"), "", 200)?;
        Ok(run)
    }

    /// The node is killed in mid storm; so is its Redis in the next one. What was told is counted.
    fn judged(&mut self, setting: &Setting) -> Result<String> {
        let mut lost = Vec::new();
        for kill_node in [true, false] {
            let (sale, buyers) = self.open_sale(setting, 1)?;
            let load = self.load(setting);
            let wait = template(&buyers, &sale, 1, "");
            let storm = || load.run(&mut Purchases::each_once(&buyers, wait, 0));
            let (run, done) = while_it_blows(load.lead + load.time, storm, || {
                if kill_node {
                    self.cluster.nodes[0].kill()?;
                    self.cluster.nodes[0].start()?;
                    self.cluster.nodes[0].until_ready()?;
                } else if let Some(redis) = &mut self.cluster.redis {
                    redis.server(0).kill()?;
                    redis.server(0).start()?;
                }
                Ok(())
            });
            done?;
            let (told, row) = (run?.count(Kind::Accepted), self.stock(&sale)?);
            ensure!(row.adds_up(), "the stock does not add up: {row:?}");
            lost.push((told.saturating_sub(row.held), told));
            self.promised += told;
        }
        let [(by_node, of_node), (by_redis, of_redis)] = lost[..] else {
            anyhow::bail!("two storms were held")
        };
        Ok(format!(
            "of ours, {by_node} of {of_node} promises were lost when the node was killed, {by_redis} of {of_redis} when Redis was"
        ))
    }

    /// Microseconds of all nodes' processor for one order.
    fn cost(&mut self, setting: &Setting, partitions: u32, rates: &mut Vec<f64>) -> Result<f64> {
        let before = self.spent()?;
        let run = self.one_round(setting, partitions)?;
        rates.push(run.per_sec(Kind::Accepted));
        Ok(self.spent()?.saturating_sub(before).as_secs_f64() * 1e6 / run.total() as f64)
    }

    /// Processor time that all nodes have used.
    fn spent(&self) -> Result<Duration> {
        let one = |node: &Node| {
            cpu(node.pid().and_then(|pid| u32::try_from(pid).ok()).context("the node runs")?)
        };
        self.cluster.nodes.iter().map(one).sum()
    }

    fn stock(&self, sale: &str) -> Result<StockRow> {
        StockRow::read(&self.operate("GET", &format!("/v1/admin/sales/{sale}/stock"), "", 200)?)
    }

    fn operate(
        &self,
        method: &str,
        path: &str,
        body: &str,
        status: u16,
    ) -> Result<serde_json::Value> {
        let reply = self.cluster.admin(method, path, body)?;
        ensure!(reply.status == status, "{method} {path}: {} {}", reply.status, reply.body);
        Ok(reply.json())
    }

    fn close(mut self) -> Result<()> {
        self.cluster.stop_nodes()?;
        let report = audit::run(&audit::Store::parse(&self.cluster.store_url())?, None)?;
        ensure!(report.audit.ok, "the auditor found {:?}", report.audit.findings);
        let orders = report.orders_checked;
        ensure!(
            orders >= self.promised,
            "{} orders were promised, {orders} are there",
            self.promised
        );
        self.cluster.stop().context("after the rounds")
    }
}

/// What an order costs with an item over many partitions, over what it costs with one.
pub(super) fn over_partitions(setting: &Setting, target: Target) -> Result<Figure> {
    let site = std::cell::RefCell::new(Site::open(setting, Shape::Cluster, 1)?);
    let (mut many, mut one) = (Vec::new(), Vec::new());
    let compared = alternate(
        setting.rounds,
        || site.borrow_mut().cost(setting, PARTITIONS, &mut many),
        || site.borrow_mut().cost(setting, 1, &mut one),
    )?;
    site.into_inner().close()?;
    Ok(Figure::new("R10", "", target).compared(&compared, "µs", "µs with one").note(format!(
        "processor time of the node for each, one Redis; {:.0} → {:.0} orders/s",
        median(&one),
        median(&many)
    )))
}

/// What an order costs with several nodes behind the same load, over what it costs with one.
pub(super) fn over_nodes(setting: &Setting, shape: Shape, target: Target) -> Result<Figure> {
    let (mut several, mut one) =
        (Site::open(setting, shape, NODES)?, Site::open(setting, shape, 1)?);
    let (mut many, mut few) = (Vec::new(), Vec::new());
    let compared = alternate(
        setting.rounds,
        || several.cost(setting, 1, &mut many),
        || one.cost(setting, 1, &mut few),
    )?;
    several.close()?;
    one.close()?;
    Ok(Figure::new("R10", "", target).compared(&compared, "µs", "µs with one").note(format!(
        "processor time of all nodes for each; {:.0} → {:.0} orders/s on the same cores",
        median(&few),
        median(&many)
    )))
}

fn naive_round(naive: &mut Naive, setting: &Setting, secret: &[u8]) -> Result<f64> {
    naive.begin()?;
    let buyers = Buyers::new(secret, "n", setting.buyers());
    let load = Load { time: NAIVE_TIME, ..setting.load(naive.addr(), ORDER_CONNECTIONS) };
    let run =
        load.run(&mut Purchases::each_once(&buyers, template(&buyers, Naive::item(), 1, ""), 0))?;
    run.only(&[Kind::Accepted])?;
    let (told, orders) = (run.count(Kind::Accepted), naive.orders()?);
    ensure!(
        told == orders,
        "the naive peer told {told} and inserted {orders}, though nothing went wrong"
    );
    Ok(run.per_sec(Kind::Accepted))
}

/// The same as for ours.
fn naive_judged(naive: &mut Naive, setting: &Setting, secret: &[u8]) -> Result<String> {
    let mut found = Vec::new();
    for kill_process in [true, false] {
        naive.begin()?;
        let buyers = Buyers::new(secret, "j", setting.buyers());
        let load = Load { time: NAIVE_TIME, ..setting.load(naive.addr(), ORDER_CONNECTIONS) };
        let script = template(&buyers, Naive::item(), 1, "");
        let storm = || load.run(&mut Purchases::each_once(&buyers, script, 0));
        let (run, done) = while_it_blows(load.lead + load.time, storm, || {
            if kill_process {
                naive.kill()?;
                naive.serve()
            } else {
                naive.forget()
            }
        });
        done?;
        let told = run?.count(Kind::Accepted);
        let (booked, orders) = (naive.booked().unwrap_or(0), naive.orders()?);
        found.push((told, told.saturating_sub(orders), booked.saturating_sub(orders)));
    }
    Ok(format!(
        "of the naive peer's, {} of {} were lost when it was killed, and {} units are gone that nobody has; when its Redis forgot, {} of {}",
        found[0].1, found[0].0, found[0].2, found[1].1, found[1].0
    ))
}

/// Runs a storm, and does something in its middle.
fn while_it_blows(
    time: Duration,
    storm: impl FnOnce() -> Result<Run> + Send,
    fault: impl FnOnce() -> Result<()>,
) -> (Result<Run>, Result<()>) {
    std::thread::scope(|scope| {
        let blowing = scope.spawn(storm);
        std::thread::sleep(time / 2);
        // On this thread: what it starts ends with the thread that started it.
        let done = fault();
        (blowing.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the generator is lost"))), done)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Pace;

    #[test]
    fn the_naive_peer_loses_what_its_redis_forgets_and_nothing_when_nothing_fails() {
        let parent = std::env::temp_dir();
        let mut naive = Naive::start(&parent).expect("redis-server and postgresql are installed");
        let time = Duration::from_secs(1);
        let load = |naive: &Naive| Load {
            addr: naive.addr(),
            connections: 64,
            pace: Pace::Open(2_000.0),
            lead: Duration::ZERO,
            time,
            core: None,
        };
        let buyers = Buyers::new(&[7; 32], "t", 10_000);
        let script = || Purchases::each_once(&buyers, template(&buyers, Naive::item(), 1, ""), 0);
        naive.begin().expect("it begins anew");
        let run = load(&naive).run(&mut script()).expect("answers");
        assert_eq!(run.count(Kind::Accepted), naive.orders().expect("a count"));

        naive.begin().expect("it begins anew");
        let blowing = load(&naive);
        let (run, done) = while_it_blows(time, || blowing.run(&mut script()), || naive.forget());
        done.expect("it forgets");
        let told = run.expect("answers").count(Kind::Accepted);
        assert!(told > 0 && told > naive.orders().expect("a count"), "{told} were told");
    }
}

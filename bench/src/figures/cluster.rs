//! R4 and R4N: durable orders over HTTP in shape cluster. R4 compares our server with PostgreSQL,
//! in which all orders update one row. R4N compares our server with a naive design on Redis and
//! PostgreSQL. After R4N, the bench crashes parts of both designs under load. Our server must keep
//! every confirmed order. The bench counts the confirmed orders that the naive design lost.
mod naive_design;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use doorbuster_harness::audit;
use doorbuster_harness::cluster::{Cluster, ClusterPlan, Node, Shape};
use doorbuster_harness::load::read_secret;

use super::figure_or_invalid;
use super::sale_server::{load_without_end, percent, template};
use crate::config::BenchConfig;
use crate::figure::{Comparison, Figure, Target, compare_alternating, median};
use crate::limits::{ORDER_CONNECTIONS, PLENTY_OF_STOCK};
use crate::peer::naive::Naive;
use crate::peer::postgres::Postgres;
use crate::server::{NewSale, StockRow};
use crate::temp_dir::TempDir;
use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::http::Purchases;
use doorbuster_harness::generator::promises::{PromisedOrders, count_missing};
use doorbuster_harness::generator::{AnswerKind, Load, RunResult};

/// R10P compares two items: one has this many partitions, and the other has one partition.
pub(super) const PARTITIONS: u32 = 16;
/// The target for the ratio of two costs of an order: with [`PARTITIONS`] partitions, divided by
/// one partition.
pub(super) const PARTITIONS_TARGET: Target = Target::AtMost { floor: 1.2, goal: 1.1 };
const MEASURED: &str = "durable orders over HTTP, in cluster";

/// Measures R4, R4N or both.
pub fn measure(config: &BenchConfig, ids: &[&'static str]) -> Vec<Figure> {
    let measured = rounds(config, ids.contains(&"R4"), ids.contains(&"R4N"));
    let row = |id: &'static str| {
        let (target, what) = match id {
            "R4" => (Target::AtLeast { floor: 6.0, goal: 12.0 }, "hot row /s"),
            _ => (Target::AtLeast { floor: 0.0, goal: 1.0 }, "naive promises /s"),
        };
        let figure = measured.as_ref().map(|measured| {
            let peer = if id == "R4" { measured.hot_row.clone() } else { measured.naive.clone() };
            let comparison = Comparison { ours: measured.ours.clone(), peer };
            let figure = Figure::new(id, MEASURED, target).comparison(&comparison, "/s", what);
            if id == "R4" {
                figure.note(measured.note())
            } else {
                figure.note(measured.judged.clone())
            }
        });
        figure_or_invalid(
            id,
            MEASURED,
            target,
            figure.map_err(|error| anyhow::anyhow!("{error:#}")),
        )
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
            "one node, one Redis, one PostgreSQL; {ORDER_CONNECTIONS} connections, each buyer buys once, the audit is clean; p99 {:.1} ms; the generator was \
             busy {} of the time",
            self.p99_us / 1e3,
            percent(self.busy)
        )
    }
}

fn rounds(config: &BenchConfig, with_hot_row: bool, with_naive: bool) -> Result<Measured> {
    let mut site = ClusterUnderTest::open(config, Shape::Cluster, 1)?;
    let postgres = if with_hot_row { Some(Postgres::start(config.parent())?) } else { None };
    let mut naive = if with_naive { Some(Naive::start(config.parent())?) } else { None };
    let mut measured = Measured::default();
    for round in 0..=config.rounds {
        let run = site.one_round(config, 1)?;
        let hot_row =
            postgres.as_ref().map(|postgres| postgres.hot_row(config.time)).transpose()?;
        let promises = naive
            .as_mut()
            .map(|naive| naive_design::measure_round(naive, config, &site.secret))
            .transpose()?;
        if round > 0 {
            measured.ours.push(run.per_sec(AnswerKind::Accepted));
            measured.hot_row.extend(hot_row);
            measured.naive.extend(promises);
            measured.busy = measured.busy.max(run.generator_busy);
            measured.p99_us = run.p99_us();
        }
    }
    if let Some(naive) = &mut naive {
        let naive_losses = naive_design::check_after_kill(naive, config, &site.secret)?;
        measured.judged = format!("{}; {naive_losses}", site.check_after_kill(config)?);
    }
    site.close()?;
    Ok(measured)
}

/// Our server in the comparison: an installation that no other measurement uses.
pub(super) struct ClusterUnderTest {
    pub(super) cluster: Cluster,
    secret: Vec<u8>,
    sales: u32,
    /// The number of orders confirmed so far.
    promised: u64,
    _dir: TempDir,
}

impl ClusterUnderTest {
    pub(super) fn open(config: &BenchConfig, shape: Shape, nodes: usize) -> Result<Self> {
        Self::start(config, shape, nodes, 0)
    }

    pub(super) fn open_with_edge(config: &BenchConfig) -> Result<Self> {
        Self::start(config, Shape::Cluster, 1, 1)
    }

    pub(super) fn open_to_catch_up(config: &BenchConfig) -> Result<Self> {
        Self::start(config, Shape::Cluster, 2, 1)
    }

    fn start(config: &BenchConfig, shape: Shape, nodes: usize, edges: usize) -> Result<Self> {
        let dir = config.temp_dir("site")?;
        let mut plan = ClusterPlan::new(&config.program, &dir.path().join("cluster"), shape);
        (plan.nodes, plan.shards, plan.replicas) = (nodes, 1, false);
        plan.edges = edges;
        let cluster = Cluster::start(&plan)?;
        let secret = read_secret(cluster.buyer_secret())?;
        Ok(Self { cluster, secret, sales: 0, promised: 0, _dir: dir })
    }

    fn load(&self, config: &BenchConfig) -> Load {
        config.load(self.cluster.nodes[0].addr(), ORDER_CONNECTIONS)
    }

    /// Returns the sale's name and new buyers.
    fn open_sale(&mut self, config: &BenchConfig, partitions: u32) -> Result<(String, Buyers)> {
        self.sales += 1;
        let sale = format!("sale-{:04}", self.sales);
        let new = NewSale { id: &sale, stock: PLENTY_OF_STOCK, limit: 1 };
        self.operate("POST", "/v1/admin/sales", &new.json(), 201)?;
        let spread = format!(r#"{{"partitions":{partitions}}}"#);
        self.operate("PUT", &format!("/v1/admin/sales/{sale}/items/item/spread"), &spread, 200)?;
        self.operate("POST", &format!("/v1/admin/sales/{sale}/open"), "", 200)?;
        let buyers = Buyers::new(&self.secret, &format!("c{}", self.sales), config.buyers());
        Ok((sale, buyers))
    }

    pub(super) fn buyers(&self, series: &str, count: u32) -> Buyers {
        Buyers::new(&self.secret, series, count)
    }

    /// Sells all units of a new sale, one to each buyer. Returns the sale and the buyers.
    pub(super) fn sell_out(&mut self, units: u32) -> Result<(String, Buyers)> {
        let (sale, buyers) = ("sold".to_owned(), self.buyers("winner", units));
        let new = NewSale { id: &sale, stock: units.into(), limit: 1 };
        self.operate("POST", "/v1/admin/sales", &new.json(), 201)?;
        self.operate("POST", &format!("/v1/admin/sales/{sale}/open"), "", 200)?;
        let connections = ORDER_CONNECTIONS.min(units as usize);
        let load = load_without_end(self.cluster.nodes[0].addr(), connections);
        let template = template(&buyers, &sale, 1, "");
        let run = load.run(&mut Purchases::each_once(&buyers, template, 0))?;
        run.expect_only(&[AnswerKind::Accepted])?;
        self.promised += u64::from(units);
        Ok((sale, buyers))
    }

    pub(super) fn one_round(&mut self, config: &BenchConfig, partitions: u32) -> Result<RunResult> {
        let (sale, buyers) = self.open_sale(config, partitions)?;
        let addrs: Vec<SocketAddr> = self.cluster.nodes.iter().map(Node::addr).collect();
        let run = self.load(config).run_at(
            &addrs,
            &mut Purchases::each_once(&buyers, template(&buyers, &sale, 1, ""), 0),
        )?;
        run.expect_only(&[AnswerKind::Accepted])?;
        ensure!(
            run.time == config.time,
            "the prepared buyers ran out before the measurement ended"
        );
        self.promised += run.count(AnswerKind::Accepted);
        let row = self.stock(&sale)?;
        ensure!(row.adds_up(), "the stock does not add up: {row:?}");
        ensure!(
            row.held == run.count(AnswerKind::Accepted),
            "{} units were confirmed, but the stock is {row:?}",
            run.count(AnswerKind::Accepted)
        );
        self.operate("POST", &format!("/v1/admin/sales/{sale}/close"), "", 200)?;
        Ok(run)
    }

    /// Kills the node during one load, and its Redis during a second load. Fails if a confirmed
    /// order is lost. Returns a text that says how many orders were confirmed in each case.
    fn check_after_kill(&mut self, config: &BenchConfig) -> Result<String> {
        let mut kept = Vec::new();
        for kill_node in [true, false] {
            let (sale, buyers) = self.open_sale(config, 1)?;
            let load = self.load(config);
            let wait = template(&buyers, &sale, 1, "");
            let mut script = PromisedOrders::new(Purchases::each_once(&buyers, wait, 0));
            let run_load = || load.run(&mut script);
            let (run, done) = during_load(load.warm_up + load.time, run_load, || {
                if kill_node {
                    self.cluster.nodes[0].kill()?;
                    self.cluster.nodes[0].start()?;
                    self.cluster.nodes[0].wait_until_ready()?;
                } else if let Some(redis) = &mut self.cluster.redis {
                    redis.server(0).kill()?;
                    redis.server(0).start()?;
                }
                Ok(())
            });
            done?;
            let (confirmed, row) = (run?.count(AnswerKind::Accepted), self.stock(&sale)?);
            ensure!(row.adds_up(), "the stock does not add up: {row:?}");
            ensure!(
                script.ids.len() as u64 >= confirmed,
                "{confirmed} answers named only {} orders",
                script.ids.len()
            );
            let missing = count_missing(&script.ids, &self.order_ids(&sale)?);
            let killed = if kill_node { "the node" } else { "Redis" };
            ensure!(
                missing == 0,
                "our side lost {missing} of {confirmed} confirmed orders when {killed} was killed"
            );
            kept.push(format!("{confirmed} when {killed} was killed"));
            self.promised += confirmed;
        }
        Ok(format!("our side kept all confirmed orders: {}", kept.join(", ")))
    }

    fn order_ids(&self, sale: &str) -> Result<BTreeSet<String>> {
        let rows = self.cluster.postgres.sql(&format!(
            "SELECT o.id FROM orders o JOIN item i ON i.id = o.item_id WHERE i.sale_id = '{sale}'"
        ))?;
        Ok(rows.lines().map(str::to_owned).collect())
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

    pub(super) fn close(mut self) -> Result<()> {
        self.cluster.stop_nodes()?;
        let report = audit::run(&audit::StoreLocation::parse(&self.cluster.store_url())?, None)?;
        ensure!(report.audit.ok, "the auditor found {:?}", report.audit.findings);
        let orders = report.orders_checked;
        ensure!(
            orders >= self.promised,
            "{} orders were confirmed, but the store has {orders}",
            self.promised
        );
        self.cluster.stop().context("failed to stop the cluster after the rounds")
    }
}

/// Compares the cost of an order for two items: one has many partitions, and the other has one.
pub(super) fn over_partitions(config: &BenchConfig) -> Result<Figure> {
    let site = std::cell::RefCell::new(ClusterUnderTest::open(config, Shape::Cluster, 1)?);
    let (mut many, mut one) = (Vec::new(), Vec::new());
    let nodes_cost = |partitions, rates: &mut Vec<f64>| {
        let cost = site.borrow_mut().cost(config, partitions)?;
        rates.push(cost.orders_per_sec);
        Ok(cost.nodes)
    };
    let comparison = compare_alternating(
        config.rounds,
        || nodes_cost(PARTITIONS, &mut many),
        || nodes_cost(1, &mut one),
    )?;
    site.into_inner().close()?;
    Ok(Figure::new("R10P", "", PARTITIONS_TARGET)
        .comparison(&comparison, "µs", "µs with one")
        .note(format!(
            "processor time of an order; {:.0} orders/s with 1 partition, {:.0} with {PARTITIONS}",
            median(&one),
            median(&many)
        )))
}

fn during_load(
    time: Duration,
    run_load: impl FnOnce() -> Result<RunResult> + Send,
    fault: impl FnOnce() -> Result<()>,
) -> (Result<RunResult>, Result<()>) {
    std::thread::scope(|scope| {
        let generator = scope.spawn(run_load);
        std::thread::sleep(time / 2);
        // `fault` starts programs that must outlive this function. When a thread ends, the kernel
        // ends all programs that the thread started. So the caller's thread runs `fault`, and a new
        // thread runs the load.
        let done = fault();
        (generator.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the generator panicked"))), done)
    })
}

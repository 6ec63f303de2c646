//! R10N: the processor time that all programs (nodes, Redis and PostgreSQL) together use for an
//! order, with one node and with several nodes.
use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, Result};
use doorbuster_harness::cluster::Shape;
use doorbuster_harness::generator::AnswerKind;

use super::cluster::ClusterUnderTest;
use super::figure_or_invalid;
use crate::config::BenchConfig;
use crate::figure::{Figure, Target, compare_alternating, median};
use crate::process::{cpu_time, cpu_time_with_children};

const TARGET: Target = Target::AtMost { floor: 1.3, goal: 1.1 };
/// For each of these numbers of nodes, the bench compares the cost of an order with the cost on one
/// node.
const NODES: [usize; 2] = [4, 8];

/// Measures R10N.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (shape, name) in [(Shape::Cluster, "cluster"), (Shape::Postgres, "postgres")] {
        for nodes in NODES {
            let measured = format!("orders in {name}, 1 → {nodes} nodes");
            let figure = over_nodes(config, shape, nodes);
            let figure = figure_or_invalid("R10N", &measured, TARGET, figure);
            figures.push(Figure { measured, ..figure });
        }
    }
    figures
}

struct Spent {
    nodes: Duration,
    redis: Duration,
    postgres: Duration,
}

/// The processor time that each kind of program uses for an order, in microseconds, and the rate of
/// orders.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrderCost {
    pub(super) nodes: f64,
    pub(super) redis: f64,
    pub(super) postgres: f64,
    pub(super) orders_per_sec: f64,
}

impl OrderCost {
    pub(super) fn total(&self) -> f64 {
        self.nodes + self.redis + self.postgres
    }
}

impl ClusterUnderTest {
    pub(super) fn cost(&mut self, config: &BenchConfig, partitions: u32) -> Result<OrderCost> {
        let before = self.spent()?;
        let run = self.one_round(config, partitions)?;
        let after = self.spent()?;
        let orders = run.total() as f64;
        let micros = |spent: fn(&Spent) -> Duration| {
            spent(&after).saturating_sub(spent(&before)).as_secs_f64() * 1e6 / orders
        };
        Ok(OrderCost {
            nodes: micros(|spent| spent.nodes),
            redis: micros(|spent| spent.redis),
            postgres: micros(|spent| spent.postgres),
            orders_per_sec: run.per_sec(AnswerKind::Accepted),
        })
    }

    fn spent(&self) -> Result<Spent> {
        let id = |pid: Option<i32>| {
            pid.and_then(|pid| u32::try_from(pid).ok()).context("the process does not run")
        };
        let cluster = &self.cluster;
        let redis = cluster.redis.iter().flat_map(|redis| redis.servers());
        Ok(Spent {
            nodes: cluster.nodes.iter().map(|node| cpu_time(id(node.pid())?)).sum::<Result<_>>()?,
            redis: redis.map(|server| cpu_time(id(server.pid())?)).sum::<Result<_>>()?,
            postgres: cpu_time_with_children(id(cluster.postgres.pid())?)?,
        })
    }
}

fn over_nodes(config: &BenchConfig, shape: Shape, nodes: usize) -> Result<Figure> {
    let several = RefCell::new(ClusterUnderTest::open(config, shape, nodes)?);
    let one = RefCell::new(ClusterUnderTest::open(config, shape, 1)?);
    let (mut many, mut few) = (Vec::new(), Vec::new());
    let cost = |site: &RefCell<ClusterUnderTest>, costs: &mut Vec<OrderCost>| {
        let cost = site.borrow_mut().cost(config, 1)?;
        costs.push(cost);
        Ok(cost.total())
    };
    let comparison =
        compare_alternating(config.rounds, || cost(&several, &mut many), || cost(&one, &mut few))?;
    several.into_inner().close()?;
    one.into_inner().close()?;
    Ok(Figure::new("R10N", "", TARGET).comparison(&comparison, "µs", "µs with one").note(format!(
        "processor time of all programs for each order: nodes {}, Redis {}, PostgreSQL {}; {} \
         orders/s on the same cores",
        change(&few, &many, |cost| cost.nodes),
        change(&few, &many, |cost| cost.redis),
        change(&few, &many, |cost| cost.postgres),
        change(&few, &many, |cost| cost.orders_per_sec),
    )))
}

fn change(few: &[OrderCost], many: &[OrderCost], part: fn(&OrderCost) -> f64) -> String {
    let median_of = |costs: &[OrderCost]| median(&costs.iter().map(part).collect::<Vec<_>>());
    format!("{:.0} → {:.0}", median_of(few), median_of(many))
}

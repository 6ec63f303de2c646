//! R10N: what an order costs all programs together when there are more nodes.
use std::cell::RefCell;

use anyhow::Result;
use doorbuster_harness::cluster::Shape;

use super::cluster::{ClusterUnderTest, OrderCost};
use super::figure_or_invalid;
use crate::config::BenchConfig;
use crate::figure::{Figure, Target, compare_alternating, median};

const TARGET: Target = Target::AtMost { floor: 1.3, goal: 1.1 };
/// Numbers of nodes that are compared with one node.
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

/// The cost of an order with several nodes under the same load, relative to one node.
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

/// The medians with one node and with several.
fn change(few: &[OrderCost], many: &[OrderCost], part: fn(&OrderCost) -> f64) -> String {
    let median_of = |costs: &[OrderCost]| median(&costs.iter().map(part).collect::<Vec<_>>());
    format!("{:.0} → {:.0}", median_of(few), median_of(many))
}

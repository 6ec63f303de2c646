//! E8 and E9: refusals at an edge. E8 measures the share of refused requests that an edge passes on
//! to a node. E9 compares the processor time of a refusal at an edge with that of a refusal at a
//! node.
use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use doorbuster_harness::cluster::{Node, http};

use super::cluster::ClusterUnderTest;
use super::figure_or_invalid;
use super::sale_server::template;
use crate::config::BenchConfig;
use crate::figure::{Comparison, Figure, Target, compare_alternating, median};
use crate::limits::{READY_WITHIN, REFUSAL_CONNECTIONS, REFUSED_BUYERS};
use crate::process::cpu_time;
use doorbuster_harness::generator::AnswerKind;
use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::http::Purchases;

const REACHING: Target = Target::AtMost { floor: 2.0, goal: 0.2 };
const COST: Target = Target::AtMost { floor: 1.1, goal: 1.0 };
const REACHING_MEASURED: &str = "an edge's refused requests that reach a node";
const COST_MEASURED: &str = "CPU of a refusal at an edge";

/// Measures E8, E9 or both.
pub fn measure(config: &BenchConfig, ids: &[&'static str]) -> Vec<Figure> {
    let measured = rounds(config);
    let row = |id: &'static str| {
        let (what, target) = match id {
            "E8" => (REACHING_MEASURED, REACHING),
            _ => (COST_MEASURED, COST),
        };
        let figure = measured.as_ref().map(|measured| {
            let figure = Figure::new(id, what, target);
            match id {
                "E8" => {
                    let figure = figure.with_value(median(&measured.reaching), "%");
                    Figure { rounds: measured.reaching.clone(), ..figure }
                }
                _ => figure.comparison(&measured.cost, "µs", "µs at a node"),
            }
        });
        figure_or_invalid(id, what, target, figure.map_err(|error| anyhow::anyhow!("{error:#}")))
    };
    ids.iter().map(|id| row(id)).collect()
}

#[derive(Debug, Default)]
struct Measured {
    /// For each round, the percentage of the refused requests that the edge passed on to the node.
    reaching: Vec<f64>,
    cost: Comparison,
}

fn rounds(config: &BenchConfig) -> Result<Measured> {
    let mut site = ClusterUnderTest::open_with_edge(config)?;
    let (sale, _) = site.sell_out(10)?;
    let late = site.buyers("late", REFUSED_BUYERS);
    let (node, edge) = (&site.cluster.nodes[0], &site.cluster.edges[0]);
    wait_until_sold_out(edge.addr(), &sale)?;
    let reaching = RefCell::new(Vec::new());
    let refuse = |server: &Node| refusal_cost(config, server, &late, &sale);
    let cost = compare_alternating(
        config.rounds,
        || {
            let before = purchases_at(node.addr())?;
            let (cost, refused) = refuse(edge)?;
            let reached = purchases_at(node.addr())? - before;
            reaching.borrow_mut().push(reached as f64 * 100.0 / refused as f64);
            Ok(cost)
        },
        || refuse(node).map(|(cost, _)| cost),
    )?;
    site.close()?;
    // Drops the value of the warm-up round, which is the first.
    let reaching = reaching.into_inner().split_off(1);
    Ok(Measured { reaching, cost })
}

/// Sends purchases that the server refuses. Returns the server's processor time for one refusal, in
/// microseconds, and the number of refusals.
fn refusal_cost(
    config: &BenchConfig,
    server: &Node,
    late: &Buyers,
    sale: &str,
) -> Result<(f64, u64)> {
    let pid = server.pid().and_then(|pid| u32::try_from(pid).ok());
    let pid = pid.context("the process does not run")?;
    let before = cpu_time(pid)?;
    let run = config
        .load(server.addr(), REFUSAL_CONNECTIONS)
        .run(&mut Purchases::round_and_round(late, template(late, sale, 1, "")))?;
    run.expect_only(&[AnswerKind::SoldOut])?;
    let spent = cpu_time(pid)?.saturating_sub(before);
    Ok((spent.as_secs_f64() * 1e6 / run.total() as f64, run.total()))
}

fn purchases_at(addr: SocketAddr) -> Result<u64> {
    let page = http::send_request(addr, "GET", "/metrics", "", "")?.body;
    let is_purchase = |line: &&str| {
        line.starts_with("doorbuster_http_requests_total{") && line.contains("=\"purchase\"")
    };
    let lines: Vec<&str> = page.lines().filter(is_purchase).collect();
    let number = |line: &&str| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
    lines.iter().map(|line| number(line).with_context(|| (*line).to_owned())).sum()
}

fn wait_until_sold_out(edge: SocketAddr, sale: &str) -> Result<()> {
    let began = Instant::now();
    let path = format!("/v1/sales/{sale}/status");
    // Buyers still hold the units, so the item's state is `held_out`.
    while !http::send_request(edge, "GET", &path, "", "")?.body.contains("\"held_out\"") {
        ensure!(began.elapsed() < READY_WITHIN, "the edge does not show that {sale} is sold out");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}

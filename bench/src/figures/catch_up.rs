//! N1: how long a new node and a new edge take to become ready. A thousand sales are open, and one
//! of these sales has a million orders. After each start, the bench checks that the new process
//! knows the sales and the orders.
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use doorbuster_harness::cluster::http;
use doorbuster_harness::generator::AnswerKind;
use doorbuster_harness::generator::buyers::Buyers;
use doorbuster_harness::generator::http::Purchases;

use super::cluster::ClusterUnderTest;
use super::figure_or_invalid;
use super::sale_server::{load_without_end, template};
use crate::config::BenchConfig;
use crate::figure::{Figure, Target, median};
use crate::limits::{ORDER_CONNECTIONS, READY_WITHIN, SALES};
use crate::server::NewSale;

const TARGET: Target = Target::AtMost { floor: 5.0, goal: 2.0 };
const CHECK_INTERVAL: Duration = Duration::from_millis(2);

/// Measures N1.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    let measured = rounds(config);
    let row = |who: &str, of: fn(&Measured) -> &Vec<f64>| {
        let what = format!("time until a new {who} is ready, {} known orders", config.known_buyers);
        let figure = measured.as_ref().map(|measured| {
            let times = of(measured);
            let figure = Figure::new("N1", "", TARGET).with_value(median(times), "s");
            Figure { rounds: times.clone(), ..figure }
        });
        let figure = figure.map_err(|error| anyhow::anyhow!("{error:#}"));
        let figure = figure_or_invalid("N1", &what, TARGET, figure);
        Figure { measured: what, ..figure }
    };
    vec![row("node", |measured| &measured.node), row("edge", |measured| &measured.edge)]
}

/// The times of all rounds, in seconds.
#[derive(Debug, Default)]
struct Measured {
    node: Vec<f64>,
    edge: Vec<f64>,
}

fn rounds(config: &BenchConfig) -> Result<Measured> {
    let mut site = ClusterUnderTest::open_to_catch_up(config)?;
    open_sales(&site, SALES)?;
    let (sale, winners) = site.sell_out(config.known_buyers)?;
    let late = site.buyers("late", 1_000);
    let mut measured = Measured::default();
    for _ in 0..config.rounds {
        site.cluster.nodes[1].stop()?;
        let began = Instant::now();
        site.cluster.nodes[1].start()?;
        let node = site.cluster.nodes[1].addr();
        wait_until_ready(node)?;
        measured.node.push(began.elapsed().as_secs_f64());
        check(node, &sale, (&winners, &late))?;

        site.cluster.edges[0].stop()?;
        let began = Instant::now();
        site.cluster.edges[0].start()?;
        let edge = site.cluster.edges[0].addr();
        wait_until_ready(edge)?;
        measured.edge.push(began.elapsed().as_secs_f64());
        check(edge, &sale, (&winners, &late))?;
    }
    site.close()?;
    Ok(measured)
}

fn open_sales(site: &ClusterUnderTest, count: u32) -> Result<()> {
    for number in 0..count {
        let id = format!("many-{number:04}");
        let sale = NewSale { id: &id, stock: 1, limit: 1 }.json();
        let open = format!("/v1/admin/sales/{id}/open");
        for (path, body, status) in [("/v1/admin/sales", &*sale, 201), (&open, "", 200)] {
            let reply = site.cluster.admin("POST", path, body)?;
            ensure!(reply.status == status, "POST {path}: {} {}", reply.status, reply.body);
        }
    }
    Ok(())
}

/// Waits until `/readyz` answers `200` without a warning. An edge reports a warning while its copy
/// of the nodes' memory is incomplete.
fn wait_until_ready(addr: SocketAddr) -> Result<()> {
    let began = Instant::now();
    loop {
        let reply = http::send_request(addr, "GET", "/readyz", "", "");
        if reply.is_ok_and(|reply| reply.status == 200 && !reply.body.contains("\"warnings\"")) {
            return Ok(());
        }
        ensure!(began.elapsed() < READY_WITHIN, "the server at {addr} is not ready");
        std::thread::sleep(CHECK_INTERVAL);
    }
}

/// Checks that the server knows the sales and the orders: it must refuse late buyers, and it must
/// answer a winner's repeated request with the winner's order.
fn check(addr: SocketAddr, sale: &str, (winners, late): (&Buyers, &Buyers)) -> Result<()> {
    for number in [0, SALES - 1] {
        let path = format!("/v1/sales/many-{number:04}/status");
        let status = http::send_request(addr, "GET", &path, "", "")?.status;
        ensure!(status == 200, "{addr} does not know the sale: {path} answered {status}");
    }
    for (buyers, answer) in [(late, AnswerKind::SoldOut), (winners, AnswerKind::Fine)] {
        let mut script =
            Purchases::each_once(buyers, template(buyers, sale, 1, ""), 0).limited_to(1_000);
        load_without_end(addr, ORDER_CONNECTIONS).run(&mut script)?.expect_only(&[answer])?;
    }
    Ok(())
}

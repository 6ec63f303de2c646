//! The traffic of a soak run. Each sale opens, gets more buyers than it has units, and closes.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::Progress;
use crate::cluster::Cluster;
use crate::load::{self, LoadPlan};

/// A sale has one unit for this many buyers, so each sale sells out.
const STOCK_SHARE: u32 = 2;
/// A failed request of an operator is repeated for this long. A request may fail because a node is
/// restarting.
const WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn add_endpoint(cluster: &Cluster, url: &str) -> anyhow::Result<()> {
    admin(cluster, "/v1/admin/webhook-endpoints", &json!({"url": url, "types": ["*"]})).map(drop)
}

/// Returns the path of the file with the answers that buyers of all sales got.
pub(super) fn answers_file(cluster: &Cluster) -> PathBuf {
    cluster.cluster_dir.path().join("answers.jsonl")
}

pub(super) fn sell(cluster: &Cluster, buyers: u32, shared: &Progress) -> anyhow::Result<()> {
    let secret =
        load::read_secret(cluster.buyer_secret()).context("cannot read the buyers' secret")?;
    let of_one_sale = cluster.cluster_dir.path().join("answers-of-one-sale.jsonl");
    let mut answers =
        File::create(answers_file(cluster)).context("failed to create the answers file")?;
    let (stock, mut number) = (buyers / STOCK_SHARE, 0_u32);
    while !shared.is_stopped() {
        number += 1;
        let name = format!("soak-{number}");
        open(cluster, &name, stock)?;
        let mut plan =
            LoadPlan::new(&cluster.url(), &name, "phone", buyers, secret.clone()).patient();
        plan.seed = number.into();
        plan.connections = plan.connections.min(buyers as usize);
        plan.answers = Some(of_one_sale.clone());
        let report = load::run(plan, |_| {}).context("failed to send purchases")?;
        std::io::copy(&mut File::open(&of_one_sale)?, &mut answers)
            .context("failed to copy the answers")?;
        let orders = report.answers.get("reserved").copied().unwrap_or_default();
        if orders > stock.into() {
            shared.add_finding(format!("{name} has {orders} orders, but only {stock} units"));
        }
        shared.orders.fetch_add(orders, Ordering::Relaxed);
        shared.lost_answers.fetch_add(report.lost_answers, Ordering::Relaxed);
        // The report counts server errors as faults too.
        shared.faults.fetch_add(report.faults.values().sum(), Ordering::Relaxed);
        admin(cluster, &format!("/v1/admin/sales/{name}/close"), &Value::Null)?;
        shared.units.fetch_add(stock.into(), Ordering::Relaxed);
        shared.sales.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn open(cluster: &Cluster, name: &str, stock: u32) -> anyhow::Result<()> {
    let price = json!({"amount_minor": 100, "currency": "EUR"});
    let item = json!({"id": "phone", "title": "Phone", "price": price, "stock": stock});
    let sale = json!({"id": name, "title": "Soak", "items": [item], "front_door": {"pass": "off"}});
    admin(cluster, "/v1/admin/sales", &sale)?;
    admin(cluster, &format!("/v1/admin/sales/{name}/open"), &Value::Null).map(drop)
}

/// Sends an operator's request, and repeats it while a node restarts. An attempt may have taken
/// effect although its response was lost. So after a repeat, the status `409` counts as success.
fn admin(cluster: &Cluster, path: &str, body: &Value) -> anyhow::Result<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (begun, mut tries) = (Instant::now(), 0);
    loop {
        let reply = cluster.admin("POST", path, &body);
        match &reply {
            Ok(reply) if reply.status / 100 == 2 => return Ok(reply.json()),
            Ok(reply) if reply.status == 409 && tries > 0 => return Ok(reply.json()),
            Ok(reply) if reply.status / 100 == 4 && reply.status != 429 => {
                bail!("POST {path} was answered with {}: {}", reply.status, reply.body);
            }
            _ if begun.elapsed() > WITHIN => bail!("POST {path} failed for a minute: {reply:?}"),
            _ => {}
        }
        tries += 1;
        std::thread::sleep(PAUSE);
    }
}

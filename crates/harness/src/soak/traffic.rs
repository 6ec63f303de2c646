//! The traffic of a soak run. Each sale opens, gets more buyers than it has units, and closes.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::Progress;
use crate::cluster::Cluster;
use crate::load::{self, LoadPlan};

/// A sale has one unit for this many buyers, so each sale sells out.
const STOCK_SHARE: u32 = 2;
/// How long the traffic repeats an operator's request that fails. A request may fail because a node
/// is restarting.
const WITHIN: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn add_endpoint(cluster: &Cluster, url: &str) -> anyhow::Result<()> {
    admin(cluster, "/v1/admin/webhook-endpoints", &json!({"url": url, "types": ["*"]})).map(drop)
}

pub(super) fn sell(cluster: &Cluster, buyers: u32, shared: &Progress) -> anyhow::Result<()> {
    let secret =
        load::read_secret(cluster.buyer_secret()).context("cannot read the buyers' secret")?;
    let mut number = 0_u32;
    while !shared.is_stopped() {
        number += 1;
        let name = format!("soak-{number}");
        open(cluster, &name, buyers / STOCK_SHARE)?;
        let mut plan =
            LoadPlan::new(&cluster.url(), &name, "phone", buyers, secret.clone()).patient();
        plan.seed = number.into();
        plan.connections = plan.connections.min(buyers as usize);
        let report = load::run(plan, |_| {}).context("failed to send purchases")?;
        let orders = report.answers.get("reserved").copied().unwrap_or_default();
        shared.orders.fetch_add(orders, Ordering::Relaxed);
        shared.lost_answers.fetch_add(report.lost_answers, Ordering::Relaxed);
        // The faults include the server errors.
        shared.faults.fetch_add(report.faults.values().sum(), Ordering::Relaxed);
        admin(cluster, &format!("/v1/admin/sales/{name}/close"), &Value::Null)?;
        shared.units.fetch_add((buyers / STOCK_SHARE).into(), Ordering::Relaxed);
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

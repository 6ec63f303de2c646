//! The fault `restore`: PostgreSQL is restored from a backup during a sale. The orders since the
//! backup are then missing, so the nodes must pause the sale, as after a failover to a stale
//! standby. This file then does what `docs/how-to/back-up-and-restore.md` tells an operator to do.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use serde_json::json;

use super::Fault;
use super::limits::{OUTAGE, RECOVERED_WITHIN};
use super::round_state::{ITEM, RoundRunner, random_duration};
use crate::audit::{self, StoreLocation};
use crate::cluster::{Cluster, ClusterError, Node, http};

pub(super) fn restore(cluster: &mut Cluster, rng: &mut SmallRng) -> Result<String, ClusterError> {
    let ids = "SELECT id FROM orders";
    let before: HashSet<String> = cluster.postgres.sql(ids)?.lines().map(str::to_owned).collect();
    let copy = cluster.postgres.back_up("copy")?;
    let sold_for = random_duration(rng, OUTAGE);
    std::thread::sleep(sold_for);
    let killed = Instant::now();
    cluster.nodes.iter_mut().try_for_each(Node::kill)?;
    cluster.postgres.crash()?;
    cluster.postgres.restore(&copy)?;
    let after: HashSet<String> = cluster.postgres.sql(ids)?.lines().map(str::to_owned).collect();
    if let Some(lacks) = before.difference(&after).next() {
        let what = format!("order {lacks} was made before the backup, but is missing");
        return Err(ClusterError::failed("restoring PostgreSQL", what));
    }
    cluster.nodes.iter_mut().try_for_each(Node::start)?;
    cluster.nodes.iter_mut().try_for_each(Node::wait_until_ready)?;
    Ok(format!(
        "buyers bought for {} ms after the backup; then no node was ready for {} ms",
        sold_for.as_millis(),
        killed.elapsed().as_millis()
    ))
}

impl RoundRunner<'_> {
    /// Lowers the stock by the units of the missing orders, and resumes the sale. Returns a new
    /// answers file: it has only the answers whose orders and verdicts the store still has.
    pub(super) fn accept_restore(&mut self, answers: &Path) -> Result<PathBuf, ClusterError> {
        self.wait_until_paused()?;
        let store = StoreLocation::parse(&self.cluster.store_url()).and_then(|store| {
            let kept = answers.with_extension("kept.jsonl");
            let missing = audit::split_answers(&store, answers, &kept)?;
            Ok((kept, missing))
        });
        let (kept, missing) =
            store.map_err(|error| ClusterError::failed("reading the answers", error))?;
        let orders = missing.iter().filter(|line| line.state.as_deref() != Some("refused"));
        let missing = orders.clone().count() as u64;
        let units: u64 = orders.map(|line| u64::from(line.units)).sum();
        self.round.fault_detail += &format!(", {units} units of missing orders");
        if self.round.fault == Fault::PostgresFailoverAsync {
            self.expect_lost_orders(missing)?;
        }
        if units > 0 {
            let path = format!("/v1/admin/sales/{}/items/{ITEM}/adjustments", self.sale);
            let body = json!({"units": -i64::try_from(units).unwrap_or(i64::MAX),
                              "reason": "sold before the restore"});
            self.lower_stock(&path, &body.to_string())?;
        }
        self.round.stock -= units;
        let path = format!("/v1/admin/sales/{}/resume", self.sale);
        self.admin_request("POST", &path, "", 200)?;
        Ok(kept)
    }

    /// Waits until the nodes report at least `missing` lost orders. Adds a finding if this takes
    /// too long. The nodes may report more than `missing`, because `missing` counts only orders
    /// whose buyers got an answer.
    fn expect_lost_orders(&mut self, missing: u64) -> Result<(), ClusterError> {
        let sql = "SELECT coalesce(sum(lost), 0)::bigint FROM lost_orders
                   WHERE fence = (SELECT max(fence) FROM store_history)";
        let begun = Instant::now();
        loop {
            let reported = self.cluster.postgres.sql(sql)?.trim().parse().unwrap_or(0_u64);
            if reported >= missing {
                self.round.fault_detail += &format!(", {reported} lost orders reported");
                return Ok(());
            }
            if begun.elapsed() > RECOVERED_WITHIN {
                let what = format!(
                    "{missing} orders are missing, but the nodes reported only {reported} of them"
                );
                self.round.findings.push(what);
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Lowers the stock. The server refuses the request until the leases of killed nodes have
    /// ended, because the units in these nodes' slots are not free before that. So this function
    /// repeats the request.
    fn lower_stock(&self, path: &str, body: &str) -> Result<(), ClusterError> {
        let (addr, key, begun) = (self.cluster.addr(), self.cluster.admin_key(), Instant::now());
        let head = format!("Authorization: Bearer {key}\r\nIdempotency-Key: restored\r\n");
        loop {
            let reply = http::send_request(addr, "POST", path, &head, body)?;
            let is_early = matches!(reply.status, 409 | 503) && begun.elapsed() < RECOVERED_WITHIN;
            match reply.status {
                200 => return Ok(()),
                _ if is_early => std::thread::sleep(Duration::from_millis(100)),
                status => {
                    let answer = format!("{status} {}", reply.body);
                    return Err(ClusterError::failed(path, answer));
                }
            }
        }
    }

    /// Waits until the nodes have paused the sale. Between the restore and this pause, no node may
    /// sell a unit. If a node does, [`Self::lower_stock`] or the final audit fails.
    fn wait_until_paused(&self) -> Result<(), ClusterError> {
        let (begun, path) = (Instant::now(), format!("/v1/admin/sales/{}", self.sale));
        loop {
            let sale = self.admin_request("GET", &path, "", 200)?.json();
            if sale["phase"] == json!("paused") {
                return Ok(());
            }
            if begun.elapsed() > RECOVERED_WITHIN {
                let what =
                    format!("the phase of the sale is {}, but must be paused", sale["phase"]);
                return Err(ClusterError::failed("waiting for the pause", what));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

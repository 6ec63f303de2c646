//! The background jobs that change stock without a request from a buyer. Each job is one task. The
//! store's rows stay correct even if a job fails or runs twice.

mod adjust;
mod audit;
pub(crate) mod auto_partitions;
mod catalogue_reload;
mod drain;
mod edge_feed;
mod expiry;
mod feed;
mod grant_check;
mod item_view;
mod job_signals;
mod late_payment;
mod leadership;
pub(crate) mod pool_recall;
pub mod publish_status;
mod publish_stock;
mod queue_selection;
mod rebuild_holders;
mod recall;
mod sale_schedule;
mod sales;
mod slot_cleanup;
mod slot_reconciliation;
mod slot_watch;
mod spread;
mod start_slot;
mod waitlist;
mod wakeups;

use std::sync::Arc;
use std::time::Duration;

use doorbuster_config::Roles;

use crate::database;
use crate::engine::Engine;
use crate::node::{Jobs, Node};

pub use adjust::AdjustResult;
pub use audit::{AuditView, FindingView, ItemAudit};
pub use job_signals::JobSignals;
pub use leadership::LEASE_MS;
pub(crate) use leadership::{LEASE_RENEWAL, renew_leases};
pub use slot_reconciliation::reconcile;
pub(crate) use slot_reconciliation::reconcile_all;

/// The time between two checks whether a log line about an outage is due.
const OUTAGE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Starts every job of this node's roles. A job of the leader pauses while another node leads.
pub fn start(engine: &Arc<Engine>, jobs: &Jobs, roles: Roles) {
    let node = &engine.node;
    jobs.start("outages", run_outages(node.clone()));
    jobs.start("status", publish_status::run(node.clone()));
    jobs.start("rebuild_holders", rebuild_holders::run(node.clone()));
    jobs.start("reload", catalogue_reload::run(engine.clone()));
    jobs.start("drain", drain::run(engine.clone()));
    jobs.start("reconcile", slot_reconciliation::run(engine.clone()));
    jobs.start("watch", slot_watch::run(engine.clone()));
    jobs.start("database", database::run(engine.clone()));
    jobs.start("leases", leadership::run(engine.clone(), roles));
    jobs.start("wakeups", wakeups::run(engine.clone()));
    jobs.start("recalls", wakeups::poll_recalls(node.clone()));
    jobs.start("waitlist_refusals", waitlist::notify_passed_over(node.clone()));
    if roles.settle {
        jobs.start("queues", queue_selection::run(engine.clone()));
    }
    if roles.control {
        jobs.start("publish", publish_stock::run(engine.clone()));
        jobs.start("edge_feed", edge_feed::run(node.clone()));
        jobs.start("phases", sale_schedule::run(engine.clone()));
        jobs.start("expiry", expiry::run(node.clone()));
        jobs.start("waitlist", waitlist::run(node.clone()));
        jobs.start("retire", slot_cleanup::run(engine.clone()));
        jobs.start("auto_partitions", auto_partitions::run(engine.clone()));
        jobs.start("audit", audit::run(engine.clone()));
    }
}

/// Logs outages until the program stops.
async fn run_outages(node: Arc<Node>) {
    loop {
        tokio::time::sleep(OUTAGE_CHECK_INTERVAL).await;
        node.outage_log().check(node.store().is_available());
    }
}

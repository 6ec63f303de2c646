//! The background jobs of a node. Each job is one task. The store's rows stay correct even if a job
//! fails, or if two nodes run the same job.
//!
//! A job that belongs to one part of the engine is in that part's module. All other jobs are here.

pub(crate) mod audit;
mod edge_feed;
mod expiry;
mod job_signals;
mod leadership;
pub mod publish_status;
mod publish_stock;
pub(crate) mod queue_selection;
mod rebuild_holders;
mod waitlist;
mod wakeups;

use std::sync::Arc;
use std::time::Duration;

use doorbuster_config::Roles;

use crate::catalogue_reader::{self, CatalogueReader};
use crate::database;
use crate::node::{Jobs, Node};
use crate::sales::{self, SaleControl};
use crate::stock::{self, StockControl};

pub use audit::{AuditView, FindingView, ItemAudit, audit};
pub use job_signals::JobSignals;
pub(crate) use job_signals::WakeReason;
pub use leadership::LEASE_MS;
pub(crate) use leadership::{LEASE_RENEWAL, keep_leases, renew_leases};
pub use queue_selection::concurrent_slots;
pub(crate) use queue_selection::select_queues;

const OUTAGE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Starts every job of this node's roles. The leader's jobs start on every node with the role
/// `control`. On a node that does not lead, they pause.
pub(crate) fn start(
    jobs: &Jobs,
    roles: Roles,
    stock: &Arc<StockControl>,
    catalogue_reader: &Arc<CatalogueReader>,
    sale_control: &Arc<SaleControl>,
) {
    let (node, slots) = (&stock.node, stock.slots());
    jobs.start("outages", run_outages(node.clone()));
    jobs.start("status", publish_status::run(node.clone()));
    jobs.start("rebuild_holders", rebuild_holders::run(node.clone()));
    jobs.start("reload", catalogue_reader::run(catalogue_reader.clone()));
    stock::start_jobs(stock, jobs, roles);
    jobs.start("database", database::run(node.clone()));
    jobs.start("leases", leadership::run(node.clone(), slots.clone(), roles));
    jobs.start("wakeups", wakeups::run(node.clone(), slots.clone()));
    jobs.start("recalls", wakeups::poll_recalls(node.clone()));
    jobs.start("waitlist_refusals", waitlist::notify_passed_over(node.clone()));
    if roles.settle {
        jobs.start("queues", queue_selection::run(node.clone(), slots.clone()));
    }
    if roles.control {
        jobs.start("publish", publish_stock::run(stock.clone()));
        jobs.start("edge_feed", edge_feed::run(node.clone()));
        jobs.start("expiry", expiry::run(node.clone()));
        jobs.start("waitlist", waitlist::run(node.clone()));
        sales::start_jobs(sale_control, jobs);
        jobs.start("audit", audit::run(sale_control.clone()));
    }
}

/// Runs until the program stops.
async fn run_outages(node: Arc<Node>) {
    loop {
        tokio::time::sleep(OUTAGE_CHECK_INTERVAL).await;
        node.outage_log().check(node.store().is_available());
    }
}

//! The background jobs that change stock without a request from a buyer. Each job is one task. The
//! store's rows stay correct even if a job fails or runs twice.

mod adjust;
mod audit;
pub(crate) mod auto_partitions;
mod drain;
mod edge_feed;
mod expiry;
mod gather;
mod grant_check;
mod late_payment;
mod leases;
mod phases;
mod publish;
mod queues;
mod rebuild_holders;
mod reconcile;
mod refill;
mod reload;
mod retire;
mod sales;
mod spread;
pub mod status;
mod waitlist;
mod wakeups;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use doorbuster_config::Roles;
use doorbuster_core::{ItemId, TicketId};
use tokio::sync::Notify;

use crate::database;
use crate::engine::{Engine, Jobs};
use crate::outages;
use crate::scheduler::{Scheduler, Work};

pub use adjust::AdjustResult;
pub use audit::{AuditView, FindingView, ItemAudit};
pub use leases::LEASE_MS;
pub(crate) use leases::{LEASE_RENEWAL, renew_leases};
pub use reconcile::reconcile;
pub(crate) use reconcile::reconcile_all;
pub(crate) use reload::CatalogueCheck;

/// Why an item needs to be reconciled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum WakeReason {
    /// The item's pool has units. Reconciliation is needed only if a slot has few units left.
    Pool,
    /// Any other reason.
    All,
}

/// The signals that wake the jobs.
#[derive(Debug, Default)]
pub struct JobSignals {
    items: Mutex<HashMap<ItemId, WakeReason>>,
    sales: Mutex<HashSet<Arc<str>>>,
    items_changed: Notify,
    sales_changed: Notify,
    catalogue_changed: Notify,
    pub(crate) queues_changed: Notify,
    drains_changed: Notify,
    /// Tickets that other nodes refused, if no request on this node waits for them. Such a ticket
    /// may belong to a waitlist entry that was passed over.
    foreign_refusals: waitlist::ForeignRefusals,
    /// Notified when a sale may have opened. After that, other nodes may recall units from this
    /// node's slots.
    sale_opened: Notify,
    loss_suspected: Notify,
    /// Notified when the edge feed may have changed.
    feed_changed: Notify,
    /// The number of calls of [`JobSignals::signal_events`].
    event_signal: tokio::sync::watch::Sender<u64>,
    /// Whether this node reconciles an item's slots after every commit for the item. Otherwise the
    /// node reconciles the slots only when the node itself needs units.
    reconciles_on_commit: AtomicBool,
    scheduler: Scheduler,
}

impl JobSignals {
    /// Wakes the reconciliation of an item. Call it if the pool has units for a slot, if a slot
    /// lacks feed rows, or if a parked request needs units.
    pub fn wake(&self, item: ItemId) {
        self.wake_for(item, WakeReason::All);
    }

    /// Wakes the reconciliation of an item after a commit that added feed rows for the item's
    /// slots. If several nodes can reconcile the item, only the leader reconciles it after such a
    /// commit.
    pub fn wake_by_commit(&self, item: ItemId) {
        if self.reconciles_on_commit.load(Ordering::Acquire) {
            self.wake_for(item, WakeReason::All);
        }
    }

    /// Wakes the reconciliation of an item after a commit that left units in the item's pool.
    pub fn wake_by_pool(&self, item: ItemId) {
        if self.reconciles_on_commit.load(Ordering::Acquire) {
            self.wake_for(item, WakeReason::Pool);
        }
    }

    fn wake_for(&self, item: ItemId, reason: WakeReason) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = items.entry(item).or_insert(reason);
        *kept = reason.max(*kept);
        drop(items);
        self.items_changed.notify_one();
    }

    /// Wakes the job that reads the catalogue again, because other nodes changed sales.
    pub fn reload(&self) {
        self.catalogue_changed.notify_one();
    }

    /// Wakes the job that checks the slots, because a slot may have lost its memory.
    pub fn suspect_loss(&self) {
        self.loss_suspected.notify_one();
    }

    /// Announces that a commit may have added events to the outbox.
    pub fn signal_events(&self) {
        self.event_signal.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Returns a receiver that wakes at every call of [`JobSignals::signal_events`].
    #[must_use]
    pub fn event_signal(&self) -> tokio::sync::watch::Receiver<u64> {
        self.event_signal.subscribe()
    }

    /// Records that another node refused a ticket for which no request on this node waits. If the
    /// ticket belongs to a waitlist entry, the entry's buyer may be connected to this node.
    pub fn refused_elsewhere(&self, id: TicketId) {
        self.foreign_refusals.push(id);
    }

    /// Returns whether this node is the leader now. The only purpose of a leader is to avoid
    /// duplicate work, so two leaders at the same time do no harm.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.scheduler.leads()
    }

    /// Returns the scheduler of delayed work.
    pub fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    /// Announces that the edge feed may have changed.
    pub(crate) fn signal_feed(&self) {
        self.feed_changed.notify_one();
    }

    /// Announces that the sale's status changed.
    pub fn status_changed(&self, sale: &Arc<str>) {
        if self.sales.lock().unwrap_or_else(PoisonError::into_inner).insert(sale.clone()) {
            self.sales_changed.notify_one();
        }
        self.signal_feed();
    }

    /// Wakes all jobs that depend on a sale's times or phase.
    pub fn wake_timed_jobs(&self) {
        self.scheduler.wake(Work::Phases);
        self.scheduler.wake(Work::Waitlists);
        self.queues_changed.notify_one();
        self.sale_opened.notify_one();
    }

    fn take_items(&self) -> HashMap<ItemId, WakeReason> {
        std::mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_sales(&self) -> HashSet<Arc<str>> {
        std::mem::take(&mut *self.sales.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts every job of this node's roles. A job of the leader pauses while another node leads.
pub fn start(engine: &Arc<Engine>, jobs: &Jobs, roles: Roles) {
    jobs.start("outages", outages::run(engine.clone()));
    jobs.start("status", status::run(engine.clone()));
    jobs.start("rebuild_holders", rebuild_holders::run(engine.clone()));
    jobs.start("reload", reload::run(engine.clone()));
    jobs.start("drain", drain::run(engine.clone()));
    jobs.start("reconcile", reconcile::run(engine.clone()));
    jobs.start("watch", watch::run(engine.clone()));
    jobs.start("database", database::run(engine.clone()));
    jobs.start("leases", leases::run(engine.clone(), roles));
    jobs.start("wakeups", wakeups::run(engine.clone()));
    jobs.start("recalls", wakeups::poll_recalls(engine.clone()));
    jobs.start("waitlist_refusals", waitlist::notify_passed_over(engine.clone()));
    if roles.settle {
        jobs.start("queues", queues::run(engine.clone()));
    }
    if roles.control {
        jobs.start("publish", publish::run(engine.clone()));
        jobs.start("edge_feed", edge_feed::run(engine.clone()));
        jobs.start("phases", phases::run(engine.clone()));
        jobs.start("expiry", expiry::run(engine.clone()));
        jobs.start("waitlist", waitlist::run(engine.clone()));
        jobs.start("retire", retire::run(engine.clone()));
        jobs.start("auto_partitions", auto_partitions::run(engine.clone()));
        jobs.start("audit", audit::run(engine.clone()));
    }
}

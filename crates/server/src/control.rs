//! Control: everything that happens to stock without a buyer asking. One task per job; safety never
//! rests on any of them.

mod adjust;
mod audit;
mod drain;
mod evidence;
mod expiry;
mod gather;
mod hints;
mod late;
mod lead;
mod line;
mod operate;
mod phases;
mod publish;
mod refill;
mod reload;
mod remember;
mod retire;
mod serve;
mod status;
mod tend;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use doorbuster_core::{ItemId, TicketId};
use tokio::sync::Notify;

use crate::config::Roles;
use crate::engine::{Engine, Jobs};

pub use adjust::Adjusted;
pub use audit::{AuditView, FindingView, ItemAudit};
pub(crate) use lead::lead_now;
pub(crate) use reload::LastLook;
pub(crate) use tend::{tend, tend_all};

/// Why an item is to be tended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Its pool has units: nothing to do where no slot is low.
    Pool,
    /// Whatever there may be.
    All,
}

/// What wakes the jobs.
#[derive(Debug, Default)]
pub struct Control {
    items: Mutex<HashMap<ItemId, Why>>,
    sales: Mutex<HashSet<Arc<str>>>,
    items_changed: Notify,
    sales_changed: Notify,
    times_changed: Notify,
    catalogue_changed: Notify,
    served_changed: Notify,
    drains_changed: Notify,
    /// Units came back that are kept for those in line, or may be given to them since now.
    lines_changed: Notify,
    /// Refusals that another node wrote and nobody waits for here: of places in line, perhaps.
    refused: line::Refused,
    /// A sale may have opened: others may want what lies here.
    opened: Notify,
    suspicion: Notify,
    /// Raised when something happened that somebody may have to be told of.
    happened: tokio::sync::watch::Sender<u64>,
    /// Whether this node tends slots whenever a commit touches their item, rather than only when it
    /// needs units itself.
    tends: AtomicBool,
    /// Whether this node does the work of one for all.
    leads: AtomicBool,
}

impl Control {
    /// The item's pool or feed has something for a slot, or a parked request needs units.
    pub fn wake(&self, item: ItemId) {
        self.wake_for(item, Why::All);
    }

    /// A commit left something in an item's feed. Where many nodes could tend it, the leader does.
    pub fn wake_by_commit(&self, item: ItemId) {
        if self.tends.load(Ordering::Acquire) {
            self.wake_for(item, Why::All);
        }
    }

    /// A commit left units in an item's pool.
    pub fn wake_by_pool(&self, item: ItemId) {
        if self.tends.load(Ordering::Acquire) {
            self.wake_for(item, Why::Pool);
        }
    }

    fn wake_for(&self, item: ItemId, why: Why) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = items.entry(item).or_insert(why);
        *kept = why.max(*kept);
        drop(items);
        self.items_changed.notify_one();
    }

    /// Other nodes changed sales: the catalogue is to be read again.
    pub fn reload(&self) {
        self.catalogue_changed.notify_one();
    }

    /// A slot may have lost its memory: it is to be looked at now.
    pub fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Something happened that somebody may have to be told of.
    pub fn happen(&self) {
        self.happened.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Hears when something happened.
    #[must_use]
    pub fn happened(&self) -> tokio::sync::watch::Receiver<u64> {
        self.happened.subscribe()
    }

    /// Units are kept for those in line: they are served at once.
    pub fn serve_lines(&self) {
        self.lines_changed.notify_one();
    }

    /// Another node refused a ticket that this node never waited for: whoever had a place in line
    /// by that id may listen here.
    pub fn refused_elsewhere(&self, id: TicketId) {
        self.refused.push(id);
    }

    /// Whether this node does the work of one for all now. Saves work; nothing is safe because of
    /// it.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leads.load(Ordering::Acquire)
    }

    /// The sale's status changed.
    pub fn announce(&self, sale: &Arc<str>) {
        if self.sales.lock().unwrap_or_else(PoisonError::into_inner).insert(sale.clone()) {
            self.sales_changed.notify_one();
        }
    }

    /// A sale's times or phase changed.
    pub fn retime(&self) {
        self.times_changed.notify_one();
        self.served_changed.notify_one();
        self.opened.notify_one();
        self.lines_changed.notify_one();
    }

    fn take_items(&self) -> HashMap<ItemId, Why> {
        std::mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_sales(&self) -> HashSet<Arc<str>> {
        std::mem::take(&mut *self.sales.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts every job of this node's roles. Those that one node does for all rest on the others.
pub(crate) fn start(engine: &Arc<Engine>, jobs: &Jobs, roles: Roles) {
    jobs.start("status", status::run(engine.clone()));
    jobs.start("remember", remember::run(engine.clone()));
    jobs.start("reload", reload::run(engine.clone()));
    jobs.start("drain", drain::run(engine.clone()));
    jobs.start("tend", tend::run(engine.clone()));
    jobs.start("watch", watch::run(engine.clone()));
    jobs.start("lead", lead::run(engine.clone(), roles));
    jobs.start("hints", hints::run(engine.clone()));
    jobs.start("errands", hints::run_errands(engine.clone()));
    jobs.start("places", line::tell_from_elsewhere(engine.clone()));
    if roles.settle {
        jobs.start("serve", serve::run(engine.clone()));
    }
    if roles.control {
        jobs.start("publish", publish::run(engine.clone()));
        jobs.start("phases", phases::run(engine.clone()));
        jobs.start("expiry", expiry::run(engine.clone()));
        jobs.start("lines", line::run(engine.clone()));
        jobs.start("retire", retire::run(engine.clone()));
        jobs.start("audit", audit::run(engine.clone()));
    }
}

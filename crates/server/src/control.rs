//! Control: everything that happens to stock without a buyer asking. One task per job; safety never rests on any of them.

mod audit;
mod expiry;
mod operate;
mod phases;
mod recall;
mod status;
mod tend;
mod watch;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use doorbuster_core::ItemId;
use tokio::sync::Notify;

use crate::engine::{Engine, Jobs};

pub use audit::{AuditView, FindingView, ItemAudit};
pub use recall::Adjusted;
pub(crate) use tend::{tend, tend_all};

/// What wakes the jobs.
#[derive(Debug, Default)]
pub struct Control {
    items: Mutex<HashSet<ItemId>>,
    sales: Mutex<HashSet<Arc<str>>>,
    items_changed: Notify,
    sales_changed: Notify,
    times_changed: Notify,
}

impl Control {
    /// The item's pool or feed has something for its slot.
    pub fn wake(&self, item: ItemId) {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).insert(item);
        self.items_changed.notify_one();
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
    }

    fn take_items(&self) -> HashSet<ItemId> {
        std::mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn take_sales(&self) -> HashSet<Arc<str>> {
        std::mem::take(&mut *self.sales.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Starts every job.
pub(crate) fn start(engine: &Arc<Engine>, jobs: &Jobs) {
    jobs.start("tend", tend::run(engine.clone()));
    jobs.start("phases", phases::run(engine.clone()));
    jobs.start("expiry", expiry::run(engine.clone()));
    jobs.start("watch", watch::run(engine.clone()));
    jobs.start("status", status::run(engine.clone()));
    jobs.start("audit", audit::run(engine.clone()));
}

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
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::engine::Engine;

pub use audit::{AuditView, FindingView, ItemAudit};
pub use recall::Adjusted;
pub(crate) use tend::tend;

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

/// Starts every job; they end with `stop`.
pub fn spawn(engine: &Arc<Engine>, tasks: &TaskTracker, stop: &CancellationToken) {
    let start = |job: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        let stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! { () = stop.cancelled() => {} () = job => {} }
        });
    };
    start(Box::pin(tend::run(engine.clone())));
    start(Box::pin(phases::run(engine.clone())));
    start(Box::pin(expiry::run(engine.clone())));
    start(Box::pin(watch::run(engine.clone())));
    start(Box::pin(status::run(engine.clone())));
    start(Box::pin(audit::run(engine.clone())));
}

//! The catalogue that all tasks of the node share.
//!
//! This part of a node owns the catalogue, and knows up to which version of the store's catalogue
//! it is complete. It calls no other part of the node. Four sources change the catalogue: requests
//! of operators, the start and end times of sales, reads of the store, and the edge feed.
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::time::Instant;

use super::Catalogue;

#[derive(Debug, Default)]
pub(crate) struct SharedCatalogue {
    current: ArcSwap<Catalogue>,
    change_lock: Mutex<()>,
    /// When this node last checked the store for changes, and what version it found.
    pub(crate) last_check: tokio::sync::Mutex<CatalogueCheck>,
}

#[derive(Debug, Default)]
pub(crate) struct CatalogueCheck {
    pub(crate) began: Option<Instant>,
    /// The catalogue has all changes up to this version of the store's catalogue.
    pub(crate) version: Option<String>,
}

impl SharedCatalogue {
    /// Returns the present catalogue. The returned catalogue stays the same when a later change
    /// replaces it.
    pub(crate) fn load(&self) -> Guard<Arc<Catalogue>> {
        self.current.load()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Catalogue)) {
        let _guard = self.change_lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Catalogue::clone(&self.current.load());
        change(&mut next);
        self.current.store(Arc::new(next));
    }
}

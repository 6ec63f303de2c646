//! The catalogue that all tasks of the node share.
//!
//! This part of a node owns the catalogue, and knows which version of the store's catalogue
//! this node has. It calls no other part of the node. Changes come from operators, from the times
//! of sales, from the store, and from the edge feed.
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::time::Instant;

use super::Catalogue;

#[derive(Debug, Default)]
pub(crate) struct SharedCatalogue {
    current: ArcSwap<Catalogue>,
    change_lock: Mutex<()>,
    /// The newest check for changes in the store.
    pub(crate) last_check: tokio::sync::Mutex<CatalogueCheck>,
}

#[derive(Debug, Default)]
pub(crate) struct CatalogueCheck {
    pub(crate) began: Option<Instant>,
    /// The node has the whole catalogue up to this version.
    pub(crate) version: Option<String>,
}

impl SharedCatalogue {
    /// A later change does not affect the returned catalogue.
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

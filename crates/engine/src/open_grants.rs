//! An item's open grants, as this node last read them. If a slot loses its memory, its grant is
//! closed, and the tickets without a verdict are lost. So a request that waits for a verdict must
//! check whether its ticket's grant is still open.
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use doorbuster_core::{GrantId, ItemId};
use doorbuster_steps::purchase::GRANTS_READ_INTERVAL_MS;
use doorbuster_store::Store;
use tokio::time::Instant;

const READ_INTERVAL: Duration = Duration::from_millis(GRANTS_READ_INTERVAL_MS);

/// An item's open grants at the last read.
#[derive(Debug, Default)]
pub struct OpenGrants {
    last: Mutex<Option<(Instant, Vec<GrantId>)>>,
    reading: tokio::sync::Mutex<()>,
}

impl OpenGrants {
    /// Returns whether this grant is closed. If the last read of the grants is not recent, reads
    /// them now. Returns `false` if this is not known, because another request is reading the
    /// grants or because the read fails.
    pub async fn is_closed(&self, store: &Store, item: ItemId, grant: GrantId) -> bool {
        if let Some(is_closed) = self.last_answer(grant) {
            return is_closed;
        }
        let Ok(_guard) = self.reading.try_lock() else { return false };
        let Ok(grants) = store.grants(item).await else { return false };
        let open: Vec<GrantId> =
            grants.into_iter().filter(|grant| grant.open).map(|grant| grant.id).collect();
        let is_closed = !open.contains(&grant);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), open));
        is_closed
    }

    /// Returns whether the last read showed that this grant is closed. Returns `None` if the last
    /// read is too old.
    fn last_answer(&self, grant: GrantId) -> Option<bool> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, open) = last.as_ref().filter(|(read, _)| read.elapsed() < READ_INTERVAL)?;
        Some(!open.contains(&grant))
    }
}

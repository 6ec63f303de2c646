//! Waits for a ticket's verdict. Where a slot can lose its memory while this node lives, it also
//! finds out that the ticket died with it: then the request is put again, under the slot's next
//! epoch, as long as nobody heard the ticket's id.
use std::sync::PoisonError;
use std::time::Duration;

use doorbuster_core::GrantId;
use doorbuster_core::settle::Resolved;
use doorbuster_core::slot::IssuedTicket;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Asker, Purchase};
use crate::catalogue::ItemState;
use crate::engine::Engine;

/// A verdict that takes longer than this makes the node look whether the ticket's grant is still
/// open.
const PATIENCE: Duration = Duration::from_millis(300);
/// Between two readings of an item's open grants for whoever waits.
const READ_EVERY: Duration = Duration::from_millis(200);

/// Why no verdict was heard.
pub(super) enum Silence {
    /// The ticket's grant is closed, and the verdict may never come.
    Gone,
    /// Not yet.
    NotYet,
}

/// An item's open grants as read last.
#[derive(Debug, Default)]
pub struct OpenGrants {
    read: Option<Instant>,
    grants: Vec<GrantId>,
}

impl Engine {
    pub(super) async fn hear(
        &self,
        purchase: &Purchase,
        cut: &IssuedTicket,
        mut verdict: oneshot::Receiver<Resolved>,
        asker: Asker,
    ) -> Result<Resolved, Silence> {
        // A slot in this node's memory dies with whoever waits here; its tickets are settled here.
        let may_die = !self.layout().is_own() && asker.is_first;
        let mut until = match may_die {
            true => asker.until.min(Instant::now() + PATIENCE),
            false => asker.until,
        };
        loop {
            if let Ok(said) = tokio::time::timeout_at(until, &mut verdict).await {
                return said.map_err(|_| Silence::NotYet);
            }
            if until == asker.until {
                return Err(Silence::NotYet);
            }
            if Box::pin(self.is_gone(&purchase.item, cut.grant)).await {
                // It may have been told while the grants were read.
                return verdict.try_recv().map_err(|_| Silence::Gone);
            }
            until = asker.until.min(Instant::now() + READ_EVERY);
        }
    }

    /// Whether this grant is closed, as of a reading a moment ago; one reading serves everybody who
    /// waits. False when it cannot be read.
    async fn is_gone(&self, item: &ItemState, grant: GrantId) -> bool {
        let known = || {
            let open = item.work.open_grants.lock().unwrap_or_else(PoisonError::into_inner);
            let is_fresh = open.read.is_some_and(|read| read.elapsed() < READ_EVERY);
            is_fresh.then(|| !open.grants.contains(&grant))
        };
        if let Some(gone) = known() {
            return gone;
        }
        let Ok(_alone) = item.work.reading.try_lock() else { return false };
        let Ok(grants) = self.store().grants(item.row.id).await else { return false };
        let grants: Vec<GrantId> =
            grants.into_iter().filter(|grant| grant.open).map(|grant| grant.id).collect();
        let gone = !grants.contains(&grant);
        *item.work.open_grants.lock().unwrap_or_else(PoisonError::into_inner) =
            OpenGrants { read: Some(Instant::now()), grants };
        gone
    }
}

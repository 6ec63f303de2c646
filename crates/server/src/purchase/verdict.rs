//! Waits for a ticket's verdict. A slot can lose its memory while this node runs. The node then
//! detects that the ticket is lost. If the ticket's id was never published, the node requests a new
//! ticket under the slot's next epoch.
use std::sync::PoisonError;
use std::time::Duration;

use doorbuster_core::GrantId;
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::slot::IssuedTicket;
use doorbuster_steps::purchase::{GRANT_CHECK_AFTER_MS, GRANTS_READ_EVERY_MS};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Purchase, VerdictWait};
use crate::catalogue::ItemState;
use crate::engine::Engine;

const GRANT_CHECK_AFTER: Duration = Duration::from_millis(GRANT_CHECK_AFTER_MS);
const READ_EVERY: Duration = Duration::from_millis(GRANTS_READ_EVERY_MS);

/// The reason why there is no verdict.
pub(super) enum NoVerdict {
    /// The ticket's grant is closed, so the verdict may never come.
    GrantClosed,
    /// The verdict has not come yet.
    Pending,
}

/// An item's open grants at the last read.
#[derive(Debug, Default)]
pub struct OpenGrants {
    read: Option<Instant>,
    grants: Vec<GrantId>,
}

impl Engine {
    pub(super) async fn receive_verdict(
        &self,
        purchase: &Purchase,
        ticket: &IssuedTicket,
        mut verdict: oneshot::Receiver<TicketVerdict>,
        verdict_wait: VerdictWait,
    ) -> Result<TicketVerdict, NoVerdict> {
        // If the slot is in this node's memory, the slot is lost only together with the waiting
        // requests. Only this node settles the slot's tickets.
        let may_die = !self.layout().is_node_local() && verdict_wait.is_first;
        let mut until = match may_die {
            true => verdict_wait.until.min(Instant::now() + GRANT_CHECK_AFTER),
            false => verdict_wait.until,
        };
        loop {
            if let Ok(received) = tokio::time::timeout_at(until, &mut verdict).await {
                return received.map_err(|_| NoVerdict::Pending);
            }
            if until == verdict_wait.until {
                return Err(NoVerdict::Pending);
            }
            if Box::pin(self.is_grant_closed(&purchase.item, ticket.grant)).await {
                // The verdict may have arrived while the grants were read.
                return verdict.try_recv().map_err(|_| NoVerdict::GrantClosed);
            }
            until = verdict_wait.until.min(Instant::now() + READ_EVERY);
        }
    }

    /// Returns whether a recent read shows that this grant is closed. One read serves all waiting
    /// requests. Returns `false` if the grants cannot be read.
    async fn is_grant_closed(&self, item: &ItemState, grant: GrantId) -> bool {
        let cached = || {
            let open = item.work.open_grants.lock().unwrap_or_else(PoisonError::into_inner);
            let is_fresh = open.read.is_some_and(|read| read.elapsed() < READ_EVERY);
            is_fresh.then(|| !open.grants.contains(&grant))
        };
        if let Some(gone) = cached() {
            return gone;
        }
        let Ok(_guard) = item.work.reading_grants.try_lock() else { return false };
        let Ok(grants) = self.store().grants(item.row.id).await else { return false };
        let grants: Vec<GrantId> =
            grants.into_iter().filter(|grant| grant.open).map(|grant| grant.id).collect();
        let gone = !grants.contains(&grant);
        *item.work.open_grants.lock().unwrap_or_else(PoisonError::into_inner) =
            OpenGrants { read: Some(Instant::now()), grants };
        gone
    }
}

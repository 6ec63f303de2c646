//! Sends refunds to the provider; only the leader does this. The leader requests each refund until
//! the provider accepts the refund. Then the leader asks for the refund's progress until the money
//! has arrived. The refund's id is the idempotency key, so a repeated request makes no second
//! refund.

use doorbuster_base::failpoint::{self, Failpoint};
use doorbuster_core::money::{Refund, RefundId, RefundState, RefundUpdate};
use doorbuster_engine::error::EngineError;
use doorbuster_engine::outage_log;
use doorbuster_engine::scheduler::{NextRun, Work};
use futures_util::StreamExt;

use super::{Payments, RefundStep};

const PAGE_SIZE: usize = 128;
const AT_ONCE: usize = 8;
/// The longest error text that is stored for a refund, in characters. The rest of a longer text is
/// cut off.
const ERROR_CHARS_MAX: usize = 300;

impl Payments {
    pub(super) async fn settle_refunds(&self) {
        let (mut turns, mut next) = (self.node.turns(Work::Refunds), NextRun::Now);
        loop {
            turns.wait(next).await;
            next = self.check_refunds().await.unwrap_or_else(|error| {
                outage_log::warn!(
                    self.node.outage_log(),
                    error,
                    event = "payment.refunds_unread",
                    "failed to read refunds; will retry"
                );
                NextRun::Idle
            });
        }
    }

    async fn check_refunds(&self) -> Result<NextRun, EngineError> {
        let due = self.node.store().refunds_due(PAGE_SIZE).await?;
        let is_full = due.len() == PAGE_SIZE;
        let checks = futures_util::stream::iter(due).map(|refund| self.check_refund(refund));
        let asking =
            checks.buffer_unordered(AT_ONCE).fold(true, async |all_noted, result| match result {
                Ok(()) => all_noted,
                Err(error) => {
                    outage_log::warn!(
                        self.node.outage_log(),
                        error,
                        event = "payment.refund_unstored",
                        "failed to store a provider's answer about a refund; will retry"
                    );
                    false
                }
            });
        if !asking.await {
            // If an answer was not stored, its refund is still due. Without this pause, the server
            // would repeat the request at once.
            return Ok(NextRun::Idle);
        }
        if is_full {
            return Ok(NextRun::Now);
        }
        let next = self.node.store().next_refund_due().await?;
        Ok(next.map_or(NextRun::Idle, NextRun::At))
    }

    async fn check_refund(&self, refund: Refund) -> Result<(), EngineError> {
        failpoint::reach(Failpoint::RefundDue);
        let result = match () {
            () if refund.provider != self.provider.name() => {
                let why = format!(
                    "payment.provider is {}, but this refund belongs to {}",
                    self.provider.name(),
                    refund.provider
                );
                Err(super::contract::ProviderError::unavailable(why))
            }
            () if refund.accepted => self.provider.refund_status(&refund).await,
            () => self.provider.refund(&refund).await,
        };
        failpoint::reach(Failpoint::RefundAsked);
        let update = result.unwrap_or_else(|error| {
            RefundUpdate::Failed(error.why.chars().take(ERROR_CHARS_MAX).collect())
        });
        let step = match &update {
            RefundUpdate::Accepted { .. } | RefundUpdate::CheckAgain { .. } => RefundStep::Accepted,
            RefundUpdate::Settled | RefundUpdate::Arrived(_) => RefundStep::Settled,
            RefundUpdate::Failed(_) | RefundUpdate::CameBack(_) => RefundStep::Failed,
        };
        self.meter.refunds[step as usize].add_one();
        let has_come_back = matches!(update, RefundUpdate::CameBack(_));
        let noted = self.node.store().answer_refund(refund, update).await?;
        failpoint::reach(Failpoint::RefundNoted);
        if let Some(refund) = noted.filter(|refund| refund.state == RefundState::Failed) {
            let error = refund.error.as_deref().unwrap_or_default();
            if has_come_back {
                log_failed_refund(&refund.id, error);
                return Ok(());
            }
            tracing::error!(
                refund = refund.id.0,
                error,
                event = "payment.refund_dead",
                "the refund failed and is a dead letter; an operator must resolve it"
            );
        }
        Ok(())
    }
}

/// Logs that a refund failed after the provider had accepted it: the money came back, or the
/// provider never sent it.
pub(super) fn log_failed_refund(refund: &RefundId, why: &str) {
    tracing::error!(
        refund = refund.0,
        why,
        event = "payment.refund_failed",
        "a refund failed at the provider; an operator must resolve it"
    );
}

//! Asks the provider for each refund until it takes it, then how far it is until it arrived. Run by
//! the leader; the refund's id is the key, so that whoever asks twice asks for one.
use std::time::Duration;

use doorbuster_core::money::{Refund, RefundState, RefundUpdate};
use futures_util::StreamExt;

use super::{Payments, RefundStep};
use crate::engine::EngineError;
use crate::failpoint::{self, Point};

/// Refunds that are read at once.
const PAGE: usize = 128;
/// Refunds that are asked for at the same time.
const AT_ONCE: usize = 8;
/// Longest time between two looks: another node may have decided a refund.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Shortest time between two looks.
const CHECK_SPACING: Duration = Duration::from_millis(20);
/// Longest error that is kept, in characters; the rest is cut off.
const ERROR_CHARS_MAX: usize = 300;

impl Payments {
    /// Asks until the program stops.
    pub(super) async fn settle_refunds(&self) {
        loop {
            let wait = match self.leads() {
                true => self.check_refunds().await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "refunds could not be looked for");
                    POLL_EVERY
                }),
                false => POLL_EVERY,
            };
            tokio::time::sleep(CHECK_SPACING).await;
            drop(tokio::time::timeout(wait, self.refunds.notified()).await);
        }
    }

    /// Asks for every refund that is due; says how long to wait.
    async fn check_refunds(&self) -> Result<Duration, EngineError> {
        let due = self.engine.store().refunds_due(PAGE).await?;
        let is_full = due.len() == PAGE;
        let asking = futures_util::stream::iter(due).map(|refund| self.check_refund(refund)).buffer_unordered(AT_ONCE).fold(
            true,
            async |all_noted, asked| match asked {
                Ok(()) => all_noted,
                Err(error) => {
                    tracing::warn!(%error, "what a provider said of a refund could not be written down");
                    false
                }
            },
        );
        if !asking.await {
            // They are due still: without a rest the provider would hear of them again and again,
            // as fast as it answers.
            return Ok(POLL_EVERY);
        }
        if is_full {
            return Ok(Duration::ZERO);
        }
        let next = self.engine.store().next_refund_due().await?;
        let until = next.map(|next| {
            Duration::from_millis((next.0 - self.engine.now().0).max(0).unsigned_abs())
        });
        Ok(until.unwrap_or(POLL_EVERY).min(POLL_EVERY))
    }

    async fn check_refund(&self, refund: Refund) -> Result<(), EngineError> {
        failpoint::pass(Point::RefundDue);
        let asked = match () {
            () if refund.provider != self.provider.name() => {
                let why = format!(
                    "payment.provider is {}, and this is of {}",
                    self.provider.name(),
                    refund.provider
                );
                Err(super::provider::ProviderError::unavailable(why))
            }
            () if refund.accepted => self.provider.refund_status(&refund).await,
            () => self.provider.refund(&refund).await,
        };
        failpoint::pass(Point::RefundAsked);
        let news = asked.unwrap_or_else(|error| {
            RefundUpdate::Failed(error.why.chars().take(ERROR_CHARS_MAX).collect())
        });
        self.meter.count_refund(match &news {
            RefundUpdate::Accepted { .. } | RefundUpdate::CheckAgain { .. } => RefundStep::Accepted,
            RefundUpdate::Settled | RefundUpdate::Arrived(_) => RefundStep::Settled,
            RefundUpdate::Failed(_) | RefundUpdate::CameBack(_) => RefundStep::Failed,
        });
        let noted = self.engine.store().answer_refund(refund, news).await?;
        failpoint::pass(Point::RefundNoted);
        if let Some(refund) = noted.filter(|refund| refund.state == RefundState::Failed) {
            let error = refund.error.as_deref().unwrap_or_default();
            tracing::error!(
                refund = refund.id.0,
                error,
                "a refund was given up: an operator must look"
            );
        }
        Ok(())
    }
}

//! Checks the effect of a provider's report on a refund.
use doorbuster_core::Millis;
use doorbuster_core::money::{Refund, RefundState, RefundUpdate};

use super::Checker;
use super::money::came_back;
use super::rows_before::RowsBefore;

/// The server gives up a refund after this many failed requests.
const REFUND_TRIES: u32 = 12;

impl Checker {
    /// Checks the effect of a provider's message about a refund. A message about a failure must
    /// make a pending refund fail, and must not change the state of a refund that is not pending.
    pub(super) fn refund_message(
        &mut self,
        update: &RefundUpdate,
        before: &RowsBefore,
        now: Option<&Refund>,
    ) {
        let (RefundUpdate::Failed(_), Some(was)) = (update, &before.refund) else {
            return self.refund_update(update, before, now);
        };
        let expected = match was.state {
            RefundState::Pending => RefundState::Failed,
            state => state,
        };
        self.check(now.is_some_and(|now| now.state == expected), "refund", || {
            format!("a message about a failure changed the refund from {was:?} to {now:?}")
        });
    }

    fn refund_update(&mut self, update: &RefundUpdate, before: &RowsBefore, now: Option<&Refund>) {
        let (Some(was), Some(now)) = (&before.refund, now) else {
            return self.check(before.refund.is_none() && now.is_none(), "I5", || {
                "a message created or deleted a refund".into()
            });
        };
        let is_over = was.state == RefundState::Settled
            || (was.state == RefundState::Failed && came_back(was));
        if is_over && !matches!(update, RefundUpdate::CameBack(_)) {
            return self.check(was == now, "I5", || {
                format!("the refund {was:?} was final, but changed to {now:?}")
            });
        }
        let expected = match update {
            RefundUpdate::Accepted { .. } => RefundState::Pending,
            RefundUpdate::Arrived(minor) if *minor < was.money.minor => RefundState::Pending,
            RefundUpdate::Settled | RefundUpdate::Arrived(_) => RefundState::Settled,
            RefundUpdate::Failed(_) if was.tries + 1 >= REFUND_TRIES => RefundState::Failed,
            RefundUpdate::Failed(_) => was.state,
            RefundUpdate::CameBack(_) => RefundState::Failed,
            RefundUpdate::CheckAgain { .. } => RefundState::Pending,
        };
        self.check(now.state == expected, "refund", || {
            format!("the message {update:?} changed the refund from {was:?} to {now:?}")
        });
        if expected == RefundState::Failed {
            self.count_case("refund given up");
        }
    }

    /// Checks the effect of the provider's answer about a refund. The answer is late if the
    /// refund's row changed after the query. A late answer must leave the row unchanged, or make
    /// the server query the provider again.
    pub(super) fn refund_answer(
        &mut self,
        (sent, update, at): (&Refund, &RefundUpdate, Millis),
        before: &RowsBefore,
        now: Option<&Refund>,
    ) {
        let is_late = |was: &&Refund| *was != sent && !matches!(update, RefundUpdate::Failed(_));
        let Some(was) = before.refund.as_ref().filter(is_late) else {
            return self.refund_update(update, before, now);
        };
        let asks = match update {
            RefundUpdate::Accepted { .. }
                if was.state == RefundState::Failed && was.tries < REFUND_TRIES =>
            {
                false
            }
            RefundUpdate::Accepted { .. } | RefundUpdate::Settled => {
                was.state != RefundState::Settled && !came_back(was)
            }
            RefundUpdate::CameBack(_) => was.state == RefundState::Settled,
            _ => false,
        };
        let is_asked =
            |now: &Refund| now.state == RefundState::Pending && now.accepted && now.next_at == at;
        let right = if asks { now.is_some_and(is_asked) } else { now == Some(was) };
        self.check(right, "refund", || {
            format!(
                "the late answer {update:?} to the request {sent:?} changed the refund from {was:?} \
                 to {now:?}"
            )
        });
        self.count_case("refund answered late");
    }
}

//! A failed event in a delivery queue, and the tries before its `next_at`.

use super::{PendingDelivery, SendOutcome};
use crate::backoff::with_jitter;
use crate::limits::BREAKER_PAUSE_MAX_MS;
use crate::value::Millis;

#[derive(Clone, Debug)]
pub(super) struct PendingRow {
    pub(super) parcel: PendingDelivery,
    /// Whether the store has recorded the row.
    pub(super) saved: bool,
    /// The time of a try before `next_at`, or `None` if no such try is planned. Such an early try
    /// does not count as one of the event's tries.
    pub(super) early_at: Option<Millis>,
    /// When this queue recorded the outcome of the last try.
    tried_at: Option<Millis>,
}

impl PendingRow {
    pub(super) fn new(parcel: PendingDelivery, saved: bool) -> Self {
        Self { parcel, saved, early_at: None, tried_at: None }
    }

    pub(super) fn due_at(&self) -> Millis {
        self.early_at.map_or(self.parcel.next_at, |early| early.min(self.parcel.next_at))
    }

    /// Plans an early try a minute after a failure, because the endpoint may then work again. But
    /// suppose that the endpoint answered another event after the last try, and an early try of
    /// this event fails again. The endpoint then probably fails only for this event. So no further
    /// early try is planned, and the event waits for its `next_at`.
    pub(super) fn plan_early_try(
        &mut self,
        outcome: &SendOutcome,
        counts: bool,
        answered_at: Option<Millis>,
        now: Millis,
        spread: u32,
    ) {
        let fails_alone = !counts && answered_at > self.tried_at;
        let is_early = match outcome {
            SendOutcome::Failed { .. } => !fails_alone,
            SendOutcome::Deferred { .. } => true,
            _ => false,
        };
        self.early_at = is_early.then(|| now.plus(with_jitter(BREAKER_PAUSE_MAX_MS, spread)));
        self.tried_at = Some(now);
    }

    /// Records the error of an early try. The tries and `next_at` stay the same. Returns the
    /// changed row. Returns `None` if the row already has this error.
    pub(super) fn replace_error(&mut self, error: &str) -> Option<PendingDelivery> {
        if self.parcel.error.as_deref() == Some(error) {
            return None;
        }
        self.parcel.error = Some(error.to_owned());
        Some(self.parcel.clone())
    }
}

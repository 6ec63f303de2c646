//! The cutoffs before which old rows may be deleted.
use doorbuster_core::Millis;

/// The rules for the deletion of old rows. Rows that are still needed are kept. Blocks that have
/// ended are deleted without a cutoff.
#[derive(Clone, Copy, Debug)]
pub struct RetentionCutoffs {
    /// Events that are not about an order. An event is kept until all enabled endpoints have passed
    /// it, and while it has a pending or dead delivery.
    pub events_before: Millis,
    /// Dead or discarded deliveries, and dead letters of tickets. They are deleted even if no
    /// operator has resolved them. The verdict of a ticket is kept.
    pub dead_before: Millis,
    /// Ids of handled provider messages. A repeated message has no effect even without its id,
    /// because the store still knows the payment's id.
    pub inbox_before: Millis,
    /// Operators' actions.
    pub actions_before: Millis,
    /// A sale's statistics for each second.
    pub seconds_before: Millis,
    /// A sale's statistics for each minute. They are kept if the sale is not closed, or if it
    /// closed at this time or later.
    pub minutes_before: Millis,
    /// Browsers' subscriptions that end before this time.
    pub subscriptions_before: Millis,
    /// The number of browsers' subscriptions that are kept. If there are more, the subscriptions
    /// that end first are deleted.
    pub subscriptions_max: u32,
}

impl RetentionCutoffs {
    /// Cutoffs that delete no rows by their age.
    pub const NONE: Self = Self {
        events_before: Millis(0),
        dead_before: Millis(0),
        inbox_before: Millis(0),
        actions_before: Millis(0),
        seconds_before: Millis(0),
        minutes_before: Millis(0),
        subscriptions_before: Millis(0),
        subscriptions_max: u32::MAX,
    };
}

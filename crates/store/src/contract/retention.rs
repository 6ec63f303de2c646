//! The cutoffs before which old rows may be deleted.
use doorbuster_core::Millis;

/// The rules for the deletion of old rows: each cutoff says which rows it deletes. Blocks that have
/// ended are deleted without a cutoff.
#[derive(Clone, Copy, Debug)]
pub struct RetentionCutoffs {
    /// Deletes events from before this time, except events about orders. Also keeps an event if an
    /// enabled endpoint's position is before it, or if it has a pending or dead delivery.
    pub events_before: Millis,
    /// Deletes dead and discarded deliveries, and dead letters of tickets, from before this time,
    /// even if no operator has resolved them. The verdict of a ticket is kept.
    pub dead_before: Millis,
    /// Deletes the ids of provider messages that were handled before this time. A repeated message
    /// has no effect even without its id, because the store still knows the payment's id.
    pub inbox_before: Millis,
    /// Deletes operators' actions from before this time.
    pub actions_before: Millis,
    /// Deletes a sale's statistics for each second from before this time.
    pub seconds_before: Millis,
    /// Deletes the statistics of minutes before this time, if their sale also closed before this
    /// time.
    pub minutes_before: Millis,
    /// Deletes browsers' subscriptions that end before this time.
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

//! Which rows may be deleted.
use doorbuster_core::Millis;

use super::PointStep;

/// Which rows may be deleted: rows that are older than these times and that nothing needs.
#[derive(Clone, Copy, Debug)]
pub struct RetentionCutoffs {
    /// Events that concern no order and that every endpoint has passed. The history of an order is
    /// kept.
    pub events_before: Millis,
    /// Dead or discarded deliveries, and dead letters of tickets, whether or not an operator has
    /// resolved them. The verdict of a ticket is kept.
    pub dead_before: Millis,
    /// Ids of handled provider messages. A payment is also identified by its own id.
    pub inbox_before: Millis,
    /// Operators' actions.
    pub actions_before: Millis,
    /// A sale's numbers by second.
    pub seconds_before: Millis,
    /// A sale's numbers by minute.
    pub minutes_before: Millis,
}

impl RetentionCutoffs {
    /// Deletes nothing.
    pub const NONE: Self = Self {
        events_before: Millis(0),
        dead_before: Millis(0),
        inbox_before: Millis(0),
        actions_before: Millis(0),
        seconds_before: Millis(0),
        minutes_before: Millis(0),
    };

    /// The time before which the numbers of each step may be deleted.
    pub(crate) fn points_before(&self) -> [(PointStep, Millis); 2] {
        [(PointStep::Second, self.seconds_before), (PointStep::Minute, self.minutes_before)]
    }
}

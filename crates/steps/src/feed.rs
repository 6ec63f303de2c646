//! Sends a slot the feed rows that it has not applied yet. Every effect may be repeated.
use doorbuster_core::slot::ApplyOutcome;
use doorbuster_core::{FeedRow, Seq};

/// The largest number of rows in one read and in one call to the slot.
pub const ROWS_MAX: usize = 1_000;

/// The next action of the driver. If the store or the slot does not answer, the driver drops this
/// feed. A later feed continues from the slot's position.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read at most [`ROWS_MAX`] rows of the grant's feed after this position. The result is
    /// [`Input::Rows`].
    ReadRows(Seq),
    /// Send the slot these rows. The result is [`Input::Applied`].
    Apply(Vec<FeedRow>),
    /// The feed has ended. The slot's state shows up to which position the slot has applied its
    /// feed.
    Finish,
}

/// The result of an effect.
#[derive(Clone, Debug)]
pub enum Input {
    /// The rows in their sequence.
    Rows(Vec<FeedRow>),
    /// The slot's answer to the rows.
    Applied(ApplyOutcome),
}

/// The feed of one slot.
#[derive(Clone, Debug)]
pub struct SlotFeed {
    /// The position of the last sent row.
    sent: Seq,
}

impl SlotFeed {
    /// Begins to feed a slot that has applied its feed up to the position `applied`.
    #[must_use]
    pub fn begin(applied: Seq) -> (Self, Effect) {
        (Self { sent: applied }, Effect::ReadRows(applied))
    }

    /// Takes the result of the last effect. Returns the next effect.
    pub fn next(&mut self, input: Input) -> Effect {
        match input {
            Input::Rows(rows) => match rows.last() {
                Some(last) => {
                    self.sent = last.seq;
                    Effect::Apply(rows)
                }
                None => Effect::Finish,
            },
            Input::Applied(ApplyOutcome::At(at)) if at >= self.sent => Effect::ReadRows(at),
            // The slot did not apply all rows, because it lacks earlier rows or has another grant.
            Input::Applied(ApplyOutcome::At(_) | ApplyOutcome::Foreign) => Effect::Finish,
        }
    }
}

#[cfg(test)]
mod tests;

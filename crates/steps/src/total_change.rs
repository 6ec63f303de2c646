//! Changes an item's total. If the total is lowered, the step takes free units: first from the
//! pool, and then from the slots. If too few units are free, the step waits a short time for
//! tickets in flight, which may return units. If too few units are free after this wait, the total
//! does not change.
use doorbuster_core::Millis;

/// How long a change waits for the units of tickets in flight, in milliseconds.
pub const WAIT_MAX_MS: i64 = 1_000;

/// The next action of the driver. If the store or a recall fails, the change fails. A client can
/// then repeat the change with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Change the total in the store ([`doorbuster_core::stock::adjust`]). The result is
    /// [`Input::Adjusted`].
    Adjust,
    /// Read from the store how many units are in the pool and in the slots. The step does not use
    /// the node's memory for this, because the memory may lack units that other nodes returned. The
    /// result is [`Input::Free`].
    ReadFree,
    /// Recall this number of units to the pool ([`crate::pool_recall`]). The result is
    /// [`Input::Recalled`].
    Recall(u64),
    /// Wait until the item's counts change, but at most for this number of milliseconds. If the
    /// counts have already changed since the last [`Effect::Adjust`], do not wait. The result is
    /// [`Input::Waited`].
    Wait(u64),
    /// Count the units in the pool, and the units that the slots can sell now. If not every slot
    /// can be read, also count the units of tickets in flight. The result is [`Input::Free`].
    CountFree,
    /// The store has changed the total, or has refused the change for good. The step has ended.
    Finish,
    /// The step has ended without a change, because only this number of units is free.
    Refuse(u64),
}

/// The result of an effect.
#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// `None` if no further units are needed: the store changed the total, or refused the change
    /// for another reason. Otherwise the number of units in the pool, which are too few for the
    /// change.
    Adjusted(Option<u64>),
    /// The free units.
    Free(u64),
    /// The number of units that moved to the pool.
    Recalled(u64),
    /// The wait has ended.
    Waited,
}

/// A change of an item's total.
#[derive(Clone, Debug)]
pub struct TotalChange {
    /// The number of units by which the total falls.
    units: u64,
    /// The units in the pool when the store last refused the change because of too few units.
    pool: u64,
    /// When the change stops waiting for units.
    until: Millis,
    /// Whether the change no longer waits for units.
    is_last: bool,
}

impl TotalChange {
    /// Begins to change a total. `units` is the difference between the new and the old total. `now`
    /// is the monotonic time.
    ///
    /// Until the step has ended, the driver must keep this node from reconciling the item's slots.
    /// Otherwise, the node would move the recalled units from the pool back to the slots.
    #[must_use]
    pub fn begin(units: u64, now: Millis) -> (Self, Effect) {
        let until = now.plus(WAIT_MAX_MS);
        (Self { units, pool: 0, until, is_last: false }, Effect::Adjust)
    }

    /// Takes the result of the last effect. Returns the next effect. `now` is the monotonic time.
    pub fn next(&mut self, input: Input, now: Millis) -> Effect {
        match input {
            Input::Adjusted(None) => Effect::Finish,
            Input::Adjusted(Some(_)) if self.is_last => Effect::CountFree,
            Input::Adjusted(Some(pool)) => {
                self.pool = pool;
                Effect::ReadFree
            }
            // Units may have become free since the store refused the change. The reported number
            // explains the refusal, so it must be smaller than the number that the change takes.
            Input::Free(free) if self.is_last => {
                Effect::Refuse(free.min(self.units.saturating_sub(1)))
            }
            Input::Free(free) if self.units > free => Effect::Refuse(free),
            Input::Free(_) => Effect::Recall(self.units.saturating_sub(self.pool)),
            // The missing units are in unsettled tickets. If these tickets are returned, the units
            // become free.
            Input::Recalled(0) if now < self.until => Effect::Wait(now.0.abs_diff(self.until.0)),
            Input::Recalled(_) | Input::Waited => {
                self.is_last = now >= self.until;
                Effect::Adjust
            }
        }
    }
}

#[cfg(test)]
mod tests;

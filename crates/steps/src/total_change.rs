//! Changes an item's total. A lower total takes free units, first from the pool and then from the
//! slots, by recalls. If these units are too few, the step waits a short time until tickets in
//! flight are settled. If too few units are free after that, the total does not change.
use doorbuster_core::Millis;

/// How long a lower total waits for tickets in flight to be settled, in milliseconds.
pub const WAIT_MAX_MS: i64 = 1_000;

/// The next action of the driver. If a call of the store or a recall fails, the driver ends the
/// change with an error. A client can then repeat the whole change with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Change the total in the store ([`doorbuster_core::stock::adjust`]). The result is
    /// [`Input::Adjusted`].
    Adjust,
    /// Read from the store how many units are in the pool and in the slots. This node's memory is
    /// not enough, because it may lack units that returned on other nodes. The result is
    /// [`Input::Free`].
    ReadFree,
    /// Recall this number of units to the pool ([`crate::pool_recall`]). The result is
    /// [`Input::Recalled`].
    Recall(u64),
    /// Wait until the item's counts change, but at most for this number of milliseconds. A change
    /// since the last [`Effect::Adjust`] ends the wait immediately. The result is
    /// [`Input::Waited`].
    Wait(u64),
    /// Count the units in the pool and the units that the slots can sell now. If this node reaches
    /// all slots and every slot answers, units of tickets in flight do not count. Otherwise these
    /// units count too. The result is [`Input::Free`].
    CountFree,
    /// The store has decided. The step has ended.
    Finish,
    /// The change takes more units than are free. The value is the number of free units. The step
    /// has ended.
    Refuse(u64),
}

/// The result of an effect.
#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// `None` means that the store decided. Otherwise the pool has too few units for the change,
    /// and the value is the number of units in the pool.
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
    /// The units that a lower total takes.
    units: u64,
    /// The units in the pool when the store last refused.
    pool: u64,
    /// When the change stops waiting for units.
    until: Millis,
    /// Whether the change no longer waits for units.
    is_last: bool,
}

impl TotalChange {
    /// Begins to raise or lower a total by this number of units. `now` is the monotonic time.
    ///
    /// Until the step has ended, the driver keeps this node from reconciling the item's slots.
    /// Otherwise the node would move the recalled units back to the slots.
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
            // The store has just refused the change, so at least one unit is missing. So the
            // reported number of free units must be smaller than the number of units that the
            // change takes.
            Input::Free(free) if self.is_last => {
                Effect::Refuse(free.min(self.units.saturating_sub(1)))
            }
            Input::Free(free) if self.units > free => Effect::Refuse(free),
            Input::Free(_) => Effect::Recall(self.units.saturating_sub(self.pool)),
            // Tickets in flight have the missing units. Each ticket either becomes an order or
            // returns its units.
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

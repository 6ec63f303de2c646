//! Applies a payment that arrives after its order has ended. If the pool has too few units, the
//! step recalls units from the slots and waits a short time for more units. If units are still
//! missing after this wait, the payment is refunded.
use doorbuster_core::Millis;

/// How long a late payment waits for units, in milliseconds.
pub const WAIT_MAX_MS: i64 = 1_000;

/// The next action of the driver. If the store does not answer, the driver drops this step. A new
/// step begins when the provider repeats its message, or when the server queries the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Apply the payment in the store ([`doorbuster_core::money::capture`]). The result is
    /// [`Input::Captured`].
    Capture {
        /// Whether this is the last try. If the pool has too few units in the last try, the payment
        /// is refunded.
        is_last: bool,
    },
    /// Recall this number of units to the pool ([`crate::pool_recall`]). The result is
    /// [`Input::Recalled`].
    Recall(u64),
    /// Wait until the item's counts change, but at most for this number of milliseconds. If the
    /// counts have already changed since the last [`Effect::Capture`], do not wait. The result is
    /// [`Input::Waited`].
    Wait(u64),
    /// The store has applied or refunded the payment. The step has ended.
    Finish,
}

/// The result of an effect.
#[derive(Clone, Copy, Debug)]
pub enum Input {
    /// `None` if the store applied or refunded the payment. Otherwise the number of units that the
    /// pool lacks.
    Captured(Option<u64>),
    /// The number of units that moved to the pool. `None` if the store did not answer, or if no
    /// units moved and a slot did not answer.
    Recalled(Option<u64>),
    /// The wait has ended.
    Waited,
}

/// A late payment.
#[derive(Clone, Debug)]
pub struct LatePayment {
    /// The time until which the payment waits for units.
    until: Millis,
}

impl LatePayment {
    /// Begins to apply a late payment. `now` is the monotonic time.
    ///
    /// Until the step has ended, the driver must keep this node from reconciling the item's slots.
    /// Otherwise, the node would move the recalled units from the pool back to the slots.
    #[must_use]
    pub fn begin(now: Millis) -> (Self, Effect) {
        (Self { until: now.plus(WAIT_MAX_MS) }, Effect::Capture { is_last: false })
    }

    /// Takes the result of the last effect. Returns the next effect. `now` is the monotonic time.
    pub fn next(&mut self, input: Input, now: Millis) -> Effect {
        match input {
            Input::Captured(Some(units)) => Effect::Recall(units),
            Input::Captured(None) => Effect::Finish,
            // Either the store did not answer, or a slot did not answer and the others moved no
            // unit. The payment does not wait for the missing answer.
            Input::Recalled(None) => Effect::Capture { is_last: true },
            // The payment waits, because tickets in flight may return the missing units, or another
            // node may move recalled units to the pool.
            Input::Recalled(Some(0)) if now < self.until => {
                Effect::Wait(now.0.abs_diff(self.until.0))
            }
            Input::Recalled(Some(_)) | Input::Waited => {
                Effect::Capture { is_last: now >= self.until }
            }
        }
    }
}

#[cfg(test)]
mod tests;

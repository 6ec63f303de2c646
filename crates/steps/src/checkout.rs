//! Closes a checkout after its order has ended, or after the order's payment window is over. When
//! all payments that the provider reported are applied, the checkout is recorded as closed. The
//! checkout is also recorded as closed if a payment has been undecided for too long.
use doorbuster_core::rules::{Rule, enforces};

/// The next action of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ask the provider to close the checkout. The result is [`Input::Answer`].
    Close,
    /// Apply the payment at this index of the provider's answer. The result is [`Input::Applied`].
    Apply(usize),
    /// Record the checkout as closed. The result is [`Input::Recorded`]. If the effect fails, the
    /// step ends, and a later step asks the provider again.
    Record,
    /// The step has ended without closing the checkout. A later step asks the provider again.
    AskLater {
        /// Whether the query to the provider counts as failed. This is also the case if a payment
        /// is still undecided. The first failed query after the order's `pay_by` starts the order's
        /// grace period. After this period, the order's units return to the pool.
        starts_grace: bool,
    },
    /// The checkout is recorded as closed. The step has ended.
    Finish,
}

/// The result of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// What the provider answered, or that it did not answer.
    Answer(Answer),
    /// Whether the payment was applied and committed.
    Applied(bool),
    /// The checkout is recorded as closed.
    Recorded,
}

/// The result of a query to the provider about a checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The checkout accepts no more payments. The value is the number of payments that were made at
    /// this checkout.
    Closed(usize),
    /// A payment is pending and may still fail.
    Undecided {
        /// Whether this is the last query: the order ended so long ago that the server does not ask
        /// the provider again.
        is_last: bool,
    },
    /// The provider refused the query because the provider received too many requests. Such a query
    /// does not count as failed.
    Busy,
    /// The provider did not answer, refused the query, or is not configured.
    Failed,
}

/// The closing of one checkout.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckoutClosing {
    payments: usize,
    applied: usize,
    is_recorded: bool,
}

impl CheckoutClosing {
    /// Starts to close a checkout.
    #[must_use]
    pub fn start() -> (Self, Effect) {
        let first = match enforces(Rule::CloseAtProvider) {
            true => Effect::Close,
            false => Effect::Record,
        };
        (Self::default(), first)
    }

    /// Takes the result of the last effect. Returns the next effect.
    pub fn next(&mut self, input: Input) -> Effect {
        match input {
            Input::Answer(Answer::Undecided { is_last: false } | Answer::Failed) => {
                Effect::AskLater { starts_grace: true }
            }
            Input::Answer(Answer::Busy) | Input::Applied(false) => {
                Effect::AskLater { starts_grace: false }
            }
            Input::Answer(Answer::Closed(payments)) => {
                self.payments = payments;
                self.next_effect()
            }
            Input::Answer(Answer::Undecided { is_last: true }) => self.next_effect(),
            Input::Applied(true) => {
                self.applied += 1;
                self.next_effect()
            }
            Input::Recorded => {
                self.is_recorded = true;
                self.next_effect()
            }
        }
    }

    fn next_effect(&self) -> Effect {
        let is_all_applied = self.applied >= self.payments;
        if !self.is_recorded && (is_all_applied || !enforces(Rule::CaptureBeforeClosed)) {
            return Effect::Record;
        }
        match is_all_applied {
            true => Effect::Finish,
            false => Effect::Apply(self.applied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_payment_is_applied_before_the_checkout_is_recorded_as_closed() {
        let (mut step, first) = CheckoutClosing::start();
        assert_eq!(first, Effect::Close);
        assert_eq!(step.next(Input::Answer(Answer::Closed(2))), Effect::Apply(0));
        assert_eq!(step.next(Input::Applied(true)), Effect::Apply(1));
        assert_eq!(step.next(Input::Applied(true)), Effect::Record);
        assert_eq!(step.next(Input::Recorded), Effect::Finish);
    }

    #[test]
    fn a_payment_that_is_not_applied_keeps_the_checkout_open() {
        let (mut step, _) = CheckoutClosing::start();
        step.next(Input::Answer(Answer::Closed(2)));
        let next = step.next(Input::Applied(false));
        assert_eq!(next, Effect::AskLater { starts_grace: false });
    }

    #[test]
    fn only_a_failed_query_starts_the_grace_period() {
        let next = |answer| CheckoutClosing::start().0.next(Input::Answer(answer));
        let ask_later = |starts_grace| Effect::AskLater { starts_grace };
        assert_eq!(next(Answer::Undecided { is_last: false }), ask_later(true));
        assert_eq!(next(Answer::Failed), ask_later(true));
        assert_eq!(next(Answer::Busy), ask_later(false));
        assert_eq!(next(Answer::Undecided { is_last: true }), Effect::Record);
        assert_eq!(next(Answer::Closed(0)), Effect::Record);
    }
}

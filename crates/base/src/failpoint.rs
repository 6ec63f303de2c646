//! Failpoints: points in the code where a test kills this process, as `kill -9` does. There is a
//! point after each step of a purchase and of its payment.
//!
//! These points exist only with the feature `failpoints`, which test builds have. Without the
//! feature, a point does nothing, and `DOORBUSTER_FAILPOINT` is an unknown setting. With the
//! feature, `DOORBUSTER_FAILPOINT=refund_asked:3` kills the process when the process passes that
//! point for the third time. The killed process writes no buffered data. docs/reliability.md says
//! what the server guarantees after a kill at each point.

/// A failpoint. The name of each failpoint describes the step that comes before the failpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// A settler took a batch of tickets from its slots. The store has none of these tickets yet.
    SettleTaken,
    /// A commit changed orders. This node's memory does not have the commit yet.
    Committed,
    /// The store has the batch of tickets. The slots still have these tickets.
    SettleCommitted,
    /// The slots removed the tickets of the batch. No waiting request has received its verdict yet.
    SettleAcknowledged,
    /// The provider created a checkout. The store does not have the checkout yet.
    CheckoutAsked,
    /// The store has the checkout. The buyer has no answer yet.
    CheckoutKept,
    /// The provider closed a checkout that is being replaced. The store still shows this checkout
    /// as open.
    CheckoutClosed,
    /// A provider's message was verified. The message has not changed the store yet.
    MessageRead,
    /// A provider's message changed the store. The provider has no answer yet.
    MessageTaken,
    /// A late payment found too few units in the pool. No unit has been recalled yet.
    LateLacks,
    /// The store has recorded a recall. The slot has not received the recall yet.
    RecallBegun,
    /// A slot released units for a recall. The store has not recorded the release yet.
    RecallTaken,
    /// Recalled units for a late payment are in the pool. The server did not try again to capture
    /// the payment yet.
    LateGathered,
    /// A late payment was captured. The units that the payment did not need are not back in the
    /// slots.
    LateCaptured,
    /// The store has recorded a refund. The provider has not received a request for it yet.
    RefundDue,
    /// The provider accepted a refund. The store has not recorded the provider's answer yet.
    RefundAsked,
    /// The store has recorded the provider's answer about a refund. No later step was done.
    RefundNoted,
    /// The provider reported a checkout's state. The store has not recorded the state yet.
    ReconcileAsked,
    /// The payment of a checkout was captured. The store still shows the checkout as open.
    ReconcileCaptured,
    /// The store shows a checkout as closed. The order of this checkout has not ended yet.
    ReconcileClosed,
    /// Orders are due to expire. The transaction that expires them has not begun.
    ExpiryDue,
    /// Some orders have expired. No later step was done.
    ExpiryDone,
    /// An order was cancelled. No notification was sent.
    CancelDone,
    /// An operator refunded an order. No notification was sent, and no provider got a request.
    OrderRefunded,
    /// Events got their positions in the outbox. The workers that deliver events were not woken
    /// yet.
    OutboxSequenced,
    /// A worker read events from the outbox. The worker has not sent any of these events yet.
    OutboxRead,
    /// A receiver accepted an event. The store has not recorded the delivery yet.
    OutboxSent,
    /// The store has the results of attempts to deliver events. The endpoint's position is
    /// unchanged.
    OutboxNoted,
    /// The endpoint's position moved. No later step was done.
    OutboxAdvanced,
    /// The last attempt to deliver an event failed. The store has not recorded the dead letter.
    OutboxDead,
    /// The sandbox, the built-in provider, stored to which session a payment belongs. The payment
    /// does not exist yet.
    SandboxNamed,
    /// The sandbox stored that it will send a message about a payment. Neither the payment nor the
    /// message exists yet.
    SandboxAnnounced,
    /// The sandbox stored that it will send a message about a refund. The refund does not exist
    /// yet.
    SandboxRefundAnnounced,
    /// The server accepted a message of the sandbox. The sandbox has not recorded the delivery yet.
    SandboxPosted,
}

#[cfg(not(feature = "failpoints"))]
mod armed {
    /// Does nothing.
    #[inline(always)]
    pub fn reach(_: super::Failpoint) {}

    /// Returns `false`, because a build without failpoints has no setting for them.
    pub fn is_setting(_: &str) -> bool {
        false
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::Failpoint;

    /// The setting that selects a failpoint. Its value is the failpoint's name, a colon, and a
    /// count. If the count is 3, the process is killed when it reaches the failpoint for the third
    /// time.
    pub const SETTING: &str = "DOORBUSTER_FAILPOINT";

    impl Failpoint {
        /// Every failpoint, in the order of the enum.
        pub const ALL: [Self; 34] = [
            Self::SettleTaken,
            Self::Committed,
            Self::SettleCommitted,
            Self::SettleAcknowledged,
            Self::CheckoutAsked,
            Self::CheckoutKept,
            Self::CheckoutClosed,
            Self::MessageRead,
            Self::MessageTaken,
            Self::LateLacks,
            Self::RecallBegun,
            Self::RecallTaken,
            Self::LateGathered,
            Self::LateCaptured,
            Self::RefundDue,
            Self::RefundAsked,
            Self::RefundNoted,
            Self::ReconcileAsked,
            Self::ReconcileCaptured,
            Self::ReconcileClosed,
            Self::ExpiryDue,
            Self::ExpiryDone,
            Self::CancelDone,
            Self::OrderRefunded,
            Self::OutboxSequenced,
            Self::OutboxRead,
            Self::OutboxSent,
            Self::OutboxNoted,
            Self::OutboxAdvanced,
            Self::OutboxDead,
            Self::SandboxNamed,
            Self::SandboxAnnounced,
            Self::SandboxRefundAnnounced,
            Self::SandboxPosted,
        ];

        /// Returns the failpoint's name in the setting and in the documents.
        #[must_use]
        pub fn name(self) -> String {
            let mut name = String::new();
            for letter in format!("{self:?}").chars() {
                if letter.is_ascii_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.push(letter.to_ascii_lowercase());
            }
            name
        }

        fn parse(name: &str) -> Option<Self> {
            Self::ALL.into_iter().find(|point| point.name() == name)
        }
    }

    struct Armed {
        point: Failpoint,
        passings: AtomicU64,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let text = std::env::var(SETTING).ok()?;
        let (name, passing) = text.split_once(':').unwrap_or((&text, "1"));
        let armed = Failpoint::parse(name).zip(passing.parse().ok().filter(|passing| *passing > 0));
        let Some((point, passing)) = armed else {
            // The process ends here, because a test with a wrong name would otherwise succeed
            // without a kill.
            eprintln!(
                "{SETTING}={text} has an unknown name or an invalid count; write NAME or NAME:COUNT"
            );
            std::process::exit(2);
        };
        Some(Armed { point, passings: AtomicU64::new(passing) })
    });

    /// The code calls this function at each failpoint. If the process has now reached the selected
    /// failpoint as often as the setting says, the function kills the process.
    pub fn reach(point: Failpoint) {
        if let Some(armed) = &*ARMED
            && armed.point == point
            && armed.passings.fetch_sub(1, Ordering::AcqRel) == 1
        {
            // The signal may take a moment to arrive. The loop lets no other code run in the
            // meantime.
            let _ = kill_process(getpid(), Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }

    /// Returns whether `name` is the name of the setting that selects a failpoint.
    pub fn is_setting(name: &str) -> bool {
        name == SETTING
    }

    #[cfg(test)]
    mod tests {
        use super::Failpoint;

        #[test]
        fn each_point_is_found_by_its_exact_name() {
            assert_eq!(Failpoint::SandboxRefundAnnounced.name(), "sandbox_refund_announced");
            for (at, point) in Failpoint::ALL.into_iter().enumerate() {
                assert_eq!(Failpoint::parse(&point.name()), Some(point));
                assert_eq!(
                    point as usize, at,
                    "`ALL` must have each point once, in the order of the enum"
                );
            }
        }
    }
}

#[cfg(feature = "failpoints")]
pub use armed::SETTING;
pub use armed::{is_setting, reach};

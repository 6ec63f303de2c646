//! Points where a test kills this process, as `kill -9` does: one between each two steps of a
//! purchase and its payment.
//!
//! They exist only with the feature `failpoints`, which is on in test builds. Without it, a point
//! does nothing, and `DOORBUSTER_FAILPOINT` is an unknown setting. With it,
//! `DOORBUSTER_FAILPOINT=refund_asked:3` kills the process when it passes that point for the third
//! time; nothing is flushed. docs/reliability.md says what holds after a kill at each point.

/// A failpoint, named after the step before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A batch of tickets was taken from its slots; none is in the store.
    SettleTaken,
    /// A commit changed orders; this node does not know.
    Committed,
    /// A batch is in the store; its slots still have its tickets.
    SettleCommitted,
    /// The slots removed the batch; no waiting request has its verdict.
    SettleAcknowledged,
    /// The provider created a checkout; the store has none.
    CheckoutAsked,
    /// The store has the checkout; the buyer has no answer.
    CheckoutKept,
    /// The provider closed a checkout that is being replaced; it is open in the store.
    CheckoutClosed,
    /// A provider's message was verified; the store has nothing of it.
    MessageRead,
    /// The message took effect; the provider has no answer.
    MessageTaken,
    /// A late payment found too few units in the pool; nothing was recalled.
    LateLacks,
    /// A recall is in the store; the slot was not asked.
    RecallBegun,
    /// The slot gave its units; the store does not know.
    RecallTaken,
    /// The pool has units for a late payment; the payment was not captured again.
    LateGathered,
    /// A late payment was captured; the remaining units were not given back to the slots.
    LateCaptured,
    /// A refund is in the store; the provider was not asked.
    RefundDue,
    /// The provider accepted the refund; the store does not know.
    RefundAsked,
    /// The store knows of the refund; nothing else was done.
    RefundNoted,
    /// The provider reported a checkout's state; the store does not know.
    ReconcileAsked,
    /// The payment of a checkout was captured; the checkout is open in the store.
    ReconcileCaptured,
    /// The checkout is closed in the store; its order has not ended yet.
    ReconcileClosed,
    /// Orders have reached the end of their holds; none has expired.
    ExpiryDue,
    /// Some orders have expired; nothing else was done.
    ExpiryDone,
    /// An order was cancelled; no notification was sent.
    CancelDone,
    /// An operator refunded an order; no notification was sent, and no provider was asked.
    OrderRefunded,
    /// Events have their positions; the delivery was not notified.
    OutboxSequenced,
    /// Events were read; none was sent.
    OutboxRead,
    /// An event was sent and accepted; the store does not know.
    OutboxSent,
    /// The results of retried events are in the store; the position is unchanged.
    OutboxNoted,
    /// The position moved; nothing else was done.
    OutboxAdvanced,
    /// An event becomes a dead letter; the store does not know.
    OutboxDead,
    /// The sandbox knows the order of a payment; there is no payment.
    SandboxNamed,
    /// The sandbox announced a message; neither payment nor message exists.
    SandboxAnnounced,
    /// The sandbox announced the message of a refund; there is no refund.
    SandboxRefundAnnounced,
    /// A message of the sandbox was sent and accepted; its documents do not show it.
    SandboxPosted,
}

#[cfg(not(feature = "failpoints"))]
mod armed {
    /// Does nothing.
    #[inline(always)]
    pub(crate) fn pass(_: super::Point) {}

    /// No setting arms a point in this build.
    pub(crate) fn is_setting(_: &str) -> bool {
        false
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::Point;

    /// The setting that arms a point: its name and, after a colon, which passing.
    pub const SETTING: &str = "DOORBUSTER_FAILPOINT";

    impl Point {
        /// Every point, in the order of their flows.
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

        /// Its name in the setting and in the documents.
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
        point: Point,
        passings: AtomicU64,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let text = std::env::var(SETTING).ok()?;
        let (name, passing) = text.split_once(':').unwrap_or((&text, "1"));
        let armed = Point::parse(name).zip(passing.parse().ok().filter(|passing| *passing > 0));
        let Some((point, passing)) = armed else {
            // If an unknown point were ignored, its test would pass without a kill.
            eprintln!(
                "{SETTING}={text} names no failpoint or an invalid count; write NAME or NAME:COUNT"
            );
            std::process::exit(2);
        };
        Some(Armed { point, passings: AtomicU64::new(passing) })
    });

    /// Kills the process here if this point and passing are armed.
    pub(crate) fn pass(point: Point) {
        if let Some(armed) = &*ARMED
            && armed.point == point
            && armed.passings.fetch_sub(1, Ordering::AcqRel) == 1
        {
            // The signal cannot be refused. It may take a moment, and nothing may run after this
            // point.
            let _ = kill_process(getpid(), Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }

    /// Whether this names the setting that arms a point.
    pub(crate) fn is_setting(name: &str) -> bool {
        name == SETTING
    }

    #[cfg(test)]
    mod tests {
        use super::Point;

        #[test]
        fn each_point_is_found_by_its_exact_name() {
            assert_eq!(Point::SandboxRefundAnnounced.name(), "sandbox_refund_announced");
            for (at, point) in Point::ALL.into_iter().enumerate() {
                assert_eq!(Point::parse(&point.name()), Some(point));
                assert_eq!(point as usize, at, "each point appears once, in the order of the enum");
            }
        }
    }
}

#[cfg(feature = "failpoints")]
pub use armed::SETTING;
pub(crate) use armed::{is_setting, pass};

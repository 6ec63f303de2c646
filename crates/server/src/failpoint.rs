//! Points where a test ends this process at once, as `kill -9` does: one between each two steps of
//! what a purchase and its money go through.
//!
//! Only with the feature `failpoints`, which is on where tests are built. Without it a point is
//! nothing, and `DOORBUSTER_FAILPOINT` is a setting that does not exist. With it,
//! `DOORBUSTER_FAILPOINT=refund_asked:3` ends the process the third time that anything comes to
//! that point, and nothing is flushed. What holds after a death at each of them stands in
//! docs/reliability.md.

/// A point. Each is named after the step before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A batch of tickets was taken from its slots; none is in the truth.
    SettleTaken,
    /// A commit changed orders; this node does not know.
    Committed,
    /// A batch is in the truth; its slots still have its tickets.
    SettleCommitted,
    /// The slots let the batch go; nobody who waits has heard.
    SettleAcknowledged,
    /// The provider made a checkout; the truth has none.
    CheckoutAsked,
    /// The truth has it; the buyer has not heard.
    CheckoutKept,
    /// The provider closed a checkout that is to be replaced; the truth has it open.
    CheckoutClosed,
    /// A provider's message was verified; nothing of it is in the truth.
    MessageRead,
    /// It had its effect; the provider has no answer.
    MessageTaken,
    /// A late payment found too few units in the pool; nothing was recalled.
    LateLacks,
    /// A recall is in the truth; the slot was not asked.
    RecallBegun,
    /// The slot gave its units away; the truth does not know.
    RecallTaken,
    /// Units lie in the pool for a late payment; it was not taken again.
    LateGathered,
    /// A late payment was taken; what is left was not brought back to the slots.
    LateCaptured,
    /// A refund is in the truth; the provider was not asked.
    RefundDue,
    /// The provider took it; the truth does not know.
    RefundAsked,
    /// The truth knows; nothing else was done.
    RefundNoted,
    /// The provider said what became of a checkout; the truth does not know.
    ReconcileAsked,
    /// What it took was captured; the checkout is open in the truth.
    ReconcileCaptured,
    /// The checkout is closed in the truth; its order did not end yet.
    ReconcileClosed,
    /// Orders are due; none has expired.
    ExpiryDue,
    /// Some have expired; nothing else was done.
    ExpiryDone,
    /// An order was cancelled; nobody has heard.
    CancelDone,
    /// An operator refunded an order; nobody has heard, and no provider was asked.
    OrderRefunded,
    /// Events have their positions; nobody was told that there are some.
    OutboxSequenced,
    /// Events were read; none was sent.
    OutboxRead,
    /// An event was sent and taken; the truth does not know.
    OutboxSent,
    /// What came of events that were tried again is in the truth; the position is as it was.
    OutboxNoted,
    /// The position moved; nothing else was done.
    OutboxAdvanced,
    /// An event is to be given up; the truth does not know.
    OutboxDead,
    /// The sandbox knows whose a payment is; there is no payment.
    SandboxNamed,
    /// It announced a message; neither payment nor message are there.
    SandboxAnnounced,
    /// It announced the message of a refund; there is no refund.
    SandboxRefundAnnounced,
    /// A message of its was sent and taken; its documents do not know.
    SandboxPosted,
}

#[cfg(not(feature = "failpoints"))]
mod armed {
    /// Nothing.
    #[inline(always)]
    pub(crate) fn pass(_: super::Point) {}

    /// Whether this names the setting that arms a point: there is none.
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

    /// What arms a point: its name and, behind a colon, at which passing.
    pub const SETTING: &str = "DOORBUSTER_FAILPOINT";

    impl Point {
        /// Every point, by the flow that it is in.
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

        /// Its name: in the environment, and in documents.
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
            // Whoever arms a point that is not there would believe that nothing goes wrong at it.
            eprintln!("{SETTING}={text} names no point");
            std::process::exit(2);
        };
        Some(Armed { point, passings: AtomicU64::new(passing) })
    });

    /// Ends the process here if it is to.
    pub(crate) fn pass(point: Point) {
        if let Some(armed) = &*ARMED
            && armed.point == point
            && armed.passings.fetch_sub(1, Ordering::AcqRel) == 1
        {
            // It cannot be refused; if it takes a moment, nothing happens after this point
            // meanwhile.
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
        fn a_point_is_known_by_its_name_alone() {
            assert_eq!(Point::SandboxRefundAnnounced.name(), "sandbox_refund_announced");
            for (at, point) in Point::ALL.into_iter().enumerate() {
                assert_eq!(Point::parse(&point.name()), Some(point));
                assert_eq!(point as usize, at, "each point once, as they stand above");
            }
        }
    }
}

#[cfg(feature = "failpoints")]
pub use armed::SETTING;
pub(crate) use armed::{is_setting, pass};

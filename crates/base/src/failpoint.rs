//! Failpoints: points in the code where a test kills this process, as `kill -9` does. There is a
//! point after each step of a purchase and of its payment.
//!
//! A point does nothing without the feature `failpoints`, which only test builds have. With the
//! feature, `DOORBUSTER_FAILPOINT=refund_asked:3` kills the process when it reaches `refund_asked`
//! for the third time. The killed process writes no buffered data. docs/reliability.md says what
//! the server guarantees after a kill at each point.

doorbuster_core::labels! {
    /// A failpoint. The name of each failpoint describes the step that comes before the failpoint.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Failpoint {
        /// A settler took a batch of tickets from the slots. The store has none of these tickets
        /// yet.
        SettleTaken = "settle_taken",
        /// A commit changed orders. This node's memory does not have the commit yet.
        Committed = "committed",
        /// The store has settled a batch of tickets. The slots still have these tickets.
        SettleCommitted = "settle_committed",
        /// The slots removed the tickets of a settled batch. No waiting request has received its
        /// verdict yet.
        SettleAcknowledged = "settle_acknowledged",
        /// The provider created a checkout. The store does not have the checkout yet.
        CheckoutAsked = "checkout_asked",
        /// The store has the checkout. The buyer has no answer yet.
        CheckoutKept = "checkout_kept",
        /// The provider closed a checkout that is being replaced. The store still shows this
        /// checkout as open.
        CheckoutClosed = "checkout_closed",
        /// A provider's message was verified. The message has not changed the store yet.
        MessageRead = "message_read",
        /// A provider's message changed the store. The provider has no answer yet.
        MessageTaken = "message_taken",
        /// A late payment found too few units in the pool. No unit has been recalled yet.
        LateLacks = "late_lacks",
        /// The store has recorded a recall. The slot has not received the recall yet.
        RecallBegun = "recall_begun",
        /// A slot released units for a recall. The store has not recorded the release yet.
        RecallTaken = "recall_taken",
        /// Recalled units for a late payment are in the pool. The server has not tried again to
        /// capture the payment yet.
        LateGathered = "late_gathered",
        /// A late payment was captured. The units that the payment did not need are not back in the
        /// slots yet.
        LateCaptured = "late_captured",
        /// The store has recorded a refund. The provider has not received a request for it yet.
        RefundDue = "refund_due",
        /// The provider accepted a refund. The store has not recorded the provider's answer yet.
        RefundAsked = "refund_asked",
        /// The store has recorded the provider's answer about a refund. No later step was done.
        RefundNoted = "refund_noted",
        /// The provider reported a checkout's state. The store has not recorded the state yet.
        ReconcileAsked = "reconcile_asked",
        /// The payment of a checkout was captured. The store still shows the checkout as open.
        ReconcileCaptured = "reconcile_captured",
        /// The store shows a checkout as closed. The order of this checkout has not ended yet.
        ReconcileClosed = "reconcile_closed",
        /// The server is about to search for the next orders whose payment window has ended. None
        /// of these orders has expired yet.
        ExpiryDue = "expiry_due",
        /// Some orders have expired. No later step was done.
        ExpiryDone = "expiry_done",
        /// An order was cancelled. The client has no answer yet.
        CancelDone = "cancel_done",
        /// An operator refunded an order. The operator has no answer yet, and no provider got a
        /// request.
        OrderRefunded = "order_refunded",
        /// Events got their positions in the outbox. The workers that deliver events were not woken
        /// yet.
        OutboxSequenced = "outbox_sequenced",
        /// A worker read events from the outbox. The worker has not sent any of these events yet.
        OutboxRead = "outbox_read",
        /// A receiver accepted an event. The store has not recorded the delivery yet.
        OutboxSent = "outbox_sent",
        /// The store has the results of attempts to deliver events. The endpoint's position is
        /// unchanged.
        OutboxNoted = "outbox_noted",
        /// The endpoint's position moved. No later step was done.
        OutboxAdvanced = "outbox_advanced",
        /// The last attempt to deliver an event failed. The store has not recorded the dead letter.
        OutboxDead = "outbox_dead",
        /// The sandbox (the built-in provider) stored that a payment belongs to a session. The
        /// payment does not exist yet.
        SandboxNamed = "sandbox_named",
        /// The sandbox stored that it will send a message about a payment. Neither the payment nor
        /// the message exists yet.
        SandboxAnnounced = "sandbox_announced",
        /// The sandbox stored that it will send a message about a refund. The refund does not exist
        /// yet.
        SandboxRefundAnnounced = "sandbox_refund_announced",
        /// The server accepted a message of the sandbox. The sandbox has not recorded the delivery
        /// yet.
        SandboxPosted = "sandbox_posted",
    }
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

    /// The setting that selects a failpoint: `NAME` or `NAME:COUNT`. With the count 3, the process
    /// is killed when it reaches the failpoint for the third time.
    pub const SETTING: &str = "DOORBUSTER_FAILPOINT";

    struct Armed {
        point: Failpoint,
        passings: AtomicU64,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| {
        let text = std::env::var(SETTING).ok()?;
        let (name, passing) = text.split_once(':').unwrap_or((&text, "1"));
        let point = Failpoint::ALL.into_iter().find(|point| point.as_str() == name);
        let armed = point.zip(passing.parse().ok().filter(|passing| *passing > 0));
        let Some((point, passing)) = armed else {
            // The process ends here. Otherwise a test with a wrong name would succeed without a
            // kill.
            eprintln!(
                "{SETTING}={text} has an unknown name or an invalid count; write NAME or NAME:COUNT"
            );
            std::process::exit(2);
        };
        Some(Armed { point, passings: AtomicU64::new(passing) })
    });

    /// Kills the process if it has reached the selected failpoint as often as the setting says.
    pub fn reach(point: Failpoint) {
        if let Some(armed) = &*ARMED
            && armed.point == point
            && armed.passings.fetch_sub(1, Ordering::AcqRel) == 1
        {
            // The signal may take a moment to arrive. The loop lets no other code run until then.
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
}

#[cfg(feature = "failpoints")]
pub use armed::SETTING;
pub use armed::{is_setting, reach};

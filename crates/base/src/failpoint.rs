//! Failpoints: points in the code where a test kills the server's process, as `kill -9` does. There
//! is a failpoint after each step of a purchase and of its payment.
//!
//! A failpoint does nothing without the feature `failpoints`, which only test builds have. With the
//! feature, `DOORBUSTER_FAILPOINT=refund_asked:3` kills the process when it reaches `refund_asked`
//! for the third time. Data in the process's buffers is lost. docs/reliability.md says what the
//! server guarantees after a kill at each failpoint.

doorbuster_core::labels! {
    /// A failpoint. The name of each failpoint describes the step that comes before the failpoint.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Failpoint {
        /// A settler took a batch of tickets from the slots. The store has none of these tickets
        /// yet.
        SettleTaken = "settle_taken",
        /// A transaction that changes orders has been committed. The node has not applied this
        /// commit to its memory yet.
        Committed = "committed",
        /// The store has settled a batch of tickets. The slots still have these tickets.
        SettleCommitted = "settle_committed",
        /// The slots removed the tickets of a settled batch. The requests that wait for these
        /// tickets have not received their verdicts yet.
        SettleAcknowledged = "settle_acknowledged",
        /// The provider created a checkout. The store does not have the checkout yet.
        CheckoutAsked = "checkout_asked",
        /// The store has the checkout. The server has not answered the buyer's request yet.
        CheckoutKept = "checkout_kept",
        /// The provider closed a checkout that is being replaced. The store still shows this
        /// checkout as open.
        CheckoutClosed = "checkout_closed",
        /// A webhook of a provider was verified. It has not changed the store yet.
        MessageRead = "message_read",
        /// A provider's webhook changed the store. The server has not answered the webhook yet.
        MessageTaken = "message_taken",
        /// A late payment found too few units in the pool. The server has not started a recall yet.
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
        /// The store has recorded a refund. The provider has not received a request for this refund
        /// yet.
        RefundDue = "refund_due",
        /// The provider accepted a refund. The store has not recorded the provider's answer yet.
        RefundAsked = "refund_asked",
        /// The store has recorded the provider's answer about a refund. The steps after that have
        /// not begun yet.
        RefundNoted = "refund_noted",
        /// The provider reported a checkout's state. The store has not recorded the state yet.
        ReconcileAsked = "reconcile_asked",
        /// The payment of a checkout was captured. The store still shows the checkout as open.
        ReconcileCaptured = "reconcile_captured",
        /// The store shows a checkout as closed. The checkout's order is still active.
        ReconcileClosed = "reconcile_closed",
        /// The server is about to search for orders whose payment window has ended, and to expire
        /// them.
        ExpiryDue = "expiry_due",
        /// A batch of orders has expired. The steps after that have not begun yet.
        ExpiryDone = "expiry_done",
        /// The store has cancelled an order. The server has not answered the request yet.
        CancelDone = "cancel_done",
        /// The store has recorded an operator's refund of an order. The server has neither answered
        /// the operator nor sent a request to the provider yet.
        OrderRefunded = "order_refunded",
        /// Events got their positions in the outbox. The workers that deliver events were not woken
        /// yet.
        OutboxSequenced = "outbox_sequenced",
        /// A worker read events from the outbox. The worker has not sent any of these events yet.
        OutboxRead = "outbox_read",
        /// A receiver accepted an event. The store has not recorded the delivery yet.
        OutboxSent = "outbox_sent",
        /// The store has recorded the results of attempts to deliver events. The endpoint's
        /// position is unchanged.
        OutboxNoted = "outbox_noted",
        /// The store has moved the endpoint's position. The steps after that have not begun yet.
        OutboxAdvanced = "outbox_advanced",
        /// The last attempt to deliver an event failed. The store has not recorded the dead letter.
        OutboxDead = "outbox_dead",
        /// The sandbox (the built-in provider) stored the id of a new payment, and its session. The
        /// payment itself does not exist yet.
        SandboxNamed = "sandbox_named",
        /// The sandbox stored that it will send a webhook about a payment. Neither the payment nor
        /// the webhook exists yet.
        SandboxAnnounced = "sandbox_announced",
        /// The sandbox stored that it will send a webhook about a refund. The refund does not exist
        /// yet.
        SandboxRefundAnnounced = "sandbox_refund_announced",
        /// The server accepted a webhook of the sandbox. The sandbox has not recorded the delivery
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

    /// The environment variable that selects a failpoint: `NAME` or `NAME:COUNT`. With the count 3,
    /// the process is killed when it reaches the failpoint for the third time.
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
            // End the process. Otherwise a test with a misspelled failpoint would pass without a
            // kill.
            eprintln!(
                "{SETTING}={text} has an unknown name or an invalid count; write NAME or NAME:COUNT"
            );
            std::process::exit(2);
        };
        Some(Armed { point, passings: AtomicU64::new(passing) })
    });

    /// Kills the process if `point` is the selected failpoint, and the process has now reached it
    /// `COUNT` times.
    pub fn reach(point: Failpoint) {
        if let Some(armed) = &*ARMED
            && armed.point == point
            && armed.passings.fetch_sub(1, Ordering::AcqRel) == 1
        {
            // The signal may take a moment to arrive. Until then, the loop stops this thread.
            let _ = kill_process(getpid(), Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }

    /// Returns whether `name` is the environment variable that selects a failpoint.
    pub fn is_setting(name: &str) -> bool {
        name == SETTING
    }
}

#[cfg(feature = "failpoints")]
pub use armed::SETTING;
pub use armed::{is_setting, reach};

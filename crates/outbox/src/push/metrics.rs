//! Counters of messages to browsers.

use std::sync::atomic::{AtomicU64, Ordering};

doorbuster_core::labels! {
    /// The final result of a message.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum MessageOutcome {
        /// The push service accepted the message.
        Sent = "sent",
        /// The push service refused the message, or every attempt failed.
        Failed = "failed",
        /// The message expired before an attempt succeeded.
        Expired = "expired",
        /// The browser's subscription had ended.
        Gone = "gone",
        /// The server dropped the message, because too many messages waited.
        Dropped = "dropped",
    }
}

/// Message counters of this node.
#[derive(Debug, Default)]
pub(super) struct MessageMetrics([AtomicU64; MessageOutcome::ALL.len()]);

impl MessageMetrics {
    pub(super) fn count(&self, outcome: MessageOutcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of messages with this outcome.
    pub(super) fn get(&self, outcome: MessageOutcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }
}

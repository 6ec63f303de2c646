//! The outcomes of messages to browsers.

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

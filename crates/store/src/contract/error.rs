//! The error of every operation of a store.

/// Why a store did not do what the caller requested. The transaction was rolled back, unless
/// `may_have_happened` is true.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is unreachable or overloaded; retry later.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// The reason that the backend reported.
        reason: String,
        /// Whether the effect may have happened anyway: the connection was lost at COMMIT.
        may_have_happened: bool,
    },
    /// The disk failed or is full. The process must stop, and nothing may be retried on this
    /// handle.
    #[error("the store failed and must not be used further: {0}")]
    Fatal(String),
    /// A row or a statement result is invalid: a bug, or a damaged file.
    #[error("the store contains invalid data: {0}")]
    Unexpected(String),
}

impl StoreError {
    /// The error of a store that was closed normally.
    pub(crate) fn closed() -> Self {
        Self::Unavailable { reason: "the store is closed".to_owned(), may_have_happened: false }
    }

    /// The error when a queue is full.
    pub(crate) fn busy() -> Self {
        Self::Unavailable {
            reason: "too many requests are waiting for the store".to_owned(),
            may_have_happened: false,
        }
    }
}

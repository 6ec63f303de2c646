//! The error of every operation of a store.

/// The reason why a call of a store failed. If `may_have_happened` is true, the transaction may
/// have been committed. In all other cases, the transaction was rolled back.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or is overloaded. Retry later.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// The reason that the backend reported.
        reason: String,
        /// Whether the transaction may have been committed, because COMMIT was sent but no answer
        /// to it arrived.
        may_have_happened: bool,
    },
    /// The disk failed or is full, the data is damaged, or files of the store were removed. The
    /// process must stop, and must not repeat any call on this store.
    #[error("the store failed and must not be used further: {0}")]
    Fatal(String),
    /// A row or the result of a statement is invalid, because of a bug or a damaged file.
    #[error("the store contains invalid data: {0}")]
    Unexpected(String),
}

impl StoreError {
    pub(crate) fn closed() -> Self {
        Self::Unavailable { reason: "the store is closed".to_owned(), may_have_happened: false }
    }

    pub(crate) fn busy() -> Self {
        Self::Unavailable {
            reason: "too many requests are waiting for the store".to_owned(),
            may_have_happened: false,
        }
    }
}

/// The result of a store's method.
pub type StoreResult<T> = Result<T, StoreError>;

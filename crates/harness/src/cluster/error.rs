//! The errors of a private installation.

/// The reason why a server could not be started, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A program is not installed.
    #[error(
        "{0} is not installed; install Debian's packages postgresql and redis-server, or the \
         equivalent"
    )]
    Missing(String),
    /// An operation failed.
    #[error("{what}: {reason}")]
    Failed {
        /// The operation.
        what: String,
        /// The reason.
        reason: String,
    },
}

impl ClusterError {
    /// Returns the error of an operation that failed.
    pub fn failed(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Failed { what: what.into(), reason: reason.to_string() }
    }
}

/// Adds the name of the failed operation to an error.
pub(super) trait ClusterErrorContext<T> {
    fn with_operation(self, what: impl FnOnce() -> String) -> Result<T, ClusterError>;
}

impl<T, E: ToString> ClusterErrorContext<T> for Result<T, E> {
    fn with_operation(self, what: impl FnOnce() -> String) -> Result<T, ClusterError> {
        self.map_err(|error| ClusterError::failed(what(), error))
    }
}

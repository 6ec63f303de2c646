//! Why a private installation is not there.

/// Why something could not be started, reached or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A program is not installed.
    #[error(
        "{0} is not installed: it needs Debian's packages postgresql and redis-server, or the like"
    )]
    Missing(String),
    /// Something went wrong.
    #[error("{what}: {reason}")]
    Failed {
        /// What was tried.
        what: String,
        /// What came of it.
        reason: String,
    },
}

impl ClusterError {
    /// Something went wrong.
    pub fn failed(what: impl Into<String>, reason: impl ToString) -> Self {
        Self::Failed { what: what.into(), reason: reason.to_string() }
    }
}

/// Names what was tried when a system call fails.
pub(super) trait OrFailed<T> {
    /// The value, or an error that says what was tried.
    fn or_failed(self, what: impl FnOnce() -> String) -> Result<T, ClusterError>;
}

impl<T, E: ToString> OrFailed<T> for Result<T, E> {
    fn or_failed(self, what: impl FnOnce() -> String) -> Result<T, ClusterError> {
        self.map_err(|error| ClusterError::failed(what(), error))
    }
}

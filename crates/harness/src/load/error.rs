//! Why a load run failed.

/// Why a load run did not take place, or why its result cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A value of the plan is invalid or exceeds a limit, or the secret cannot be read. No request
    /// was sent.
    #[error("{0}")]
    Plan(String),
    /// No server accepts connections at the address. No request was sent.
    #[error("cannot connect to {url}: {source}")]
    Connect {
        /// The address of the server.
        url: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The answers file could not be written. The load was sent, but the file lacks answers.
    #[error("cannot write the answers to {path}: {source}")]
    Answers {
        /// The path of the file.
        path: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A thread or an event loop could not be started, or a thread panicked.
    #[error("the load generator failed: {0}")]
    Generator(String),
}

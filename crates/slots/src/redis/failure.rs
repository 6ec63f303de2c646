//! Why a call failed: whether it may have taken effect, and whether another server may answer it.
use redis::{ErrorKind, RedisError, ServerError, ServerErrorKind, Value};

use crate::SlotError;

/// Why a call has no answer.
#[derive(Clone, Debug)]
pub(crate) enum RedisFailure {
    /// No effect: the wrong server, or the server is not available now.
    WrongServer(String),
    /// No effect: the server does not know the script.
    NoScript,
    /// No effect: the server runs a long script of another program.
    Busy(String),
    /// No effect, and a repeated call fails again.
    Refused(String),
    /// No answer arrived: the call may have taken effect.
    NoReply(String),
}

impl RedisFailure {
    /// From an error in place of answers.
    pub(crate) fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(kind) => {
                Self::from_kind(Some(kind), error.code().unwrap_or_default(), error.to_string())
            }
            ErrorKind::Extension => {
                Self::from_kind(None, error.code().unwrap_or_default(), error.to_string())
            }
            ErrorKind::InvalidClientConfig | ErrorKind::Client => Self::Refused(error.to_string()),
            _ => Self::NoReply(error.to_string()),
        }
    }

    fn from_server_error(error: &ServerError) -> Self {
        let reply = format!("{} {}", error.code(), error.details().unwrap_or_default());
        Self::from_kind(error.kind(), error.code(), reply)
    }

    fn from_kind(kind: Option<ServerErrorKind>, code: &str, reply: String) -> Self {
        use ServerErrorKind as K;
        match kind {
            Some(K::NoScript) => Self::NoScript,
            Some(
                K::Moved
                | K::Ask
                | K::TryAgain
                | K::ClusterDown
                | K::MasterDown
                | K::ReadOnly
                | K::BusyLoading,
            ) => Self::WrongServer(reply),
            Some(K::CrossSlot | K::NoPerm) => Self::Refused(reply),
            None if code == "BUSY" => Self::Busy(reply),
            // These refuse a script's first write, so nothing was written.
            None if matches!(code, "OOM" | "MISCONF" | "NOREPLICAS" | "NOAUTH" | "DOORBUSTER") => {
                Self::Refused(reply)
            }
            // These concern a queue that is missing, was deleted, or is of another type.
            None if matches!(code, "NOGROUP" | "UNBLOCKED" | "WRONGTYPE") => Self::Refused(reply),
            _ => Self::NoReply(reply),
        }
    }

    /// This failure, with the address of the server in its text.
    pub(crate) fn with_address(self, address: &str) -> Self {
        match self {
            Self::WrongServer(reason) => Self::WrongServer(format!("{address}: {reason}")),
            Self::NoScript => Self::NoScript,
            Self::Busy(reason) => Self::Busy(format!("{address}: {reason}")),
            Self::Refused(reason) => Self::Refused(format!("{address}: {reason}")),
            Self::NoReply(reason) => Self::NoReply(format!("{address}: {reason}")),
        }
    }

    /// Whether the same server may answer later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::WrongServer(_) | Self::Busy(_))
    }

    /// Whether the connection is unusable.
    pub(crate) fn breaks_connection(&self) -> bool {
        matches!(self, Self::NoReply(_))
    }
}

impl From<RedisFailure> for SlotError {
    fn from(fail: RedisFailure) -> Self {
        match fail {
            RedisFailure::WrongServer(reason)
            | RedisFailure::Busy(reason)
            | RedisFailure::Refused(reason) => Self { reason, may_have_happened: false },
            RedisFailure::NoScript => Self {
                reason: "the server does not keep the scripts".to_owned(),
                may_have_happened: false,
            },
            RedisFailure::NoReply(reason) => Self { reason, may_have_happened: true },
        }
    }
}

/// The answer, or the failure that it reports.
pub(crate) fn check_reply(value: Value) -> Result<Value, RedisFailure> {
    match value {
        Value::ServerError(error) => Err(RedisFailure::from_server_error(&error)),
        value => Ok(value),
    }
}

/// An answer that no script of this crate gives.
pub(crate) fn unexpected_reply(value: &Value) -> RedisFailure {
    RedisFailure::NoReply(format!("unexpected answer: {value:?}"))
}

//! Why a call failed, and what follows from it: whether the call may have taken effect, and whether
//! to try another server.
use redis::{ErrorKind, RedisError, ServerError, ServerErrorKind, Value};

use crate::SlotError;

#[derive(Clone, Debug)]
pub(crate) enum RedisFailure {
    /// The server does not have the slot, or is not available now. The call had no effect.
    WrongServer(String),
    /// The server does not know the script. The call had no effect.
    NoScript,
    /// The server is busy with a long script of another program. The call had no effect.
    Busy(String),
    /// The server refused the call, and would refuse the same call again. The call had no effect.
    Refused(String),
    /// No answer arrived, so the call may have taken effect.
    NoReply(String),
}

impl RedisFailure {
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

    /// Converts the text of Redis's error, which begins with the error's code.
    #[cfg(feature = "script-host")]
    pub(super) fn of_text(text: &str) -> Self {
        let code = text.split(' ').next().unwrap_or_default();
        Self::from_kind(None, code, text.to_owned())
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
            // Redis or the script returns these errors before the script's first write, so nothing
            // was written.
            None if matches!(code, "OOM" | "MISCONF" | "NOREPLICAS" | "NOAUTH" | "DOORBUSTER") => {
                Self::Refused(reply)
            }
            // The queue is missing, was deleted, or has another type.
            None if matches!(code, "NOGROUP" | "UNBLOCKED" | "WRONGTYPE") => Self::Refused(reply),
            _ => Self::NoReply(reply),
        }
    }

    pub(crate) fn with_address(self, address: &str) -> Self {
        match self {
            Self::WrongServer(reason) => Self::WrongServer(format!("{address}: {reason}")),
            Self::NoScript => Self::NoScript,
            Self::Busy(reason) => Self::Busy(format!("{address}: {reason}")),
            Self::Refused(reason) => Self::Refused(format!("{address}: {reason}")),
            Self::NoReply(reason) => Self::NoReply(format!("{address}: {reason}")),
        }
    }

    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::WrongServer(_) | Self::Busy(_))
    }

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
                reason: "Redis lost a script right after this node loaded it".to_owned(),
                may_have_happened: false,
            },
            RedisFailure::NoReply(reason) => Self { reason, may_have_happened: true },
        }
    }
}

pub(crate) fn check_reply(value: Value) -> Result<Value, RedisFailure> {
    match value {
        Value::ServerError(error) => Err(RedisFailure::from_server_error(&error)),
        value => Ok(value),
    }
}

/// Returns the failure for a reply that cannot be parsed. The call may have taken effect.
pub(crate) fn unexpected_reply(value: &Value) -> RedisFailure {
    RedisFailure::NoReply(format!("unexpected answer: {value:?}"))
}

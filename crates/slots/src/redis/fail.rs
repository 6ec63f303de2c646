//! What went wrong with a call, as far as it matters: whether anything was done, and whether it is worth asking elsewhere.
use redis::{ErrorKind, RedisError, ServerError, ServerErrorKind, Value};

use crate::SlotError;

/// Why a call has no answer.
#[derive(Clone, Debug)]
pub(crate) enum Fail {
    /// Nothing was done: not this server, or not now.
    Elsewhere(String),
    /// Nothing was done: the server does not know the script.
    NoScript,
    /// Nothing was done: the server runs somebody's long script.
    Busy(String),
    /// Nothing was done, and asking again changes nothing.
    Refused(String),
    /// The answer did not come: it may have been done.
    Lost(String),
}

impl Fail {
    /// From an error that came instead of answers.
    pub(crate) fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::Server(kind) => {
                Self::of_kind(Some(kind), error.code().unwrap_or_default(), error.to_string())
            }
            ErrorKind::Extension => {
                Self::of_kind(None, error.code().unwrap_or_default(), error.to_string())
            }
            ErrorKind::InvalidClientConfig | ErrorKind::Client => Self::Refused(error.to_string()),
            _ => Self::Lost(error.to_string()),
        }
    }

    fn of_server(error: &ServerError) -> Self {
        let said = format!("{} {}", error.code(), error.details().unwrap_or_default());
        Self::of_kind(error.kind(), error.code(), said)
    }

    fn of_kind(kind: Option<ServerErrorKind>, code: &str, said: String) -> Self {
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
            ) => Self::Elsewhere(said),
            Some(K::CrossSlot | K::NoPerm) => Self::Refused(said),
            None if code == "BUSY" => Self::Busy(said),
            // Said of a script's first write, so that nothing was written.
            None if matches!(code, "OOM" | "MISCONF" | "NOREPLICAS" | "NOAUTH" | "DOORBUSTER") => {
                Self::Refused(said)
            }
            // Said of a queue that is not there, no longer there, or something else.
            None if matches!(code, "NOGROUP" | "UNBLOCKED" | "WRONGTYPE") => Self::Refused(said),
            _ => Self::Lost(said),
        }
    }

    /// The same, and which server said it.
    pub(crate) fn at(self, address: &str) -> Self {
        match self {
            Self::Elsewhere(reason) => Self::Elsewhere(format!("{address}: {reason}")),
            Self::NoScript => Self::NoScript,
            Self::Busy(reason) => Self::Busy(format!("{address}: {reason}")),
            Self::Refused(reason) => Self::Refused(format!("{address}: {reason}")),
            Self::Lost(reason) => Self::Lost(format!("{address}: {reason}")),
        }
    }

    /// Whether the same server may answer a while later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::Elsewhere(_) | Self::Busy(_))
    }

    /// Whether the connection is of no more use.
    pub(crate) fn breaks(&self) -> bool {
        matches!(self, Self::Lost(_))
    }
}

impl From<Fail> for SlotError {
    fn from(fail: Fail) -> Self {
        match fail {
            Fail::Elsewhere(reason) | Fail::Busy(reason) | Fail::Refused(reason) => {
                Self { reason, may_have_happened: false }
            }
            Fail::NoScript => Self {
                reason: "the server forgets the scripts".to_owned(),
                may_have_happened: false,
            },
            Fail::Lost(reason) => Self { reason, may_have_happened: true },
        }
    }
}

/// The answer itself, or why there is none.
pub(crate) fn answer(value: Value) -> Result<Value, Fail> {
    match value {
        Value::ServerError(error) => Err(Fail::of_server(&error)),
        value => Ok(value),
    }
}

/// An answer that no script of ours gives.
pub(crate) fn strange(value: &Value) -> Fail {
    Fail::Lost(format!("an answer that makes no sense: {value:?}"))
}

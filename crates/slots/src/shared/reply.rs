//! The answers of a server.

use redis::Value;

use crate::redis::failure::{RedisFailure, unexpected_reply};

/// A server's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScriptReply {
    /// No value. The key does not exist, or the script returned nothing.
    Null,
    /// A number.
    Number(i64),
    /// A text or other bytes. The status `OK` also has this form.
    Bytes(Vec<u8>),
    /// A list.
    Array(Vec<ScriptReply>),
}

impl ScriptReply {
    /// Returns the reply as a number, if it is a number or a text of digits.
    #[must_use]
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Bytes(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
            Self::Null | Self::Array(_) => None,
        }
    }

    /// Returns the items of a list, or an empty slice if the reply is not a list.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(parts) => parts,
            _ => &[],
        }
    }

    pub(super) fn of(value: Value) -> Result<Self, RedisFailure> {
        Ok(match value {
            Value::Nil => Self::Null,
            Value::Int(number) => Self::Number(number),
            Value::BulkString(bytes) => Self::Bytes(bytes),
            Value::SimpleString(text) => Self::Bytes(text.into_bytes()),
            Value::Okay => Self::Bytes(b"OK".to_vec()),
            Value::Array(values) => {
                Self::Array(values.into_iter().map(Self::of).collect::<Result<_, _>>()?)
            }
            other => return Err(unexpected_reply(&other)),
        })
    }
}

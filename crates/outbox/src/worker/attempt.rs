//! One attempt to deliver an event, and its outcome.
use std::sync::Arc;

use doorbuster_core::event::EventType;
use doorbuster_core::outbox::SendOutcome;
use doorbuster_store::{Endpoint, EventRead, UnreadableEvent};

use super::Outbox;
use crate::receiver::DeliveryError;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum SendError {
    /// The endpoint did not confirm the event.
    Refused(DeliveryError),
    /// The event's row is invalid or was deleted.
    UnreadableEvent(String),
    /// This program does not know the event's type or item, or could not read the event. Nothing
    /// was sent, and the event waits.
    Deferred(String),
}

impl From<DeliveryError> for SendError {
    fn from(refusal: DeliveryError) -> Self {
        Self::Refused(refusal)
    }
}

/// Converts the result of an attempt to two values: the outcome for the delivery queue, and the
/// text of the error, if there is one.
pub(super) fn delivery_outcome(answer: Result<(), SendError>) -> (SendOutcome, Option<String>) {
    let Err(unsent) = answer else { return (SendOutcome::Delivered, None) };
    match unsent {
        SendError::UnreadableEvent(error) => {
            (SendOutcome::Unsendable { error: error.clone() }, Some(error))
        }
        SendError::Deferred(error)
        | SendError::Refused(DeliveryError { error, is_local: true, .. }) => {
            (SendOutcome::Deferred { error: error.clone() }, Some(error))
        }
        SendError::Refused(DeliveryError { error, is_gone: true, .. }) => {
            (SendOutcome::Gone, Some(error))
        }
        SendError::Refused(DeliveryError { error, is_final: true, .. }) => {
            (SendOutcome::Refused { error: error.clone() }, Some(error))
        }
        SendError::Refused(DeliveryError { error, pause_ms, .. }) => {
            (SendOutcome::Failed { error: error.clone(), pause_ms }, Some(error))
        }
    }
}

/// Sends one event. `read` is the event, if the worker's memory has a recent copy of it. Otherwise,
/// this function reads the event from the store.
pub(super) async fn send(
    outbox: &Outbox,
    endpoint: &Endpoint,
    position: i64,
    read: Option<Arc<EventRead>>,
) -> Result<(), SendError> {
    let read = match read {
        Some(read) => read,
        None => match outbox.node.store().event_at(position).await {
            Ok(Some(read)) => Arc::new(read),
            Ok(None) => {
                return Err(SendError::UnreadableEvent("the event was deleted".to_owned()));
            }
            Err(error) => {
                return Err(SendError::Deferred(format!("failed to read the event: {error}")));
            }
        },
    };
    let stored = match &*read {
        Ok(stored) => stored,
        Err(UnreadableEvent { what, .. })
            if EventType::parse(what).is_none() && is_unknown_type(what) =>
        {
            return Err(SendError::Deferred(format!(
                "the event type {what:?} is unknown to this version; upgrade this node"
            )));
        }
        Err(unreadable) => {
            return Err(SendError::UnreadableEvent(format!(
                "the event's row is invalid: {}",
                unreadable.reason
            )));
        }
    };
    match outbox.message(stored).await {
        Some(message) => Ok(outbox.send(endpoint, &message).await?),
        None => Err(SendError::Deferred("this node does not know the event's item yet".to_owned())),
    }
}

/// Returns whether the text can be an event type that only a newer version knows: two words with a
/// dot between them.
fn is_unknown_type(text: &str) -> bool {
    let is_word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    text.split_once('.').is_some_and(|(of, what)| is_word(of) && is_word(what))
}

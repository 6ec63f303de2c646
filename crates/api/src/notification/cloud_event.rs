//! The envelope of messages to brokers: `CloudEvents` 1.0, structured mode, JSON.

use serde::Serialize;
use serde_json::value::RawValue;

/// A message to a broker: the same event and data as webhooks receive, in the envelope of
/// `CloudEvents`.
#[derive(Clone, Debug, Serialize)]
pub struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    what: &'a str,
    subject: &'a str,
    time: &'a str,
    datacontenttype: &'static str,
    partitionkey: &'a str,
    data: &'a RawValue,
}

impl<'a> CloudEvent<'a> {
    /// The content type of a message.
    pub const CONTENT_TYPE: &'static str = "application/cloudevents+json; charset=utf-8";

    /// Returns the message for an event that happened to the object `key`. `source` is the
    /// deployment that sends the message.
    #[must_use]
    pub fn new(
        id: &'a str,
        source: &'a str,
        what: &'a str,
        key: &'a str,
        time: &'a str,
        data: &'a RawValue,
    ) -> Self {
        let (specversion, datacontenttype) = ("1.0", "application/json");
        Self {
            specversion,
            id,
            source,
            what,
            subject: key,
            time,
            datacontenttype,
            partitionkey: key,
            data,
        }
    }
}

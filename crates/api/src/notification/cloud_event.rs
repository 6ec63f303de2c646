//! The envelope in which brokers are told: `CloudEvents` 1.0, structured, as JSON.

use serde::Serialize;
use serde_json::value::RawValue;

/// A message to a broker: the same event with the same data as webhooks are told, in `CloudEvents`'
/// envelope.
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
    /// What a message says that its body is.
    pub const CONTENT_TYPE: &'static str = "application/cloudevents+json; charset=utf-8";

    /// The event `id` of type `what`, which happened at `time` to what `key` names; `source` says
    /// which deployment tells of it.
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

//! Converts the event filter and the signing secrets of an endpoint to and from JSON documents.
use doorbuster_core::Millis;
use doorbuster_core::outbox::EventFilter;
use serde_json::{Value, json};

use crate::contract::EndpointSecret;

pub(crate) fn types_to_json(wanted: &EventFilter) -> String {
    json!(wanted.words()).to_string()
}

pub(crate) fn types_from_json(document: &str) -> Option<EventFilter> {
    serde_json::from_str(document).ok().map(EventFilter::from_words)
}

pub(crate) fn secrets_to_json(secrets: &[EndpointSecret]) -> String {
    let each = secrets
        .iter()
        .map(|secret| json!({"secret": secret.secret, "until": secret.until.map(|until| until.0)}));
    Value::Array(each.collect()).to_string()
}

pub(crate) fn secrets_from_json(document: &str) -> Option<Vec<EndpointSecret>> {
    let values: Vec<Value> = serde_json::from_str(document).ok()?;
    let secret = |value: &Value| {
        let until = value.get("until").and_then(Value::as_i64).map(Millis);
        Some(EndpointSecret { secret: value.get("secret")?.as_str()?.to_owned(), until })
    };
    values.iter().map(secret).collect()
}

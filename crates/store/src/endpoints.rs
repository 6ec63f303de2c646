//! Converts endpoints to and from rows, for every backend. Event filters and signing secrets are
//! JSON documents.
use doorbuster_core::Millis;
use doorbuster_core::outbox::EventFilter;
use serde_json::{Value, json};

use crate::contract::{Endpoint, EndpointKind, EndpointSecret};

/// The word for all event types, including types that later versions add.
const ALL: &str = "*";

/// Returns the event filter as a JSON document.
pub(crate) fn types_to_json(wanted: &EventFilter) -> String {
    match wanted {
        EventFilter::All => json!([ALL]).to_string(),
        EventFilter::Only(types) => json!(types).to_string(),
    }
}

fn types_from_json(document: &str) -> Option<EventFilter> {
    let words: Vec<String> = serde_json::from_str(document).ok()?;
    Some(if words.iter().any(|word| word == ALL) {
        EventFilter::All
    } else {
        EventFilter::Only(words)
    })
}

/// Returns the secrets as a JSON document.
pub(crate) fn secrets_to_json(secrets: &[EndpointSecret]) -> String {
    let each = secrets
        .iter()
        .map(|secret| json!({"secret": secret.secret, "until": secret.until.map(|until| until.0)}));
    Value::Array(each.collect()).to_string()
}

fn secrets_from_json(document: &str) -> Option<Vec<EndpointSecret>> {
    let values: Vec<Value> = serde_json::from_str(document).ok()?;
    let secret = |value: &Value| {
        let until = value.get("until").and_then(Value::as_i64).map(Millis);
        Some(EndpointSecret { secret: value.get("secret")?.as_str()?.to_owned(), until })
    };
    values.iter().map(secret).collect()
}

/// The columns of a row of `endpoint`.
pub(crate) struct EndpointRow {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) url: String,
    pub(crate) types: String,
    pub(crate) secrets: String,
    pub(crate) position: i64,
    pub(crate) enabled: bool,
    pub(crate) created_at: Millis,
}

impl EndpointRow {
    /// Returns the endpoint, or `None` if the row is invalid.
    pub(crate) fn endpoint(self) -> Option<Endpoint> {
        Some(Endpoint {
            kind: EndpointKind::parse(&self.kind)?,
            wanted: types_from_json(&self.types)?,
            secrets: secrets_from_json(&self.secrets)?,
            id: self.id,
            url: self.url,
            position: self.position,
            enabled: self.enabled,
            created_at: self.created_at,
        })
    }
}

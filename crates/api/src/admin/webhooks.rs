//! The endpoints that receive events, and their failed deliveries.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, RefOr, Schema, Type};

use crate::body::{self, Object, read};
use crate::limits::{OVERLAP_SECS_DEFAULT, OVERLAP_SECS_MAX};
use crate::notification::{ALL_TYPES, EVENT_ID_PATTERN, EventType};
use crate::problem::Problem;
use crate::value::Time;

pub use doorbuster_types::{DeliveryState, EndpointKind};

fn types() -> Schema {
    let words = std::iter::once(ALL_TYPES).chain(EventType::ALL.iter().map(|what| what.as_str()));
    let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
    ArrayBuilder::new()
        .items(RefOr::T(word.into()))
        .min_items(Some(1))
        .max_items(Some(EventType::ALL.len()))
        .unique_items(true)
        .description(Some(
            "The event types to receive, or `[\"*\"]` for all types, including future ones.",
        ))
        .into()
}

/// A known scheme in small or capital letters, then a host or a user name, then any characters.
const ADDRESS_PATTERN: &str = r"^([Hh][Tt][Tt][Pp][Ss]?|[Aa][Mm][Qq][Pp][Ss]?|[Nn][Aa][Tt][Ss]|[Tt][Ll][Ss])://[!\u0022$-.0->@-\u005B\u005D-~][!-~]*$";

fn address() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(ADDRESS_PATTERN))
        .max_length(Some(crate::limits::WEBHOOK_URL_BYTES_MAX))
        .description(Some(
            "The URL of a webhook, without user name and fragment: https, or http if the server \
             allows private addresses. Or the URL of a broker in the server's settings: amqp, \
             amqps, nats or tls.",
        ))
        .examples(["https://shop.example/hooks/doorbuster"])
        .into()
}

/// An endpoint to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"url": "https://shop.example/hooks/doorbuster", "types": ["order.paid", "order.refunded"]})))]
pub struct NewWebhookEndpoint {
    /// The endpoint's URL.
    #[schema(schema_with = address)]
    pub url: String,
    /// The event types that the endpoint receives.
    #[schema(schema_with = types)]
    pub types: Vec<String>,
    /// Whether the endpoint receives events.
    #[schema(required = false, default = true)]
    pub enabled: bool,
}

impl NewWebhookEndpoint {
    /// Reads the body of `POST /v1/admin/webhook-endpoints`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["url", "types", "enabled"], |body| {
            let url = body.required("url", read::address);
            let types = body.required("types", read_types);
            let enabled = body.optional("enabled", true, read::boolean);
            Some(Self { url: url?, types: types?, enabled: enabled? })
        })
    }
}

fn read_types(
    raw: &serde_json::value::RawValue,
    pointer: &str,
    faults: &mut body::Faults,
) -> Option<Vec<String>> {
    let counts = 1..=EventType::ALL.len();
    let words = read::list(raw, pointer, faults, counts, |raw, pointer, faults| {
        Some(read::string(raw, pointer, faults)?.into_owned())
    })?;
    let mut is_good = true;
    for (index, word) in words.iter().enumerate() {
        let at = || format!("{pointer}/{index}");
        if word != ALL_TYPES && EventType::parse(word).is_none() {
            let known: Vec<&str> = EventType::ALL.iter().map(|what| what.as_str()).collect();
            faults.add(
                &at(),
                format!("is not an event type; the known types are * and {}", known.join(", ")),
            );
            is_good = false;
        } else if words[..index].contains(word) {
            faults.add(&at(), "is given twice");
            is_good = false;
        }
    }
    is_good.then_some(words)
}

/// Changes to an endpoint, as a JSON merge patch: absent members keep their values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"types": ["*"]}), json!({"enabled": false})))]
pub struct WebhookEndpointPatch {
    /// The new URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = address, required = false)]
    pub url: Option<String>,
    /// The new event types.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = types, required = false)]
    pub types: Option<Vec<String>>,
    /// Whether the endpoint receives events. When a disabled endpoint is enabled again, it gets the
    /// events that it missed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = bool, required = false)]
    pub enabled: Option<bool>,
}

impl WebhookEndpointPatch {
    /// Reads the body of `PATCH /v1/admin/webhook-endpoints/{endpoint}`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["url", "types", "enabled"], |body| {
            let url = body.optional("url", None, read::not_null(read::address));
            let types = body.optional("types", None, read::not_null(read_types));
            let enabled = body.optional("enabled", None, read::not_null(read::boolean));
            Some(Self { url: url?, types: types?, enabled: enabled? })
        })
    }
}

/// How a secret is replaced. The whole body may be absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"overlap_secs": 86_400})))]
pub struct SecretRotation {
    /// The number of seconds for which the server also signs messages with the old secrets.
    #[schema(required = false, minimum = 0, maximum = 604_800, default = 86_400)]
    pub overlap_secs: u32,
}

impl Default for SecretRotation {
    fn default() -> Self {
        Self { overlap_secs: OVERLAP_SECS_DEFAULT }
    }
}

impl SecretRotation {
    /// Reads a body, which may be empty.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        body::object(bytes, &["overlap_secs"], |body| {
            let overlap = body.optional(
                "overlap_secs",
                OVERLAP_SECS_DEFAULT,
                read::count(0..=OVERLAP_SECS_MAX),
            );
            Some(Self { overlap_secs: overlap? })
        })
    }
}

/// An endpoint with its secret. The server shows `secret` only in this response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "end_8Qm2Zr0aT1kP", "kind": "webhook", "secret": "whsec_ZG9vcmJ1c3RlciBzaWducyB3aXRoIHRoaXMh", "url": "https://shop.example/hooks/doorbuster",
    "types": ["order.paid"], "enabled": true, "created_at": "2026-11-20T09:00:00.000Z"
})))]
pub struct CreatedWebhookEndpoint {
    /// The endpoint's id.
    pub id: String,
    /// The endpoint's kind.
    pub kind: EndpointKind,
    /// The secret with which the server signs messages, in the format of Standard Webhooks. The
    /// server cannot show the secret again. `null` for a broker, because messages to a broker are
    /// not signed.
    #[schema(required = true)]
    pub secret: Option<String>,
    /// The endpoint's URL.
    pub url: String,
    /// The event types that the endpoint receives.
    pub types: Vec<String>,
    /// Whether the endpoint receives events.
    pub enabled: bool,
    /// When the endpoint was added. The endpoint receives the events after this time.
    pub created_at: Time,
}

/// An endpoint, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "end_8Qm2Zr0aT1kP", "kind": "webhook", "url": "https://shop.example/hooks/doorbuster", "types": ["order.paid"], "enabled": true,
    "created_at": "2026-11-20T09:00:00.000Z", "secrets": [{"signs_until": null}], "waiting": 0, "failing": 0, "dead": 0,
    "oldest_waiting_at": null
})))]
pub struct WebhookEndpoint {
    /// The endpoint's id.
    pub id: String,
    /// The endpoint's kind.
    pub kind: EndpointKind,
    /// The endpoint's URL; a broker's password is shown as `***`.
    pub url: String,
    /// The event types that the endpoint receives.
    pub types: Vec<String>,
    /// Whether the endpoint receives events.
    pub enabled: bool,
    /// When the endpoint was added.
    pub created_at: Time,
    /// The secrets with which the server signs messages, newest first.
    pub secrets: Vec<LiveSecret>,
    /// The number of events that were not sent to the endpoint yet. The number includes events of
    /// types that the endpoint does not receive.
    pub waiting: u64,
    /// The number of events that the endpoint did not accept and that the server will send again.
    pub failing: u64,
    /// The number of the endpoint's unresolved dead letters.
    pub dead: u64,
    /// When the oldest undelivered event started to wait; `null` if no event waits.
    #[schema(required = true)]
    pub oldest_waiting_at: Option<Time>,
}

/// A secret's validity, without the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveSecret {
    /// The time until which the server signs with the secret; `null` if no end is set.
    #[schema(required = true)]
    pub signs_until: Option<Time>,
}

/// Every endpoint, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookEndpointList {
    /// The endpoints.
    pub endpoints: Vec<WebhookEndpoint>,
}

/// An event that an endpoint did not accept at the first attempt. The server does not record
/// deliveries that succeed at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "event": "evt_0000000000000042_f2aa95665c", "type": "order.paid", "about": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa",
    "state": "pending", "tries": 3, "next_try_at": "2026-11-20T10:00:46.000Z", "error": "the endpoint answered 503", "reason": null,
    "since": "2026-11-20T10:00:42.000Z", "dead_letter": null
})))]
pub struct Delivery {
    /// The event's id.
    pub event: String,
    /// The event's type; `null` if the event was deleted.
    #[serde(rename = "type")]
    #[schema(required = true)]
    pub what: Option<String>,
    /// The order, item or sale to which the event belongs.
    pub about: String,
    /// The delivery's state.
    pub state: DeliveryState,
    /// The number of failed attempts that counted. Of the refusals of an event, at most six count.
    pub tries: u32,
    /// The time of the next attempt; `null` if the server will not try again.
    #[schema(required = true)]
    pub next_try_at: Option<Time>,
    /// The last error.
    #[schema(required = true)]
    pub error: Option<String>,
    /// Why an operator discarded the delivery; `null` if no operator discarded it.
    #[schema(required = true)]
    pub reason: Option<String>,
    /// When the delivery entered this state.
    pub since: Time,
    /// The id of this delivery's dead letter; `null` if the delivery is not a dead letter.
    #[schema(required = true)]
    pub dead_letter: Option<String>,
}

/// A page of deliveries, newest event first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeliveryList {
    /// The deliveries of this page.
    pub deliveries: Vec<Delivery>,
    /// The `cursor` of the next page; `null` on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

fn event_id() -> Schema {
    let text = ObjectBuilder::new().schema_type(Type::String).pattern(Some(EVENT_ID_PATTERN));
    text.examples(["evt_0000000000000042_f2aa95665c"]).into()
}

/// An event to deliver to an endpoint again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"event": "evt_0000000000000042_f2aa95665c"})))]
pub struct Redelivery {
    /// The event's id.
    #[schema(schema_with = event_id)]
    pub event: String,
}

impl Redelivery {
    /// Reads the body of `POST /v1/admin/webhook-endpoints/{endpoint}/deliveries`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["event"], |body: &mut Object<'_, '_>| {
            let event = body.required("event", read::event_id)?;
            Some(Self { event })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_an_endpoint_is_reported() {
        let good = br#"{"url":"https://shop.example/h","types":["order.paid","*"]}"#;
        let read = NewWebhookEndpoint::from_json(good).expect("a valid body");
        assert_eq!((read.types.len(), read.enabled), (2, true));
        let check = |body: &str, pointers: &[&str]| {
            let problem = NewWebhookEndpoint::from_json(body.as_bytes()).expect_err(body);
            let found: Vec<_> =
                problem.faults().iter().map(|fault| fault.pointer.as_str()).collect();
            assert_eq!(found, pointers, "{body}");
        };
        check(r#"{}"#, &["/url", "/types"]);
        for broker in ["amqp://a:b@h/v", "amqps://a:b@h", "nats://h", "tls://h"] {
            let body = format!(r#"{{"url":"{broker}","types":["*"]}}"#);
            assert_eq!(
                NewWebhookEndpoint::from_json(body.as_bytes()).expect("a valid body").url,
                broker
            );
        }
        assert!(
            NewWebhookEndpoint::from_json(br#"{"url":"HTTPS://shop.example/","types":["*"]}"#)
                .is_ok()
        );
        check(r#"{"url":"ftp://x","types":[]}"#, &["/url", "/types"]);
        check(
            r#"{"url":"https://x","types":["order.payed","order.paid","order.paid",7]}"#,
            &["/types/3"],
        );
        check(
            r#"{"url":"https://x","types":["order.payed","order.paid","order.paid"]}"#,
            &["/types/0", "/types/2"],
        );
        check(
            r#"{"url":"https://x","types":"*","enabled":1,"secret":"x"}"#,
            &["/secret", "/types", "/enabled"],
        );
    }

    #[test]
    fn a_rotation_may_have_no_body() {
        assert_eq!(SecretRotation::from_json(b"").expect("empty"), SecretRotation::default());
        assert_eq!(
            SecretRotation::from_json(br#"{"overlap_secs":0}"#).expect("a valid body").overlap_secs,
            0
        );
        assert!(SecretRotation::from_json(br#"{"overlap_secs":604801}"#).is_err());
        assert!(Redelivery::from_json(br#"{"event":"evt_0000000000000042_f2aa95665c"}"#).is_ok());
        for wrong in [
            r#"{"event":"42"}"#,
            r#"{"event":"evt_0000000000000000"}"#,
            r#"{"event":"evt_-1"}"#,
            "{}",
        ] {
            assert_eq!(Redelivery::from_json(wrong.as_bytes()).expect_err(wrong).status(), 422);
        }
    }
}

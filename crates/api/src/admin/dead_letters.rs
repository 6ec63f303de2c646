//! Dead letters: events, refunds and tickets that the server stopped retrying.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::payments::Refund;
use crate::body::{self, read};
use crate::problem::Problem;
use crate::value::Time;

pub use doorbuster_types::DeadLetterKind;

/// A dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "dlv_7", "kind": "delivery", "about": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa", "error": "the endpoint answered 500",
    "tries": 20, "at": "2026-11-20T10:00:42.000Z", "endpoint": "end_8Qm2Zr0aT1kP", "event": "evt_0000000000000042_f2aa95665c", "type": "order.paid"
})))]
pub struct DeadLetter {
    /// The id: `dlv_…` for a delivery, the refund's id, or the ticket's id.
    pub id: String,
    /// What failed: a delivery, a refund or a ticket.
    pub kind: DeadLetterKind,
    /// The order, item or sale to which the dead letter belongs.
    pub about: String,
    /// The last error.
    pub error: String,
    /// The number of failed attempts that counted. Of the refusals of an event, at most six count.
    pub tries: u32,
    /// When the server stopped retrying; for a refund, when the refund was created.
    pub at: Time,
    /// The endpoint that did not accept the event; `null` for a refund or a ticket.
    #[schema(required = true)]
    pub endpoint: Option<String>,
    /// The event's id; `null` for a refund or a ticket.
    #[schema(required = true)]
    pub event: Option<String>,
    /// The event's type; `null` for a refund or a ticket, or if the event was deleted.
    #[serde(rename = "type")]
    #[schema(required = true)]
    pub what: Option<String>,
}

/// A dead letter with its content. The content is in `message` for an event, in `refund` for a
/// refund, and in `request` for a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "id": "dlv_7", "kind": "delivery", "about": "sale:spring", "error": "the endpoint answered 500", "tries": 20, "at": "2026-11-20T10:00:42.000Z",
    "endpoint": "end_8Qm2Zr0aT1kP", "event": "evt_0000000000000042_f2aa95665c", "type": "sale.opened",
    "message": {"id": "evt_0000000000000042_f2aa95665c", "type": "sale.opened", "timestamp": "2026-11-20T10:00:00.000Z", "data": {"sale": "spring"}},
    "refund": null, "request": null
})))]
pub struct DeadLetterDetail {
    /// The dead letter, with the same members as in the list of dead letters. In JSON, these
    /// members and the members below are in one object.
    #[serde(flatten)]
    pub letter: DeadLetter,
    /// The event, in the form that webhooks get. A broker gets the same data in another envelope.
    /// The member is `null` for a refund or a ticket. It is also `null` if the event was deleted or
    /// if the server cannot read the event.
    #[schema(required = true, value_type = Option<Object>)]
    pub message: Option<serde_json::Value>,
    /// The refund that a provider did not make; `null` for an event or a ticket.
    #[schema(required = true)]
    pub refund: Option<Refund>,
    /// The request that the server could not decide; `null` for an event or a refund.
    #[schema(required = true)]
    pub request: Option<UndecidedRequest>,
}

/// A purchase request that the server could not decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UndecidedRequest {
    /// The sale.
    pub sale: String,
    /// The requested item.
    pub item: String,
    /// The buyer.
    pub buyer: String,
    /// The number of requested units.
    pub units: u32,
}

/// A page of unresolved dead letters: deliveries, then refunds, then tickets. Each kind is sorted
/// newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetterList {
    /// The dead letters of this page.
    pub dead_letters: Vec<DeadLetter>,
    /// The `cursor` of the next page; `null` on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Why a dead letter is discarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"reason": "the shop read the order in the export"})))]
pub struct Discard {
    /// The reason in one line, for other operators. Without a body, the reason is `none given`.
    #[schema(schema_with = crate::admin::schema::title)]
    pub reason: String,
}

impl Discard {
    /// Reads the body of `POST /v1/admin/dead-letters/{letter}/discard`. The body may be absent.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.is_empty() {
            return Ok(Self { reason: "none given".to_owned() });
        }
        body::object(bytes, &["reason"], |body| {
            Some(Self { reason: body.required("reason", read::title)? })
        })
    }
}

/// The dead letters to resolve together: the dead letters of one endpoint, or all dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetterSelection {
    /// Selects the dead letters of this endpoint: the events that the endpoint did not accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// `true` selects all dead letters. If `all` is `false`, `endpoint` is required.
    pub all: bool,
    /// The reason, for other operators. A request to discard dead letters must have a reason. A
    /// request to retry dead letters must not have a reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The schema of the body that [`DeadLetterSelection::parse_retry`] reads.
#[derive(Clone, Copy, Debug)]
pub struct ManyToRetry;

impl PartialSchema for ManyToRetry {
    fn schema() -> RefOr<Schema> {
        let shape = selection_schema(|object| object)
            .description(Some("Retries the dead letters of one endpoint, or all dead letters."));
        shape.examples([serde_json::json!({"endpoint": "end_8Qm2Zr0aT1kP"})]).into()
    }
}

impl ToSchema for ManyToRetry {}

/// The schema of the body that [`DeadLetterSelection::parse_discard`] reads.
#[derive(Clone, Copy, Debug)]
pub struct ManyToDiscard;

impl PartialSchema for ManyToDiscard {
    fn schema() -> RefOr<Schema> {
        let shape = selection_schema(|object| {
            object.property("reason", super::schema::title()).required("reason")
        });
        let shape = shape.description(Some(
            "Discards the dead letters of one endpoint, or all dead letters, with a reason.",
        ));
        let example = serde_json::json!({
            "endpoint": "end_8Qm2Zr0aT1kP", "reason": "the shop took the events from the export"
        });
        shape.examples([example]).into()
    }
}

impl ToSchema for ManyToDiscard {}

/// Returns the schema of a selection: one endpoint, or all dead letters. `more` adds further
/// members to both forms.
fn selection_schema(more: impl Fn(ObjectBuilder) -> ObjectBuilder) -> OneOfBuilder {
    let object = || more(ObjectBuilder::new().schema_type(Type::Object));
    let all =
        |value: bool| ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([value]));
    let closed = |shape: ObjectBuilder| {
        shape.additional_properties(Some(AdditionalProperties::FreeForm(false)))
    };
    let of_one = object()
        .property("endpoint", super::schema::name())
        .required("endpoint")
        .property("all", all(false));
    let of_all = object().property("all", all(true)).required("all");
    OneOfBuilder::new().item(closed(of_one)).item(closed(of_all))
}

impl DeadLetterSelection {
    /// Reads the body of `POST /v1/admin/dead-letters/retry`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn parse_retry(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["endpoint", "all"], Self::read)
    }

    /// Reads the body of `POST /v1/admin/dead-letters/discard`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn parse_discard(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["endpoint", "all", "reason"], |body| {
            let reason = body.required("reason", read::title);
            let selection = Self::read(body);
            Some(Self { reason: Some(reason?), ..selection? })
        })
    }

    /// Reads the members `endpoint` and `all`, which the bodies of both requests have.
    fn read(body: &mut body::Object<'_, '_>) -> Option<Self> {
        let endpoint = body.optional("endpoint", None, read::not_null(read::name));
        let all = body.optional("all", false, read::boolean);
        let (endpoint, all) = (endpoint?.map(Cow::into_owned), all?);
        if endpoint.is_some() == all {
            return body.refuse("endpoint", "send an endpoint, or set all to true");
        }
        Some(Self { endpoint, all, reason: None })
    }
}

/// The result of resolving many dead letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"done": 98, "skipped": 2, "next_cursor": null})))]
pub struct BulkDeadLetterResolution {
    /// The number of dead letters that the request retried or discarded.
    pub done: u32,
    /// The number of dead letters that did not change. A retry skips a dead letter if its event was
    /// deleted or if its endpoint's queue is full. A retry also skips all tickets, because tickets
    /// cannot be retried.
    pub skipped: u32,
    /// The `cursor` for the next request; `null` if no dead letters are left.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// The result of resolving one dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"id": "dlv_7", "state": "pending"})))]
pub struct DeadLetterResolution {
    /// The dead letter's id.
    pub id: String,
    /// `pending`: the server retries the dead letter. `discarded`: an operator discarded it.
    pub state: DeadLetterResolutionState,
}

/// The new state of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeadLetterResolutionState {
    /// The server retries the dead letter.
    Pending,
    /// An operator discarded the dead letter.
    Discarded,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_without_a_reason_reports_the_faults_of_the_other_members_too() {
        let check = |body: &str, expected: &[&str]| {
            let problem = DeadLetterSelection::parse_discard(body.as_bytes()).expect_err(body);
            let faults: Vec<&str> =
                problem.faults().iter().map(|fault| fault.pointer.as_str()).collect();
            assert_eq!(faults, expected, "{body}");
        };
        check(r#"{"all":7}"#, &["/reason", "/all"]);
        check(r#"{"endpoint":null,"all":7,"reason":""}"#, &["/reason", "/endpoint", "/all"]);
        check("{}", &["/reason", "/endpoint"]);
        let body = br#"{"all":true,"reason":"a test shop"}"#;
        let found = DeadLetterSelection::parse_discard(body).expect("a valid body");
        assert_eq!(found.reason.as_deref(), Some("a test shop"));
    }
}

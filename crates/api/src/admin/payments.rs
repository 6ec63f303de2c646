//! Payments and refunds as operators see them, and the bodies of operators' changes to orders.

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::body::{self, read};
use crate::limits::EXTEND_SECS_MAX;
use crate::problem::Problem;
use crate::value::{Money, Time};

pub use doorbuster_types::{PaymentState, RefundCause, RefundState, ReversalKind};

/// A payment for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "payment": "pay_1", "order": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa",
    "amount": {"amount_minor": 100, "currency": "CNY"}, "state": "captured", "provider": "sandbox",
    "at": "2026-11-20T10:00:42.000Z"
})))]
pub struct Payment {
    /// The provider's id of the payment.
    pub payment: String,
    /// The id of the order that the payment names, as the provider wrote the id.
    pub order: String,
    /// The amount.
    pub amount: Money,
    /// The payment's state.
    pub state: PaymentState,
    /// The provider that sent the report.
    pub provider: String,
    /// When the provider first reported the payment.
    pub at: Time,
}

/// A page of payments, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PaymentList {
    /// The payments of this page.
    pub payments: Vec<Payment>,
    /// The `cursor` of the next page; `null` on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// Money that went back to the buyer without a refund by the shop. The payment and the order do not
/// change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "payment": "pay_1", "order": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa",
    "amount": {"amount_minor": 100, "currency": "CNY"}, "kind": "disputed", "dispute": "dp_1", "stands": true, "provider": "stripe"
})))]
pub struct Reversal {
    /// The provider's id of the payment.
    pub payment: String,
    /// The order that the payment names.
    pub order: String,
    /// The amount that went back, as the provider reported it.
    pub amount: Money,
    /// `returned`: refunded at the provider's console; `disputed`: taken back by the buyer's bank.
    pub kind: ReversalKind,
    /// The provider's id of the dispute, or `null`. A payment may have several disputes.
    pub dispute: Option<String>,
    /// `false`: the reversal was cancelled, and the shop has the money again.
    pub stands: bool,
    /// The provider that sent the report.
    pub provider: String,
}

/// A refund of one whole payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "refund": "ref_5d41402abc4b2a76b9719d911017c592", "payment": "pay_1",
    "order": "ord_AZqUxU8JZpDE0iGXlD6gNCFbaEPFjbD0kH8Oool8DklZDOCj2ISa",
    "amount": {"amount_minor": 100, "currency": "CNY"}, "state": "pending", "cause": "operator", "provider": "sandbox",
    "tries": 0, "error": null, "at": "2026-11-20T11:00:00.000Z", "settled_at": null
})))]
pub struct Refund {
    /// The refund's id. The server sends this id to the provider as the idempotency key.
    pub refund: String,
    /// The refunded payment.
    pub payment: String,
    /// The order that the payment names.
    pub order: String,
    /// The amount.
    pub amount: Money,
    /// The refund's state.
    pub state: RefundState,
    /// Why the server refunds the payment.
    pub cause: RefundCause,
    /// The provider of the payment.
    pub provider: String,
    /// The number of failed attempts. When the provider accepts the refund, the number becomes 0.
    pub tries: u32,
    /// The last error, or `null`.
    #[schema(required = true)]
    pub error: Option<String>,
    /// When the server created the refund.
    pub at: Time,
    /// When the provider reported that the money arrived.
    #[schema(required = true)]
    pub settled_at: Option<Time>,
}

/// A page of refunds, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefundList {
    /// The refunds of this page.
    pub refunds: Vec<Refund>,
    /// The `cursor` of the next page; `null` on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// The reason for an operator's action. The order's history shows the reason. The whole body may be
/// absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"reason": "the buyer asked for it"})))]
pub struct Reason {
    /// The reason, in one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = crate::admin::schema::title, required = false)]
    pub reason: Option<String>,
}

impl Reason {
    /// Reads a body, which may be empty.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        body::object(bytes, &["reason"], |body| {
            Some(Self { reason: body.optional("reason", None, read::not_null(read::title))? })
        })
    }
}

/// The new end of an order's payment window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayByChange {
    /// The window ends this number of seconds after the order's present `pay_by`, or after the
    /// present time if this is later.
    Secs(u32),
    /// A new `pay_by`.
    Time(Time),
}

/// More time to pay for an order: either `secs` or `pay_by`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Extension {
    /// Seconds to add to the order's present `pay_by`, or to the present time if this is later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secs: Option<u32>,
    /// A new `pay_by`, later than the present one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pay_by: Option<Time>,
    /// The reason, for the order's history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl PartialSchema for Extension {
    fn schema() -> RefOr<Schema> {
        let secs = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(EXTEND_SECS_MAX))
            .description(Some(
                "Seconds to add to the order's present `pay_by`, or to the present time if this is \
                 later.",
            ));
        let by = |member: &str, value: RefOr<Schema>| {
            ObjectBuilder::new()
                .schema_type(Type::Object)
                .property(member, value)
                .required(member)
                .property("reason", super::schema::title())
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        };
        OneOfBuilder::new()
            .item(by("secs", secs.into()))
            .item(by("pay_by", Time::schema()))
            .description(Some(
                "More time to pay for an order: `secs`, or a `pay_by` later than the present one.",
            ))
            .examples([serde_json::json!({"secs": 600, "reason": "the bank is slow"})])
            .into()
    }
}

impl ToSchema for Extension {}

impl Extension {
    /// Reads the body of an extension.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<(PayByChange, Self), Problem> {
        body::object(bytes, &["secs", "pay_by", "reason"], |body| {
            let secs =
                body.optional("secs", None, read::not_null(read::count(1..=EXTEND_SECS_MAX)));
            let pay_by = body.optional("pay_by", None, read::not_null(read::time));
            let reason = body.optional("reason", None, read::not_null(read::title));
            let (secs, pay_by) = (secs?, pay_by?);
            let until = match (secs, pay_by) {
                (Some(secs), None) => Some(PayByChange::Secs(secs)),
                (None, Some(time)) => Some(PayByChange::Time(time)),
                (None, None) => body.refuse("secs", "is missing; send secs or pay_by"),
                (Some(_), Some(_)) => {
                    body.refuse("pay_by", "cannot be combined with secs; send only one of them")
                }
            };
            Some((until?, Self { secs, pay_by, reason: reason? }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_has_exactly_one_of_secs_and_pay_by() {
        let check = |json: &str, expected: Option<PayByChange>| {
            assert_eq!(
                Extension::from_json(json.as_bytes()).ok().map(|read| read.0),
                expected,
                "{json}"
            );
        };
        check(r#"{"secs":60}"#, Some(PayByChange::Secs(60)));
        check(r#"{"secs":60,"reason":"why"}"#, Some(PayByChange::Secs(60)));
        check(
            r#"{"pay_by":"1970-01-01T00:00:01Z"}"#,
            Some(PayByChange::Time(Time::from_millis(1_000))),
        );
        for wrong in [
            r#"{}"#,
            r#"{"secs":0}"#,
            r#"{"secs":-1}"#,
            r#"{"secs":1.5}"#,
            r#"{"secs":null}"#,
            r#"{"secs":2592001}"#,
            r#"{"pay_by":"soon"}"#,
            r#"{"secs":60,"pay_by":"1970-01-01T00:00:01Z"}"#,
            r#"{"secs":60,"until":1}"#,
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_reason_is_optional_and_read_strictly() {
        let read = |json: &str| Reason::from_json(json.as_bytes()).map(|read| read.reason);
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(r#"{"reason":"late"}"#), Ok(Some("late".into())));
        for wrong in [r#"{"reason":" "}"#, r#"{"reason":null}"#, r#"{"why":"late"}"#] {
            assert_eq!(read(wrong).map_err(|problem| problem.status()), Err(422), "{wrong}");
        }
        assert_eq!(read("[]").map_err(|problem| problem.status()), Err(400));
    }
}

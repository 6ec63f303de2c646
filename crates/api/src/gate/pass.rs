//! Purchase passes: the request for a pass, and the pass.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::body::{self, Faults, Object, read};
use crate::limits::{ACCESS_CODE_CHARS_MAX, ANSWER_BYTES_MAX, CHALLENGE_BYTES_MAX};
use crate::problem::Problem;
use crate::value::Time;

/// The request for a pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"item": "phone", "access_code": "7K2M-Q0XA-93TN-ZE5H"})))]
pub struct NewPass {
    /// The item to buy.
    #[schema(schema_with = crate::admin::schema::name)]
    pub item: String,
    /// The solved challenge, if the sale requires a challenge.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 2048)]
    pub challenge: Option<String>,
    /// The answer to the challenge.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = ChallengeAnswer, required = false)]
    pub answer: Option<ChallengeAnswer>,
    /// An access code, if the sale requires access codes. Case, spaces and hyphens do not matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, min_length = 1, max_length = 64)]
    pub access_code: Option<String>,
}

/// The answer to a challenge, in one of these forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChallengeAnswer {
    /// The answer to `image`: the letters and digits.
    Text(String),
    /// The answer to `slider`: the distance of the piece from the picture's left edge, in pixels.
    X(u32),
    /// The answer to `pow`: the payload that an ALTCHA widget makes.
    Altcha(String),
}

/// The largest `x` in an answer to a slider: the distance of the piece from the picture's left
/// edge, in pixels. A larger number gets `422`.
const X_MAX: u32 = 10_000;

impl PartialSchema for ChallengeAnswer {
    fn schema() -> RefOr<Schema> {
        let only = |member: &str, value: ObjectBuilder, description: &str| {
            ObjectBuilder::new()
                .schema_type(Type::Object)
                .property(member, value.description(Some(description)))
                .required(member)
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        };
        let text = || {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .min_length(Some(1))
                .max_length(Some(ANSWER_BYTES_MAX))
        };
        let x =
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(X_MAX));
        OneOfBuilder::new()
            .item(only("text", text(), "The answer to `image`: the letters and digits."))
            .item(only(
                "x",
                x,
                "The answer to `slider`: the distance of the piece from the picture's left edge, \
                 in pixels.",
            ))
            .item(only(
                "altcha",
                text(),
                "The answer to `pow`: the payload that an ALTCHA widget makes.",
            ))
            .description(Some("The answer to a challenge, in one of these forms."))
            .into()
    }
}

impl ToSchema for ChallengeAnswer {}

impl NewPass {
    /// Reads the body of `POST /v1/sales/{sale}/passes`.
    ///
    /// # Errors
    /// `400` or `422`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Problem> {
        body::object(bytes, &["item", "challenge", "answer", "access_code"], |body| {
            let item = body.required("item", read::name);
            let challenge =
                body.optional("challenge", None, read::not_null(text(CHALLENGE_BYTES_MAX)));
            let answer = body.optional("answer", None, read::not_null(answer));
            let access_code =
                body.optional("access_code", None, read::not_null(text(ACCESS_CODE_CHARS_MAX)));
            Some(Self {
                item: item?.into_owned(),
                challenge: challenge?,
                answer: answer?,
                access_code: access_code?,
            })
        })
    }
}

fn answer(raw: &RawValue, pointer: &str, faults: &mut Faults) -> Option<ChallengeAnswer> {
    let mut object = Object::open(raw, pointer.to_owned(), &["text", "x", "altcha"], faults)?;
    let typed = object.optional("text", None, read::not_null(text(ANSWER_BYTES_MAX)));
    let x = object.optional("x", None, read::not_null(read::count(0..=X_MAX)));
    let altcha = object.optional("altcha", None, read::not_null(text(ANSWER_BYTES_MAX)));
    match (typed?, x?, altcha?) {
        (Some(text), None, None) => Some(ChallengeAnswer::Text(text)),
        (None, Some(x), None) => Some(ChallengeAnswer::X(x)),
        (None, None, Some(payload)) => Some(ChallengeAnswer::Altcha(payload)),
        _ => faults.refuse(pointer, "must have exactly one of text, x, altcha"),
    }
}

fn text<'a>(chars_max: usize) -> impl FnOnce(&'a RawValue, &str, &mut Faults) -> Option<String> {
    move |raw, pointer, faults| {
        let text = read::string(raw, pointer, faults)?;
        let chars = text.chars().count();
        if chars == 0 || chars > chars_max {
            return faults.refuse(pointer, format!("must have 1 to {chars_max} characters"));
        }
        Some(text.into_owned())
    }
}

/// A purchase pass. It is valid only for one buyer, one sale and one item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({
    "pass": "AfPcAaH7hTgAAaH7hqyAAQdhbm5h0n8m0B2sT9zjzqTb3rT3Qw", "item": "phone",
    "valid_from": "2026-11-20T10:00:00.000Z", "expires_at": "2026-11-20T10:02:00.000Z"
})))]
pub struct Pass {
    /// The value of the `Purchase-Pass` header. Clients must not parse it.
    pub pass: String,
    /// The item that the pass is for.
    pub item: String,
    /// The time from which the pass is valid: the opening of the sale or, if the sale is already
    /// open, the issue of the pass.
    pub valid_from: Time,
    /// The time at which the pass expires.
    pub expires_at: Time,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: &[(&str, &str)]) {
        let Err(problem) = NewPass::from_json(body.as_bytes()) else {
            assert!(expected.is_empty(), "{body}");
            return;
        };
        let faults: Vec<_> =
            problem.faults().iter().map(|fault| (fault.pointer.as_str(), &*fault.detail)).collect();
        assert_eq!(faults.len(), expected.len(), "{body}: {faults:?}");
        for (found, wanted) in faults.iter().zip(expected) {
            assert!(found.0 == wanted.0 && found.1.starts_with(wanted.1), "{body}: {faults:?}");
        }
    }

    #[test]
    fn every_fault_of_a_pass_request_is_reported() {
        check(r#"{"item":"phone"}"#, &[]);
        for answer in [r#"{"text":"k7q2m"}"#, r#"{"x":143}"#, r#"{"altcha":"eyJ9"}"#] {
            check(
                &format!(
                    r#"{{"item":"phone","challenge":"c","answer":{answer},"access_code":"a"}}"#
                ),
                &[],
            );
        }
        check("{}", &[("/item", "is missing")]);
        check(
            r#"{"item":"a b","challenge":"","answer":{},"access_code":7}"#,
            &[
                ("/item", "must be 1 to 64"),
                ("/challenge", "must have 1 to"),
                ("/answer", "must have exactly one"),
                ("/access_code", "must be a string"),
            ],
        );
        check(
            r#"{"item":"phone","answer":{"x":1,"text":"a"}}"#,
            &[("/answer", "must have exactly one")],
        );
        check(r#"{"item":"phone","answer":{"x":1.5}}"#, &[("/answer/x", "must be a whole number")]);
        check(
            r#"{"item":"phone","answer":{"y":1}}"#,
            &[("/answer/y", "is not a known"), ("/answer", "must have exactly one")],
        );
        check(r#"{"item":"phone","answer":null}"#, &[("/answer", "must be an object, not null")]);
        check(
            &format!(r#"{{"item":"phone","access_code":"{}"}}"#, "x".repeat(65)),
            &[("/access_code", "must have 1")],
        );
        check(r#"{"item":"phone","pass":"x"}"#, &[("/pass", "is not a known")]);
    }
}

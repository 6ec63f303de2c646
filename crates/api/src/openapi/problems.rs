//! Problems in the OpenAPI document: one schema and one example per code, one response per status.

use serde_json::Value;
use utoipa::openapi::example::ExampleBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{AllOfBuilder, Discriminator, OneOfBuilder};
use utoipa::openapi::{ContentBuilder, ObjectBuilder, Ref, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::operation::header;
use crate::endpoints::ResponseHeader;
use crate::problem::{Code, MEDIA_TYPE, Problem, ProblemBody, RateLimitScope, Requirement};
use crate::value::Time;

const COMMON: [&str; 6] = ["type", "title", "status", "code", "detail", "retryable"];

/// The schema that all problems share, and a schema for each code.
pub(super) fn schemas() -> Vec<(String, RefOr<Schema>)> {
    let mut schemas = vec![(ProblemBody::name().into_owned(), ProblemBody::schema())];
    ProblemBody::schemas(&mut schemas);
    schemas.extend(Code::ALL.map(|code| (schema_name(code), schema(code))));
    schemas
}

fn schema_name(code: Code) -> String {
    format!("Problem.{}", code.as_str())
}

/// Returns the schema of a problem with this code. The schema requires every member that a problem
/// with this code has.
fn schema(code: Code) -> RefOr<Schema> {
    let sample = example(code);
    let only = |kind: Type, value: Value| {
        ObjectBuilder::new().schema_type(kind).enum_values(Some([value]))
    };
    let own = ObjectBuilder::new()
        .property("status", only(Type::Integer, code.status().into()))
        .property("code", only(Type::String, code.as_str().into()));
    let members = sample.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let own = members.filter(|name| !COMMON.contains(name)).fold(own, ObjectBuilder::required);
    AllOfBuilder::new()
        .item(Ref::from_schema_name(ProblemBody::name()))
        .item(own)
        .description(Some(code.title()))
        .examples([sample])
        .into()
}

pub(super) fn responses() -> Vec<(String, RefOr<Response>)> {
    Code::ALL.map(|code| (code.as_str().to_owned(), response(&[code]).into())).into()
}

/// One response for each status.
pub(super) fn responses_for(codes: &[Code]) -> Vec<(String, RefOr<Response>)> {
    codes
        .chunk_by(|one, next| one.status() == next.status())
        .map(|codes| {
            let response = match codes {
                [code] => Ref::from_response_name(code.as_str()).into(),
                codes => response(codes).into(),
            };
            (codes[0].status().to_string(), response)
        })
        .collect()
}

/// Returns the response for these codes, which must all have the same status.
fn response(codes: &[Code]) -> Response {
    let names: Vec<String> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
    let builder = ResponseBuilder::new().description(names.join(", "));
    let builder = headers(codes[0])
        .iter()
        .fold(builder, |response, named| response.header(named.name(), header(*named)));
    let content = ContentBuilder::new().schema(Some(any_of(codes))).examples_from_iter(
        codes.iter().map(|code| {
            (
                code.as_str(),
                ExampleBuilder::new().summary(code.title()).value(Some(example(*code))).build(),
            )
        }),
    );
    builder.content(MEDIA_TYPE, content.build()).build()
}

fn any_of(codes: &[Code]) -> RefOr<Schema> {
    if let [code] = codes {
        return Ref::from_schema_name(schema_name(*code)).into();
    }
    let place = |code: &Code| format!("#/components/schemas/{}", schema_name(*code));
    let mapping = codes.iter().map(|code| (code.as_str().to_owned(), place(code)));
    codes
        .iter()
        .fold(OneOfBuilder::new(), |one_of, code| {
            one_of.item(Ref::from_schema_name(schema_name(*code)))
        })
        .discriminator(Some(Discriminator::with_mapping("code", mapping)))
        .into()
}

fn headers(code: Code) -> &'static [ResponseHeader] {
    match code {
        Code::Unauthenticated => &[ResponseHeader::WwwAuthenticate],
        Code::MethodNotAllowed => &[ResponseHeader::Allow],
        code if code.has_retry_after() => &[ResponseHeader::RetryAfter],
        _ => &[],
    }
}

fn example(code: Code) -> Value {
    serde_json::to_value(sample_problem(code).body())
        .expect("a problem must always serialise without an error")
}

/// Returns an example problem, which has every member that a problem with this code can have.
pub(super) fn sample_problem(code: Code) -> Problem {
    match code {
        Code::MalformedRequest => Problem::malformed_request("the body is not a JSON object"),
        Code::Unauthenticated => Problem::unauthenticated("the token has expired"),
        Code::Forbidden => Problem::forbidden("this key's role is viewer; operator is needed"),
        Code::NotEligible => Problem::not_eligible(Requirement::Member),
        Code::PassRequired => Problem::pass_required(),
        Code::PassInvalid => Problem::pass_invalid("the Purchase-Pass is for another item"),
        Code::PassExpired => Problem::pass_expired(),
        Code::ChallengeRequired => Problem::challenge_required(),
        Code::ChallengeFailed => Problem::challenge_failed(),
        Code::WaitingRoom => Problem::waiting_room(),
        Code::NotFound => Problem::not_found("there is no such sale"),
        Code::MethodNotAllowed => Problem::method_not_allowed(),
        Code::NotAcceptable => Problem::not_acceptable("application/json"),
        Code::BodyTooLarge => Problem::body_too_large(crate::limits::BODY_BYTES_MAX),
        Code::UnsupportedMediaType => Problem::unsupported_media_type(),
        Code::SoldOut => Problem::sold_out(true, 0),
        Code::LimitReached => Problem::limit_reached(10, 10),
        Code::NotStarted => Problem::not_started(Some(Time::from_millis(1_795_168_800_000))),
        Code::Paused => Problem::paused(),
        Code::Ended => Problem::ended(),
        Code::WrongState => Problem::wrong_state("paid", "only a reserved order can be cancelled"),
        Code::NotHeldOut => Problem::not_held_out(),
        Code::WaitlistFull => Problem::waitlist_full(),
        Code::AlreadyExists => Problem::already_exists("a sale with this name exists"),
        Code::PreconditionFailed => Problem::precondition_failed(),
        Code::InvalidRequest => Problem::invalid_member(
            "/units",
            "must be a whole number from 1 to 1000000, not a string",
        ),
        Code::IdempotencyKeyReused => Problem::idempotency_key_reused(),
        Code::RateLimited => Problem::rate_limited(RateLimitScope::Buyer, 1),
        Code::Overloaded => Problem::overloaded(1),
        Code::Unavailable => {
            Problem::unavailable("the store is unavailable; send the same request again", 1)
        }
        Code::Internal => Problem::internal(),
        Code::NotImplemented => Problem::unknown_transfer_coding(),
    }
}

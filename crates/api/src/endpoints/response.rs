//! Successful responses: status, content and headers.

use std::borrow::Cow;

use utoipa::ToSchema;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

/// A JSON type with its schema, for the table of endpoints.
#[derive(Clone, Copy)]
pub struct JsonType {
    name: fn() -> Cow<'static, str>,
    schema: fn() -> RefOr<Schema>,
    schemas: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl JsonType {
    /// The JSON type of `T`.
    #[must_use]
    pub const fn for_type<T: ToSchema>() -> Self {
        Self { name: T::name, schema: T::schema, schemas: T::schemas }
    }

    /// The type's name among the schemas of the OpenAPI document.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        (self.name)()
    }

    /// The first example in the type's schema, if the schema has examples.
    #[must_use]
    pub fn example(self) -> Option<serde_json::Value> {
        let schema = serde_json::to_value((self.schema)()).expect("a schema is plain data");
        schema.pointer("/examples/0").cloned()
    }

    /// Adds the type's schema, and the schema of every type in it, to `schemas`.
    pub fn collect(self, schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((self.name().into_owned(), (self.schema)()));
        (self.schemas)(schemas);
    }
}

/// The content of a response.
#[derive(Clone, Copy)]
pub enum Content {
    /// No content.
    None,
    /// `application/json` of this type.
    Json(JsonType),
    /// `text/csv`, sent as a stream. The value is the header line.
    Csv(&'static str),
    /// `text/event-stream`. The data of each event is JSON of this type.
    Events(JsonType),
    /// A WebSocket. Each text frame is JSON of this type.
    WebSocket(JsonType),
    /// Prometheus text.
    Metrics,
    /// The OpenAPI document.
    OpenApi,
    /// A page for people.
    Html,
}

impl Content {
    /// The media type. `None` if the content is a WebSocket or there is no content.
    #[must_use]
    pub const fn media_type(self) -> Option<&'static str> {
        match self {
            Self::None | Self::WebSocket(_) => None,
            Self::Json(_) | Self::OpenApi => Some("application/json"),
            Self::Csv(_) => Some("text/csv"),
            Self::Events(_) => Some("text/event-stream"),
            Self::Metrics => Some("text/plain"),
            Self::Html => Some("text/html"),
        }
    }

    /// The JSON type of the content, if there is one.
    #[must_use]
    pub const fn json_type(self) -> Option<JsonType> {
        match self {
            Self::Json(json_type) | Self::Events(json_type) | Self::WebSocket(json_type) => {
                Some(json_type)
            }
            _ => None,
        }
    }
}

/// A header of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseHeader {
    /// URL of the new object.
    Location,
    /// The number of seconds after which the client may repeat the request.
    RetryAfter,
    /// `true` if the order, the waitlist entry or the adjustment existed before this request.
    IdempotentReplayed,
    /// The object's present version.
    ETag,
    /// How long the response may be cached.
    CacheControl,
    /// How to authenticate. Every `401` has this header.
    WwwAuthenticate,
    /// The methods that the path accepts. Every `405` has this header.
    Allow,
}

impl ResponseHeader {
    /// The name in the response.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Location => "Location",
            Self::RetryAfter => "Retry-After",
            Self::IdempotentReplayed => "Idempotent-Replayed",
            Self::ETag => "ETag",
            Self::CacheControl => "Cache-Control",
            Self::WwwAuthenticate => "WWW-Authenticate",
            Self::Allow => "Allow",
        }
    }

    /// The header's description.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Location => "The URL of the new object.",
            Self::RetryAfter => "Seconds to wait before repeating the request.",
            Self::IdempotentReplayed => {
                "`true`: the object existed before, and this request changed nothing."
            }
            Self::ETag => "The present version, for `If-Match` or `If-None-Match`.",
            Self::CacheControl => "How long the response may be cached.",
            Self::WwwAuthenticate => "How to authenticate.",
            Self::Allow => "The methods that this path accepts.",
        }
    }

    /// The schema of a value.
    #[must_use]
    pub fn schema(self) -> Schema {
        match self {
            Self::RetryAfter => {
                ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).into()
            }
            Self::IdempotentReplayed => {
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["true"])).into()
            }
            _ => ObjectBuilder::new().schema_type(Type::String).into(),
        }
    }
}

/// One successful response.
#[derive(Clone, Copy)]
pub struct SuccessResponse {
    /// HTTP status.
    pub status: u16,
    /// When the server sends this response.
    pub description: &'static str,
    /// The response's content.
    pub content: Content,
    /// The response's headers.
    pub headers: &'static [ResponseHeader],
}

impl SuccessResponse {
    pub(super) const fn new(status: u16, content: Content, description: &'static str) -> Self {
        Self { status, description, content, headers: &[] }
    }

    pub(super) const fn headers(mut self, headers: &'static [ResponseHeader]) -> Self {
        self.headers = headers;
        self
    }
}

pub(super) const fn ok<T: ToSchema>(description: &'static str) -> SuccessResponse {
    SuccessResponse::new(200, json::<T>(), description)
}

pub(super) const fn created<T: ToSchema>(description: &'static str) -> SuccessResponse {
    SuccessResponse::new(201, json::<T>(), description)
}

pub(super) const fn no_content(description: &'static str) -> SuccessResponse {
    SuccessResponse::new(204, Content::None, description)
}

pub(super) const fn json<T: ToSchema>() -> Content {
    Content::Json(JsonType::for_type::<T>())
}

pub(super) const NOT_MODIFIED: SuccessResponse = SuccessResponse::new(
    304,
    Content::None,
    "The version that `If-None-Match` names is still current.",
)
.headers(&[ResponseHeader::ETag, ResponseHeader::CacheControl]);

//! Answers of success: status, content and headers.

use std::borrow::Cow;

use utoipa::ToSchema;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

/// A JSON type with its schema, to be named in a table.
#[derive(Clone, Copy)]
pub struct JsonType {
    name: fn() -> Cow<'static, str>,
    schema: fn() -> RefOr<Schema>,
    schemas: fn(&mut Vec<(String, RefOr<Schema>)>),
}

impl JsonType {
    /// The shape of `T`.
    #[must_use]
    pub const fn for_type<T: ToSchema>() -> Self {
        Self { name: T::name, schema: T::schema, schemas: T::schemas }
    }

    /// The type's name among the document's schemas.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        (self.name)()
    }

    /// The type's own first example, if it has one.
    #[must_use]
    pub fn example(self) -> Option<serde_json::Value> {
        let schema = serde_json::to_value((self.schema)()).expect("a schema is plain data");
        schema.pointer("/examples/0").cloned()
    }

    /// Its own schema, and those of every type in it.
    pub fn collect(self, schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((self.name().into_owned(), (self.schema)()));
        (self.schemas)(schemas);
    }
}

/// What an answer carries.
#[derive(Clone, Copy)]
pub enum Content {
    /// Nothing.
    None,
    /// `application/json` of this type.
    Json(JsonType),
    /// `text/csv`, streamed, with this first line.
    Csv(&'static str),
    /// `text/event-stream`, whose data are JSON of this type.
    Events(JsonType),
    /// A WebSocket, whose text frames are JSON of this type.
    WebSocket(JsonType),
    /// Prometheus text.
    Metrics,
    /// The OpenAPI document.
    OpenApi,
    /// A page for people.
    Html,
}

impl Content {
    /// Its media type; `None` when there is no content, or it is not HTTP any more.
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

    /// The JSON type in it, if there is one.
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

/// A header that belongs to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseHeader {
    /// Where the thing made can be read.
    Location,
    /// Seconds to wait before asking again.
    RetryAfter,
    /// `true` when the order was there already.
    IdempotentReplayed,
    /// The thing's present version.
    ETag,
    /// How long it may be kept.
    CacheControl,
    /// How to present oneself; on every `401`.
    WwwAuthenticate,
    /// The methods there are; on every `405`.
    Allow,
}

impl ResponseHeader {
    /// Its name on the wire.
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

    /// What it says.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Location => "Where the thing made can be read.",
            Self::RetryAfter => "Seconds to wait before asking again.",
            Self::IdempotentReplayed => {
                "`true`: the order was there already, nothing new was done."
            }
            Self::ETag => "The present version, for `If-Match` or `If-None-Match`.",
            Self::CacheControl => "How long it may be kept.",
            Self::WwwAuthenticate => "How to present oneself.",
            Self::Allow => "The methods that this address takes.",
        }
    }

    /// What a value looks like.
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

/// One answer of success.
#[derive(Clone, Copy)]
pub struct SuccessResponse {
    /// HTTP status.
    pub status: u16,
    /// When it is given.
    pub description: &'static str,
    /// What it carries.
    pub content: Content,
    /// Its headers.
    pub headers: &'static [ResponseHeader],
}

impl SuccessResponse {
    /// An answer without headers of its own.
    pub(super) const fn new(status: u16, content: Content, description: &'static str) -> Self {
        Self { status, description, content, headers: &[] }
    }

    /// The same with `headers`.
    pub(super) const fn headers(mut self, headers: &'static [ResponseHeader]) -> Self {
        self.headers = headers;
        self
    }
}

/// `200` with JSON of type `T`.
pub(super) const fn ok<T: ToSchema>(description: &'static str) -> SuccessResponse {
    SuccessResponse::new(200, json::<T>(), description)
}

/// JSON of type `T`.
pub(super) const fn json<T: ToSchema>() -> Content {
    Content::Json(JsonType::for_type::<T>())
}

/// The reader has it already.
pub(super) const NOT_MODIFIED: SuccessResponse =
    SuccessResponse::new(304, Content::None, "Still what `If-None-Match` says.")
        .headers(&[ResponseHeader::ETag, ResponseHeader::CacheControl]);

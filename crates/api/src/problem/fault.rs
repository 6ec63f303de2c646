//! A fault of a request, and its location.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The location of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultLocation {
    /// In the body, at this RFC 6901 pointer. An empty pointer means the whole body.
    Body(String),
    /// In this header.
    Header(&'static str),
    /// In this query parameter.
    Query(Cow<'static, str>),
}

/// A fault of a request. If a header or a query parameter has the fault, `pointer` is empty, and
/// `header` or `parameter` has the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(examples(json!({"pointer": "/items/0/price/amount_minor", "detail": "must be a whole number from 0 to 1000000000000"})))]
pub struct Fault {
    /// RFC 6901 pointer into the body.
    pub pointer: String,
    /// The header with the fault, if the fault is in a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub header: Option<Cow<'static, str>>,
    /// The query parameter with the fault, if the fault is in a parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub parameter: Option<Cow<'static, str>>,
    /// A description of the fault, for a person.
    pub detail: Cow<'static, str>,
}

impl Fault {
    /// A fault at `location`.
    #[must_use]
    pub fn new(location: FaultLocation, detail: impl Into<Cow<'static, str>>) -> Self {
        let (pointer, header, parameter) = match location {
            FaultLocation::Body(pointer) => (pointer, None, None),
            FaultLocation::Header(name) => (String::new(), Some(Cow::Borrowed(name)), None),
            FaultLocation::Query(name) => (String::new(), None, Some(name)),
        };
        Self { pointer, header, parameter, detail: detail.into() }
    }

    /// A fault in the body, at `pointer`.
    #[must_use]
    pub fn body(pointer: impl Into<String>, detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FaultLocation::Body(pointer.into()), detail)
    }
}

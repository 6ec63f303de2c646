//! The table of all endpoints.
//!
//! The OpenAPI document is generated from this table, and a test compares `docs/api.md` with this
//! table. The server gives each endpoint its handler through [`ByEndpoint`].
//!
//! Some problem codes follow from an endpoint's method, path and other fields: for example, every
//! `POST` can return `body_too_large`. The field `codes` lists only the remaining codes.

macro_rules! endpoints {
    ($($id:ident = Endpoint { $($row:tt)* }),+ $(,)?) => {
        pub(super) const ENDPOINTS: &[Endpoint] =
            &[$(Endpoint { id: stringify!($id), $($row)* }),+];

        /// One value for each endpoint of this table, such as its handler.
        pub struct ByEndpoint<T> {
            $(
                #[doc = concat!("The value of `", stringify!($id), "`.")]
                pub $id: T,
            )+
        }

        impl<T> ByEndpoint<T> {
            pub(super) fn rows(self) -> impl Iterator<Item = (&'static Endpoint, T)> {
                ENDPOINTS.iter().zip([$(self.$id),+])
            }
        }
    };
}

pub mod buyers;
pub mod challenge;
pub mod console;
pub mod export;
pub mod operators;
mod param;
pub mod passes;
pub mod payments;
pub mod privacy;
pub mod push;
mod response;
pub mod service;
pub mod waiting_room;
pub mod waitlist;
pub mod webhooks;

pub use param::{Param, ParamLocation};
pub use response::{Content, JsonType, ResponseHeader, SuccessResponse};

use utoipa::ToSchema;

use crate::admin::keys::Role;
use crate::header::BodyType;
use crate::limits::{ADMIN_BODY_BYTES_MAX, BODY_BYTES_MAX};
use crate::problem::Code;

/// HTTP method of an endpoint. An endpoint with `GET` also accepts `HEAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// `GET`
    Get,
    /// `POST`
    Post,
    /// `PUT`
    Put,
    /// `PATCH`
    Patch,
    /// `DELETE`
    Delete,
}

impl Method {
    /// The method's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Who may call an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Anyone may call the endpoint.
    Public,
    /// A buyer with the shop's token.
    Buyer,
    /// Any operator. A buyer may also call the endpoint, but only for the buyer's own data.
    BuyerOrOperator,
    /// An operator whose key has this role or a stronger one.
    Operator(Role),
}

/// The group of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointGroup {
    /// Endpoints for buyers.
    Buying,
    /// Endpoints for operators.
    Operating,
    /// Endpoints for load balancers and monitoring.
    Service,
}

impl EndpointGroup {
    /// The group's name, which is its tag in the OpenAPI document.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buying => "buying",
            Self::Operating => "operating",
            Self::Service => "service",
        }
    }
}

/// The body of a request to an endpoint.
#[derive(Clone, Copy)]
pub struct Body {
    /// The accepted media types.
    pub media: BodyType,
    /// The type of the content.
    pub json_type: JsonType,
}

const fn json_body<T: ToSchema>() -> Option<Body> {
    Some(Body { media: BodyType::Json, json_type: JsonType::for_type::<T>() })
}

const fn merge_patch_body<T: ToSchema>() -> Option<Body> {
    Some(Body { media: BodyType::MergePatch, json_type: JsonType::for_type::<T>() })
}

/// One endpoint.
pub struct Endpoint {
    /// The endpoint's method.
    pub method: Method,
    /// The path, with the names of parameters in braces.
    pub path: &'static str,
    /// A stable name, which is the OpenAPI document's `operationId`.
    pub id: &'static str,
    /// The endpoint's group.
    pub group: EndpointGroup,
    /// Who may call the endpoint.
    pub auth: Auth,
    /// What the endpoint does, in one line.
    pub summary: &'static str,
    /// Further description; may be empty.
    pub description: &'static str,
    /// The query parameters, and the headers that this endpoint reads.
    pub params: &'static [Param],
    /// The body of a request, if the endpoint defines a body.
    pub body: Option<Body>,
    /// Whether the body may be absent.
    pub may_lack_body: bool,
    /// Successful responses.
    pub responses: &'static [SuccessResponse],
    /// Problem codes that do not follow from the endpoint's other fields.
    pub codes: &'static [Code],
}

macro_rules! tables {
    ($($table:ident),+ $(,)?) => {
        /// Every endpoint, in the order of the groups.
        pub fn all() -> impl Iterator<Item = &'static Endpoint> {
            [$($table::ENDPOINTS),+].into_iter().flatten()
        }

        /// One value for each endpoint. A missing value is a compile error.
        pub struct ByEndpoint<T> {
            $(
                #[doc = concat!("The values of the table `", stringify!($table), "`.")]
                pub $table: $table::ByEndpoint<T>,
            )+
        }

        impl<T> ByEndpoint<T> {
            /// Returns each endpoint with its value.
            pub fn rows(self) -> impl Iterator<Item = (&'static Endpoint, T)> {
                std::iter::empty()$(.chain(self.$table.rows()))+
            }
        }
    };
}

tables!(
    buyers,
    challenge,
    passes,
    waiting_room,
    waitlist,
    payments,
    push,
    webhooks,
    operators,
    console,
    privacy,
    export,
    service,
);

impl Endpoint {
    /// Parameters of the path.
    pub fn path_params(&self) -> impl Iterator<Item = Param> {
        self.path.split('/').filter_map(|part| {
            let name = part.strip_prefix('{')?.strip_suffix('}')?;
            Some(Param::from_path_name(name).expect("tests check the names in all paths"))
        })
    }

    /// The largest size of a request's body, in bytes.
    #[must_use]
    pub const fn body_bytes_max(&self) -> usize {
        match self.group {
            EndpointGroup::Operating => ADMIN_BODY_BYTES_MAX,
            EndpointGroup::Buying | EndpointGroup::Service => BODY_BYTES_MAX,
        }
    }

    /// Every problem code of this endpoint, ordered by status, except `internal` and
    /// `not_implemented`, which every endpoint may return.
    #[must_use]
    pub fn problem_codes(&self) -> Vec<Code> {
        Code::ALL
            .into_iter()
            .filter(|code| self.codes.contains(code) || self.implies(*code))
            .collect()
    }

    /// Returns whether the endpoint may return `code` because of its other fields, even if `codes`
    /// lacks `code`.
    fn implies(&self, code: Code) -> bool {
        let api = self.group != EndpointGroup::Service;
        let takes = |wanted: &[Param]| self.params.iter().any(|param| wanted.contains(param));
        match code {
            Code::MethodNotAllowed => true,
            Code::NotAcceptable => {
                api && self.responses.iter().any(|answer| answer.content.media_type().is_some())
            }
            Code::Unauthenticated => self.auth != Auth::Public,
            Code::Forbidden => matches!(self.auth, Auth::Operator(_)),
            Code::NotFound => self.path.contains('{'),
            // A `POST` without a defined body accepts only an empty body or `{}`, so the endpoint
            // can return both codes. The group `Service` is different: the crate `payments` checks
            // the bodies, and the field `codes` lists both codes.
            Code::UnsupportedMediaType | Code::MalformedRequest => {
                api && (self.body.is_some() || self.method == Method::Post)
            }
            Code::BodyTooLarge => matches!(self.method, Method::Post | Method::Put | Method::Patch),
            Code::InvalidRequest => {
                self.implies(Code::MalformedRequest)
                    || self.params.iter().any(|param| param.can_be_invalid())
            }
            Code::PreconditionFailed => takes(&[Param::IfMatch]),
            Code::Overloaded | Code::Unavailable => api,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests;

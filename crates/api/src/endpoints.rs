//! Every endpoint there is, in one table.
//!
//! The OpenAPI document is made from it, the router and the contract's page are held to it. What
//! follows from an endpoint's shape (a body can be too large, a token can be missing) is derived;
//! what is its own stands in the table.

mod buyers;
mod challenge;
mod export;
mod operators;
mod param;
mod passes;
mod payments;
mod privacy;
mod response;
mod service;
mod waiting_room;
mod waitlist;
mod webhooks;

pub use param::{Param, ParamLocation};
pub use response::{Content, JsonType, ResponseHeader, SuccessResponse};

use crate::admin::keys::Role;
use crate::header::BodyType;
use crate::limits::{ADMIN_BODY_BYTES_MAX, BODY_BYTES_MAX};
use crate::problem::Code;

/// HTTP method of an endpoint. `HEAD` works wherever `GET` does and is not listed.
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

/// Who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Anyone.
    Public,
    /// A buyer, by the shop's token.
    Buyer,
    /// A buyer for what is the buyer's own, or any operator.
    BuyerOrOperator,
    /// An operator whose key has this role or a stronger one.
    Operator(Role),
}

/// Which chapter of the contract an endpoint belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chapter {
    /// What buyers use.
    Buying,
    /// What operators use.
    Operating,
    /// What machines around the server use.
    Service,
}

impl Chapter {
    /// The chapter's name, as the OpenAPI document tags it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buying => "buying",
            Self::Operating => "operating",
            Self::Service => "service",
        }
    }
}

/// The body that an endpoint takes.
#[derive(Clone, Copy)]
pub struct Body {
    /// Media types it may be said to have.
    pub media: BodyType,
    /// What it holds.
    pub json_type: JsonType,
}

/// One endpoint.
pub struct Endpoint {
    /// Its method.
    pub method: Method,
    /// Its path, with names of parameters in braces.
    pub path: &'static str,
    /// A stable name for it, as the OpenAPI document's `operationId`.
    pub id: &'static str,
    /// The chapter it belongs to.
    pub chapter: Chapter,
    /// Who may call.
    pub auth: Auth,
    /// What it does, in a line.
    pub summary: &'static str,
    /// What else there is to know; may be empty.
    pub description: &'static str,
    /// Parameters of the query, and headers with a meaning of their own.
    pub params: &'static [Param],
    /// The body it takes, if it takes one.
    pub body: Option<Body>,
    /// Whether that body may also be left out.
    pub may_lack_body: bool,
    /// Answers of success.
    pub responses: &'static [SuccessResponse],
    /// Problem codes of its own, beside those that follow from its shape.
    pub codes: &'static [Code],
}

/// Every endpoint of this version, chapter by chapter.
pub fn all() -> impl Iterator<Item = &'static Endpoint> {
    [
        buyers::ENDPOINTS,
        challenge::ENDPOINTS,
        passes::ENDPOINTS,
        waiting_room::ENDPOINTS,
        waitlist::ENDPOINTS,
        payments::ENDPOINTS,
        webhooks::ENDPOINTS,
        operators::ENDPOINTS,
        privacy::ENDPOINTS,
        export::ENDPOINTS,
        service::ENDPOINTS,
    ]
    .into_iter()
    .flatten()
}

impl Endpoint {
    /// Parameters of the path, from its template.
    pub fn path_params(&self) -> impl Iterator<Item = Param> {
        self.path.split('/').filter_map(|part| {
            let name = part.strip_prefix('{')?.strip_suffix('}')?;
            Some(Param::from_path_name(name).expect("a test knows every name in the table's paths"))
        })
    }

    /// Most bytes that a body sent here may have.
    #[must_use]
    pub const fn body_bytes_max(&self) -> usize {
        match self.chapter {
            Chapter::Operating => ADMIN_BODY_BYTES_MAX,
            Chapter::Buying | Chapter::Service => BODY_BYTES_MAX,
        }
    }

    /// Every problem code that this endpoint may answer, by status; `internal`, which is never
    /// expected, aside.
    #[must_use]
    pub fn problem_codes(&self) -> Vec<Code> {
        Code::ALL
            .into_iter()
            .filter(|code| self.codes.contains(code) || self.implies(*code))
            .collect()
    }

    /// Whether the shape of this endpoint makes `code` possible.
    fn implies(&self, code: Code) -> bool {
        let api = self.chapter != Chapter::Service;
        let takes = |wanted: &[Param]| self.params.iter().any(|param| wanted.contains(param));
        match code {
            Code::MethodNotAllowed => true,
            Code::NotAcceptable => {
                api && self.responses.iter().any(|answer| answer.content.media_type().is_some())
            }
            Code::Unauthenticated => self.auth != Auth::Public,
            Code::Forbidden => matches!(self.auth, Auth::Operator(_)),
            Code::NotFound => self.path.contains('{'),
            Code::UnsupportedMediaType => self.body.is_some(),
            // What has nothing to say must not say anything.
            Code::MalformedRequest => self.body.is_some() || self.method == Method::Post,
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

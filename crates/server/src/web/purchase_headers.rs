//! What the headers of a purchase say, whichever way they were read.

use std::net::IpAddr;

use doorbuster_api::header::{BodyType, Prefer, accepts, idempotency_key};
use doorbuster_api::problem::Fault;

use super::client::{self, Client};
use crate::auth::{Denied, bearer};
use crate::config::Cidr;
use crate::gate::PresentedPass;

/// A header that means something to a purchase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PurchaseHeader {
    Accept,
    Authorization,
    ContentType,
    Forwarded,
    Key,
    Pass,
    Prefer,
    XForwardedFor,
}

impl PurchaseHeader {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::XForwardedFor as usize + 1;

    /// How it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Authorization => "authorization",
            Self::ContentType => "content-type",
            Self::Forwarded => "forwarded",
            Self::Key => "idempotency-key",
            Self::Pass => "purchase-pass",
            Self::Prefer => "prefer",
            Self::XForwardedFor => client::X_FORWARDED_FOR,
        }
    }
}

/// What the headers of a purchase say.
#[derive(Debug)]
pub(crate) struct PurchaseHeaders<'a> {
    /// Whether the caller takes JSON.
    pub takes_json: bool,
    /// Whether the body is said to be JSON.
    pub is_json: bool,
    /// The request's key.
    pub key: Result<&'a str, Fault>,
    /// The buyer's token.
    pub token: Result<&'a str, Denied>,
    /// The purchase pass.
    pub pass: PresentedPass<'a>,
    /// How long to wait.
    pub prefer: Prefer,
    /// Where it comes from.
    pub client: Client,
}

impl<'a> PurchaseHeaders<'a> {
    /// Reads the values of each header, in the order they were sent, of a request on a connection
    /// from `peer`.
    pub(crate) fn new<I: Iterator<Item = &'a [u8]>>(
        values: impl Fn(PurchaseHeader) -> I,
        peer: IpAddr,
        proxies: &[Cidr],
    ) -> Self {
        let mut types = values(PurchaseHeader::ContentType);
        let is_json = matches!((types.next(), types.next()), (Some(one), None) if BodyType::Json.matches(one));
        let (forwarded, x_forwarded_for) =
            (|| values(PurchaseHeader::Forwarded), || values(PurchaseHeader::XForwardedFor));
        Self {
            takes_json: accepts(values(PurchaseHeader::Accept), "application/json"),
            is_json,
            key: idempotency_key(values(PurchaseHeader::Key)),
            token: bearer(values(PurchaseHeader::Authorization)),
            pass: PresentedPass::new(values(PurchaseHeader::Pass)),
            prefer: Prefer::parse(values(PurchaseHeader::Prefer)),
            client: client::from_headers(peer, proxies, forwarded, x_forwarded_for),
        }
    }
}

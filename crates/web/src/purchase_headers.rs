//! Parses the headers of a purchase, for the fast path and for the general server.

use std::net::IpAddr;

use doorbuster_api::header::{BodyType, Prefer, PresentedKey, accepts, idempotency_key};
use doorbuster_api::problem::Fault;
use doorbuster_auth::{AuthenticationError, PAGE_HEADER, buyer_token};
use doorbuster_config::Cidr;
use doorbuster_gate::PresentedPass;

use super::client_address::{self, ClientAddress};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PurchaseHeader {
    Accept,
    Authorization,
    ContentType,
    Cookie,
    Forwarded,
    Key,
    Page,
    Pass,
    Prefer,
    TraceParent,
    XForwardedFor,
}

impl PurchaseHeader {
    pub(crate) const COUNT: usize = Self::XForwardedFor as usize + 1;

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Authorization => "authorization",
            Self::ContentType => "content-type",
            Self::Cookie => "cookie",
            Self::Page => PAGE_HEADER,
            Self::Forwarded => "forwarded",
            Self::Key => "idempotency-key",
            Self::Pass => "purchase-pass",
            Self::Prefer => "prefer",
            Self::TraceParent => "traceparent",
            Self::XForwardedFor => client_address::X_FORWARDED_FOR,
        }
    }
}

#[derive(Debug)]
pub(crate) struct PurchaseHeaders<'a> {
    /// Whether the caller accepts JSON.
    pub takes_json: bool,
    /// Whether the body is declared as JSON.
    pub is_json: bool,
    /// The request's key.
    pub key: Result<PresentedKey<'a>, Fault>,
    /// The buyer's token.
    pub token: Result<&'a str, AuthenticationError>,
    /// The purchase pass.
    pub pass: PresentedPass<'a>,
    /// How long to wait for the verdict.
    pub prefer: Prefer,
    /// The header `traceparent`, which connects the purchase with the client's trace. Not yet
    /// parsed.
    pub trace_parent: Option<&'a [u8]>,
    /// The origin of the request.
    pub client: ClientAddress,
}

impl<'a> PurchaseHeaders<'a> {
    /// Parses the headers. `values` returns the values of one header in the sequence in which the
    /// request has them. `peer` is the address of the connection's peer.
    pub(crate) fn new<I: Iterator<Item = &'a [u8]>>(
        values: impl Fn(PurchaseHeader) -> I,
        peer: IpAddr,
        proxies: &[Cidr],
    ) -> Self {
        let mut types = values(PurchaseHeader::ContentType);
        let is_json = matches!(
            (types.next(), types.next()),
            (Some(one), None) if BodyType::Json.matches(one)
        );
        let from_page = values(PurchaseHeader::Page).any(|value| value == b"1");
        let (forwarded, x_forwarded_for) =
            (|| values(PurchaseHeader::Forwarded), || values(PurchaseHeader::XForwardedFor));
        Self {
            takes_json: accepts(values(PurchaseHeader::Accept), "application/json"),
            is_json,
            key: idempotency_key(values(PurchaseHeader::Key)),
            token: buyer_token(
                values(PurchaseHeader::Authorization),
                values(PurchaseHeader::Cookie),
                from_page,
            ),
            pass: PresentedPass::new(values(PurchaseHeader::Pass)),
            prefer: Prefer::parse(values(PurchaseHeader::Prefer)),
            trace_parent: values(PurchaseHeader::TraceParent).next(),
            client: client_address::from_headers(peer, proxies, forwarded, x_forwarded_for),
        }
    }
}

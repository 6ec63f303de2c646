//! Prepares the headers of a request that an edge passes on to a node, and the headers of the
//! node's response.

use std::net::IpAddr;

use axum::body::Body;
use doorbuster_engine::edge::{EDGE_HEADER, REFUSALS_HEADER, RELAY_HEADER};
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HeaderName, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE, VIA,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};

use crate::client_address::{ClientAddress, X_FORWARDED_FOR};

/// The name of an edge in the `Via` header.
const MARK: &str = "1.1 doorbuster-edge";
const HEADERS_MAX: usize = 32;

#[derive(Clone, Copy)]
pub(crate) enum RawHead<'a> {
    Bytes(&'a [u8]),
    Map(&'a HeaderMap),
}

impl RawHead<'_> {
    pub(super) fn headers(self) -> HeaderMap {
        let bytes = match self {
            Self::Map(headers) => return headers.clone(),
            Self::Bytes(bytes) => bytes,
        };
        let start =
            bytes.windows(2).position(|end| end == b"\r\n").map_or(bytes.len(), |at| at + 2);
        let mut found = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut headers = HeaderMap::new();
        if let Ok(httparse::Status::Complete((_, found))) =
            httparse::parse_headers(&bytes[start..], &mut found)
        {
            for header in found {
                let name = HeaderName::from_bytes(header.name.as_bytes());
                if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(header.value)) {
                    headers.append(name, value);
                }
            }
        }
        headers
    }
}

pub(super) fn is_from_edge(headers: &HeaderMap) -> bool {
    headers
        .get_all(VIA)
        .iter()
        .any(|via| via.to_str().is_ok_and(|text| text.split(',').any(|step| step.trim() == MARK)))
}

/// Removes the hop-by-hop headers, which apply only to the connection on which they arrived.
fn remove_hop_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    // A proxy must also remove the headers that are listed in `Connection`. A client could list
    // headers that the node needs, so the headers in `kept` are never removed.
    let kept = [http::header::HOST, CONTENT_LENGTH, http::header::AUTHORIZATION];
    for name in named.into_iter().filter(|name| !kept.contains(name)) {
        headers.remove(name);
    }
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "proxy-authorization", "proxy-authenticate"] {
        headers.remove(name);
    }
}

/// Prepares a client's request for a node: adds the client's address, and removes the headers that
/// apply only to the client's connection.
pub(super) fn prepare_request(request: &mut Request<Body>, client: ClientAddress) {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).parse();
    *request.uri_mut() = target.unwrap_or_else(|_| Uri::from_static("/"));
    let upgrade = request.headers().get(UPGRADE).cloned();
    let headers = request.headers_mut();
    remove_hop_headers(headers);
    headers.remove(EXPECT);
    // Only an edge may set these headers, so headers from the client are removed.
    for name in [EDGE_HEADER, RELAY_HEADER, REFUSALS_HEADER] {
        headers.remove(name);
    }
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
    headers.remove(FORWARDED);
    headers.remove(X_FORWARDED_FOR);
    // If the client's forwarding headers give different addresses, a block of either address
    // applies. So the edge sends both addresses to the node.
    let [first, second] = match client.disagreeing {
        Some([one, other]) => [one, other].map(Some),
        None => [Some(client.address), None],
    };
    if let Some(value) = first.and_then(forwarded) {
        headers.insert(FORWARDED, value);
    }
    if let Some(value) = second.and_then(|address| HeaderValue::from_str(&address.to_string()).ok())
    {
        headers.insert(X_FORWARDED_FOR, value);
    }
    headers.append(VIA, HeaderValue::from_static(MARK));
}

fn forwarded(address: IpAddr) -> Option<HeaderValue> {
    let text = match address {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]\""),
    };
    HeaderValue::from_str(&text).ok()
}

pub(super) fn prepare_response<B>(response: &mut Response<B>) {
    let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let upgrade = response.headers().get(UPGRADE).cloned().filter(|_| is_upgrade);
    let headers = response.headers_mut();
    remove_hop_headers(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared(headers: &[(&'static str, &'static str)], client: ClientAddress) -> HeaderMap {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = Uri::from_static("http://other.example/v1/ws?sales=a");
        for (name, value) in headers {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        prepare_request(&mut request, client);
        assert_eq!(request.uri(), "/v1/ws?sales=a");
        request.headers().clone()
    }

    fn at(address: &str) -> ClientAddress {
        ClientAddress { address: address.parse().expect("an address"), disagreeing: None }
    }

    #[test]
    fn a_node_learns_the_clients_address_and_nothing_that_the_client_claimed() {
        let forged = [("forwarded", "for=192.0.2.9"), ("x-forwarded-for", "192.0.2.8")];
        let headers = prepared(&forged, at("198.51.100.1"));
        assert_eq!(headers[FORWARDED], "for=198.51.100.1");
        assert!(!headers.contains_key(X_FORWARDED_FOR));
        assert_eq!(prepared(&[], at("2001:db8::7"))[FORWARDED], "for=\"[2001:db8::7]\"");
        let two = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse().expect("an address"));
        let headers = prepared(&[], ClientAddress { disagreeing: Some(two), ..at("10.0.0.1") });
        assert_eq!(
            (&headers[FORWARDED], &headers[X_FORWARDED_FOR]),
            (&HeaderValue::from_static("for=192.0.2.1"), &HeaderValue::from_static("192.0.2.2"))
        );
    }

    #[test]
    fn headers_of_the_clients_connection_are_not_passed_on() {
        let sent = [
            ("connection", "x-private, upgrade, authorization"),
            ("upgrade", "websocket"),
            ("x-private", "1"),
            ("authorization", "Bearer t"),
            ("te", "trailers"),
            ("host", "shop.example"),
        ];
        let headers = prepared(&sent, at("192.0.2.1"));
        assert_eq!(
            (&headers[CONNECTION], &headers[UPGRADE]),
            (&HeaderValue::from_static("upgrade"), &HeaderValue::from_static("websocket"))
        );
        assert!(!headers.contains_key("x-private") && !headers.contains_key(TE));
        assert_eq!(
            (&headers["host"], &headers["authorization"]),
            (&HeaderValue::from_static("shop.example"), &HeaderValue::from_static("Bearer t"))
        );
        assert!(is_from_edge(&headers));
        assert!(!is_from_edge(&HeaderMap::new()));
    }

    #[test]
    fn the_head_of_a_purchase_is_read_again() {
        let bytes = b"POST /v1/orders HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n\r\n";
        let headers = RawHead::Bytes(bytes).headers();
        assert_eq!(
            (&headers["host"], &headers["idempotency-key"]),
            (&HeaderValue::from_static("x"), &HeaderValue::from_static("k"))
        );
    }
}

//! Decides whether the bytes that arrived are an ordinary purchase, a part of an ordinary purchase,
//! or any other request.

use std::net::IpAddr;

use doorbuster_api::limits::BODY_BYTES_MAX;
use doorbuster_auth::PAGE_HEADER;
use doorbuster_config::Cidr;

use crate::framing::is_host;
use crate::limits::HEAD_BYTES_MAX;
use crate::purchase_headers::{PurchaseHeader, PurchaseHeaders};

const HEADERS_MAX: usize = 32;
const START: &[u8] = b"POST /v1/orders HTTP/1.1\r\n";

#[expect(clippy::large_enum_variant, reason = "only one value exists at a time, on the stack")]
pub(super) enum ParsedRequest<'a> {
    /// A whole purchase of `len` bytes.
    Purchase { known: RawHeaders<'a>, body: &'a [u8], len: usize },
    /// The beginning of a purchase, or no bytes yet.
    Incomplete,
    /// A request that the general server must handle.
    Other,
}

/// The headers that the handler of purchases reads. If a request repeats one of them, the general
/// server handles the request.
#[derive(Default)]
pub(super) struct RawHeaders<'a> {
    content_length: Option<&'a [u8]>,
    has_host: bool,
    fields: [Option<&'a [u8]>; PurchaseHeader::COUNT],
}

impl<'a> RawHeaders<'a> {
    /// Stores a header. Returns `false` if the general server must handle the request because of
    /// this header.
    fn add_header(&mut self, name: &str, value: &'a [u8]) -> bool {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let field = match name.len() {
            2 if is("te") => return false,
            4 if is("host") => {
                return !std::mem::replace(&mut self.has_host, true) && is_host(value);
            }
            6 if is("accept") => PurchaseHeader::Accept,
            6 if is("prefer") => PurchaseHeader::Prefer,
            6 if is("cookie") => PurchaseHeader::Cookie,
            6 if is("expect") => return false,
            7 if is("upgrade") || is("trailer") => return false,
            9 if is("forwarded") => PurchaseHeader::Forwarded,
            10 if is("connection") => return value.eq_ignore_ascii_case(b"keep-alive"),
            11 if is("traceparent") => PurchaseHeader::TraceParent,
            12 if is("content-type") => PurchaseHeader::ContentType,
            13 if is("authorization") => PurchaseHeader::Authorization,
            13 if is("purchase-pass") => PurchaseHeader::Pass,
            14 if is("content-length") => return self.content_length.replace(value).is_none(),
            15 if is("idempotency-key") => PurchaseHeader::Key,
            15 if is("x-forwarded-for") => PurchaseHeader::XForwardedFor,
            17 if is("transfer-encoding") => return false,
            17 if is(PAGE_HEADER) => PurchaseHeader::Page,
            _ => return true,
        };
        self.fields[field as usize].replace(value).is_none()
    }

    pub(super) fn purchase_headers(&self, peer: IpAddr, proxies: &[Cidr]) -> PurchaseHeaders<'a> {
        PurchaseHeaders::new(|field| self.fields[field as usize].into_iter(), peer, proxies)
    }
}

/// Parses the first request in `bytes`. If its head is larger than [`HEAD_BYTES_MAX`], returns
/// `Other`, and the general server refuses it.
pub(super) fn parse_request(bytes: &[u8]) -> ParsedRequest<'_> {
    let Some(rest) = bytes.strip_prefix(START) else {
        return if START.starts_with(bytes) {
            ParsedRequest::Incomplete
        } else {
            ParsedRequest::Other
        };
    };
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let (head, headers) = match httparse::parse_headers(rest, &mut headers) {
        Ok(httparse::Status::Complete(found)) => found,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => {
            return ParsedRequest::Incomplete;
        }
        Ok(httparse::Status::Partial) | Err(_) => return ParsedRequest::Other,
    };
    if START.len() + head > HEAD_BYTES_MAX {
        return ParsedRequest::Other;
    }
    let mut known = RawHeaders::default();
    for header in headers {
        if !known.add_header(header.name, header.value) {
            return ParsedRequest::Other;
        }
    }
    if !known.has_host {
        return ParsedRequest::Other;
    }
    // The general server refuses a purchase without a valid `Content-Length`, because such a
    // purchase has no body, or a body that is too large.
    let Some(length) = known.content_length.and_then(length) else { return ParsedRequest::Other };
    match rest.get(head..head + length) {
        Some(body) => ParsedRequest::Purchase { known, body, len: START.len() + head + length },
        None => ParsedRequest::Incomplete,
    }
}

/// Parses `Content-Length`. Returns `None` if it is not a number, or if it exceeds the limit for a
/// body.
fn length(digits: &[u8]) -> Option<usize> {
    if !(1..=5).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length = digits.iter().fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    (length <= BODY_BYTES_MAX).then_some(length)
}

#[cfg(test)]
mod tests {
    use doorbuster_gate::PresentedPass;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn parsed(bytes: &[u8]) -> String {
        match parse_request(bytes) {
            ParsedRequest::Purchase { known, body, len } => {
                let purchase_headers = known.purchase_headers(PEER, &[]);
                let key = purchase_headers.key.map_or("?", |key| key.as_str());
                let token = purchase_headers.token.unwrap_or("?");
                format!(
                    "{key} {token} {} {} {} {len}",
                    purchase_headers.takes_json,
                    purchase_headers.is_json,
                    String::from_utf8_lossy(body)
                )
            }
            ParsedRequest::Incomplete => "part".to_owned(),
            ParsedRequest::Other => "other".to_owned(),
        }
    }

    fn request(headers: &str, body: &str) -> String {
        format!("POST /v1/orders HTTP/1.1\r\n{headers}\r\n{body}")
    }

    const PLAIN: &str = "Host: x\r\nauthorization: Bearer t\r\nIdempotency-Key: k\r\nContent-Type: application/json\r\n\
                         content-length: 2\r\n";

    #[test]
    fn an_ordinary_purchase_is_parsed_once_it_is_complete() {
        let whole = request(PLAIN, "{}");
        assert_eq!(parsed(whole.as_bytes()), format!("k t true true {{}} {}", whole.len()));
        for end in 0..whole.len() {
            assert_eq!(parsed(&whole.as_bytes()[..end]), "part", "{end}");
        }
        let two = [whole.as_bytes(), b"POST"].concat();
        assert_eq!(parsed(&two), format!("k t true true {{}} {}", whole.len()));
        let passed = request(&format!("{PLAIN}Purchase-Pass: p\r\n"), "{}");
        let purchase_headers =
            |bytes: &[u8], proxies: &[Cidr], check: &dyn Fn(&PurchaseHeaders<'_>)| {
                match parse_request(bytes) {
                    ParsedRequest::Purchase { known, .. } => {
                        check(&known.purchase_headers(PEER, proxies))
                    }
                    _ => panic!("{}", String::from_utf8_lossy(bytes)),
                }
            };
        purchase_headers(passed.as_bytes(), &[], &|purchase_headers| {
            assert_eq!(purchase_headers.pass, PresentedPass::Pass("p"))
        });
        let trusted = [Cidr::parse("127.0.0.0/8").expect("a network")];
        for header in ["X-Forwarded-For: 192.0.2.1", "forwarded: for=192.0.2.1"] {
            let proxied = request(&format!("{PLAIN}{header}\r\n"), "{}");
            purchase_headers(proxied.as_bytes(), &trusted, &|purchase_headers| {
                assert_eq!(purchase_headers.client.address.to_string(), "192.0.2.1")
            });
            purchase_headers(proxied.as_bytes(), &[], &|purchase_headers| {
                assert_eq!(purchase_headers.client.address, PEER)
            });
        }
        let kept =
            request(&format!("{PLAIN}Connection: Keep-Alive\r\nPrefer: wait=3\r\nX: y\r\n"), "{}");
        assert!(parsed(kept.as_bytes()).starts_with("k t true true"));
    }

    #[test]
    fn a_head_over_the_limit_is_left_to_the_general_server() {
        let padded = |padding: usize| {
            request(&format!("{PLAIN}X: {}\r\n", "y".repeat(padding)), "{}").into_bytes()
        };
        let padding = HEAD_BYTES_MAX + "{}".len() - padded(0).len();
        let (largest, larger) = (padded(padding), padded(padding + 1));
        assert!(parsed(&largest).starts_with("k t true true"));
        assert_eq!(parsed(&largest[..HEAD_BYTES_MAX - 1]), "part");
        assert_eq!(parsed(&larger), "other");
        let partial = [&larger[..HEAD_BYTES_MAX - 10], b"yyyyyyyyyyy"].concat();
        assert_eq!(parsed(&partial), "other");
    }

    #[test]
    fn an_unusual_request_is_left_to_the_general_server() {
        let with = |header: &str| request(&format!("{PLAIN}{header}\r\n"), "{}");
        for other in [
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
            "POST /v1/orders HTTP/1.0\r\n\r\n".to_owned(),
            "POST /v1/orders?x=1 HTTP/1.1\r\n\r\n".to_owned(),
            "POST /v1/ordersx HTTP/1.1\r\n\r\n".to_owned(),
            "post /v1/orders HTTP/1.1\r\n\r\n".to_owned(),
            "POST  /v1/orders HTTP/1.1\r\n\r\n".to_owned(),
            "\r\nPOST /v1/orders HTTP/1.1\r\n\r\n".to_owned(),
            with("Transfer-Encoding: chunked"),
            with("Expect: 100-continue"),
            with("Connection: close"),
            with("Connection: upgrade"),
            with("Upgrade: websocket"),
            with("TE: trailers"),
            with("Trailer: x"),
            with("Content-Length: 2"),
            with("Idempotency-Key: k"),
            with("Authorization: Bearer t"),
            with("Purchase-Pass: p\r\nPurchase-Pass: p"),
            with("X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2"),
            with("Content-Type: application/json"),
            with("Accept: */*\r\nAccept: */*"),
            with("bad header: x"),
            with(": x"),
            request("Host: x\r\n", "{}"),
            with("Host: x"),
            request("Content-Length: 2\r\n", "{}"),
            request("Host: a b\r\nContent-Length: 2\r\n", "{}"),
            request("Content-Length: -2\r\n", "{}"),
            request("Content-Length: +2\r\n", "{}"),
            request("Content-Length: 2, 2\r\n", "{}"),
            request("Content-Length: 16385\r\n", "{}"),
            request("Content-Length: 99999999999999999999\r\n", "{}"),
            request(&"X: y\r\n".repeat(40), ""),
        ] {
            assert_eq!(parsed(other.as_bytes()), "other", "{other}");
        }
    }
}

//! Refuses a request if a proxy and this server could disagree about the request's host, or about
//! the end of the request's body (RFC 9112, sections 3.2 and 6). Otherwise a client could hide a
//! second request in the body of the first.

use std::net::Ipv6Addr;

use doorbuster_api::problem::Problem;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Version};

use super::reply::{HandlerError, Reply};

/// A name of 255 bytes and a port.
const HOST_BYTES_MAX: usize = 261;

/// Returns the response to a request with wrong framing, or `None` if the framing is right. The
/// connection closes after this response.
pub(crate) fn refuse(version: Version, headers: &HeaderMap) -> Option<Reply> {
    let problem = find_fault(version, headers)?;
    let mut reply = HandlerError::from(problem).reply();
    reply.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    Some(reply)
}

fn find_fault(version: Version, headers: &HeaderMap) -> Option<Problem> {
    if let Some(detail) = host_fault(version, headers) {
        return Some(Problem::malformed_request(detail));
    }
    // A request with both `Transfer-Encoding` and `Content-Length` need not be refused here: the
    // HTTP library removes `Content-Length`, and closes the connection after the response.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_known = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    (!is_known).then(Problem::unknown_transfer_coding)
}

fn host_fault(version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version == Version::HTTP_11 => Some("the request has no Host header"),
        (None, _) => None,
        (Some(_), Some(_)) => Some("the request has more than one Host header"),
        (Some(host), None) if is_host(host.as_bytes()) => None,
        (Some(_), None) => Some("the Host header is not a host with an optional port"),
    }
}

/// Returns whether `host` is a name, an IPv4 address or a bracketed IPv6 address, with an optional
/// port. An empty host is valid too.
pub(crate) fn is_host(host: &[u8]) -> bool {
    if host.len() > HOST_BYTES_MAX {
        return false;
    }
    let (name, rest) = match host.strip_prefix(b"[") {
        Some(literal) => {
            let Some(end) = literal.iter().position(|&byte| byte == b']') else { return false };
            let address = std::str::from_utf8(&literal[..end]);
            if !address.is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok()) {
                return false;
            }
            (&b""[..], &literal[end + 1..])
        }
        None => {
            let end = host.iter().position(|&byte| byte == b':').unwrap_or(host.len());
            host.split_at(end)
        }
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte);
    // Each `%` begins two hexadecimal digits.
    let mut parts = name.split(|&byte| byte == b'%');
    let is_plain = parts.next().is_none_or(|part| part.iter().all(is_name));
    let is_encoded = |part: &[u8]| match part.split_at_checked(2) {
        Some((digits, rest)) => {
            digits.iter().all(u8::is_ascii_hexdigit) && rest.iter().all(is_name)
        }
        None => false,
    };
    let is_port = match rest.split_first() {
        None => true,
        Some((b':', port)) => port.len() <= 5 && port.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    is_plain && parts.all(is_encoded) && is_port
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for good in [
            "",
            "x",
            "shop.example:8080",
            "10.0.0.1",
            "[::1]:80",
            "[::ffff:1.2.3.4]",
            "a:",
            "a%C3%a9b:1",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b",
            "a/b",
            "user@host",
            "a:b",
            "a:123456",
            "[::1",
            "[]",
            "[x]",
            "a:1:2",
            "\u{e9}",
            "a%zz",
            "a%",
            "%4",
            "a%4%41",
            "[::::]",
            "[.]",
            "[1.2.3.4]",
            "[::1%25eth0]",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
        assert!(!is_host(&[b'a'; HOST_BYTES_MAX + 1]));
    }
}

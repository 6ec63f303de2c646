//! Finds the address that a request comes from: the connection's peer, or the address that a
//! trusted proxy reports.
//!
//! A proxy appends the address of its own client at the right end of `X-Forwarded-For` or
//! `Forwarded`. The entries to the left come from that client and may be forged. So the server
//! reads from right to left, and takes the first address that does not belong to a trusted proxy.
//!
//! A proxy appends to only one of the two headers, so the client may have forged the other header.
//! If the headers give different addresses, the server trusts neither of them: rate limits use the
//! address of the peer. But an operator's block of any of these addresses applies.

use std::net::{IpAddr, SocketAddr};

use doorbuster_config::Cidr;
use doorbuster_gate::Caller;
use http::header::FORWARDED;
use http::{HeaderMap, HeaderValue};

/// The older forwarding header of proxies.
pub(crate) const X_FORWARDED_FOR: &str = "x-forwarded-for";
/// The server reads at most this many entries of a header, beginning at its right end.
const ENTRIES_MAX: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientAddress {
    /// The address to which the limits per address apply.
    pub address: IpAddr,
    /// The addresses in `X-Forwarded-For` and in `Forwarded`, if they differ. The client may have
    /// forged one of the headers.
    pub disagreeing: Option<[IpAddr; 2]>,
}

impl ClientAddress {
    /// Returns every address that the client may have, for the check of blocks.
    pub(crate) fn addresses(self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(self.address).chain(self.disagreeing.into_iter().flatten())
    }

    pub(crate) fn caller(self, buyer: &str) -> Caller<'_> {
        Caller { address: self.address, buyer }
    }
}

/// Returns the client's address: from right to left, the first address in the headers that does not
/// belong to a trusted proxy. `forwarded` and `x_forwarded_for` return the values of the two
/// headers in the order of arrival. These two functions are called only if the peer is a trusted
/// proxy. If the headers give different addresses, returns the peer's address and both addresses
/// from the headers.
#[must_use]
pub(crate) fn from_headers<'a, I: Iterator<Item = &'a [u8]>>(
    peer: IpAddr,
    trusted: &[Cidr],
    forwarded: impl FnOnce() -> I,
    x_forwarded_for: impl FnOnce() -> I,
) -> ClientAddress {
    let peer = peer.to_canonical();
    let at = |address| ClientAddress { address, disagreeing: None };
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    if trusted.is_empty() || !is_trusted(peer) {
        return at(peer);
    }
    let walk = |values: I, read: fn(&str) -> Option<IpAddr>| {
        let values: Vec<&[u8]> = values.collect();
        let mut nearest = peer;
        for entry in values
            .iter()
            .rev()
            .flat_map(|value| value.rsplit(|&byte| byte == b','))
            .take(ENTRIES_MAX)
        {
            // A trusted proxy writes only valid entries, so an invalid entry came from the client.
            let Some(address) = std::str::from_utf8(entry).ok().and_then(read) else { break };
            nearest = address;
            if !is_trusted(address) {
                break;
            }
        }
        (!values.is_empty()).then_some(nearest)
    };
    match (walk(forwarded(), forwarded_for), walk(x_forwarded_for(), parse_address)) {
        (Some(one), Some(other)) if one != other => {
            ClientAddress { address: peer, disagreeing: Some([one, other]) }
        }
        (one, other) => at(one.or(other).unwrap_or(peer)),
    }
}

#[must_use]
pub(crate) fn find(peer: IpAddr, headers: &HeaderMap, trusted: &[Cidr]) -> ClientAddress {
    let values = |name: &'static str| headers.get_all(name).iter().map(HeaderValue::as_bytes);
    from_headers(peer, trusted, || values(FORWARDED.as_str()), || values(X_FORWARDED_FOR))
}

fn parse_address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim().trim_matches('"');
    let bare = entry
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map_or(entry, |(inside, _)| inside);
    let address =
        bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

fn forwarded_for(entry: &str) -> Option<IpAddr> {
    entry.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| parse_address(value))
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, headers: &[(&'static str, &str)], expected: &str) {
        let trusted = [
            Cidr::parse("10.0.0.0/8").expect("a network"),
            Cidr::parse("fd00::/8").expect("a network"),
        ];
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                *name,
                http::HeaderValue::from_bytes(value.as_bytes()).expect("a header value"),
            );
        }
        let found = find(peer.parse().expect("an address"), &map, &trusted);
        assert_eq!(found.address.to_string(), expected, "{peer} {headers:?}");
    }

    #[test]
    fn entries_are_read_from_the_right_and_only_those_of_trusted_proxies() {
        let one = |peer, name, value, expected| check(peer, &[(name, value)], expected);
        one("203.0.113.9", "x-forwarded-for", "198.51.100.1", "203.0.113.9");
        one("10.0.0.1", "x-forwarded-for", "198.51.100.1", "198.51.100.1");
        one("10.0.0.1", "x-forwarded-for", "1.2.3.4, 198.51.100.1", "198.51.100.1");
        one("10.0.0.1", "x-forwarded-for", "1.2.3.4, 198.51.100.1, 10.9.9.9", "198.51.100.1");
        one("10.0.0.1", "x-forwarded-for", "1.2.3.4, nonsense, 10.9.9.9", "10.9.9.9");
        one("10.0.0.1", "x-forwarded-for", "10.0.0.2, 10.0.0.3", "10.0.0.2");
        one("10.0.0.1", "x-forwarded-for", "", "10.0.0.1");
        one("10.0.0.1", "x-forwarded-for", "198.51.100.1,", "10.0.0.1");
        one("::ffff:10.0.0.1", "x-forwarded-for", "2001:db8::1", "2001:db8::1");
        one("10.0.0.1", "x-forwarded-for", "::ffff:198.51.100.1", "198.51.100.1");
        one("10.0.0.1", "x-forwarded-for", "1.2.3.4, \u{fc}\u{fc}", "10.0.0.1");
        one(
            "10.0.0.1",
            "forwarded",
            "for=1.2.3.4, for=\"[2001:db8::7]:4711\";proto=https",
            "2001:db8::7",
        );
        one("fd00::1", "forwarded", "For=198.51.100.1:80", "198.51.100.1");
        one("10.0.0.1", "forwarded", "proto=https", "10.0.0.1");
        one("10.0.0.1", "forwarded", "for=unknown", "10.0.0.1");
        // The client forged an entry without a closing quotation mark. The server still finds the
        // proxy's entry.
        one("10.0.0.1", "forwarded", "for=\"1.2.3.4, for=198.51.100.1", "198.51.100.1");
    }

    #[test]
    fn a_header_sent_in_several_lines_is_one_list() {
        let lines = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "198.51.100.1, 10.0.0.7")];
        check("10.0.0.1", &lines, "198.51.100.1");
        check("10.0.0.1", &[lines[1], lines[0]], "1.2.3.4");
    }

    #[test]
    fn if_the_two_headers_disagree_neither_is_trusted() {
        let both = |forwarded, plain| [("forwarded", forwarded), ("x-forwarded-for", plain)];
        check("10.0.0.1", &both("for=1.2.3.4", "198.51.100.1"), "10.0.0.1");
        check("10.0.0.1", &both("for=198.51.100.1", "198.51.100.1"), "198.51.100.1");
        check("203.0.113.9", &both("for=1.2.3.4", "1.2.3.4"), "203.0.113.9");
    }

    #[test]
    fn both_addresses_of_headers_that_disagree_are_kept() {
        let headers: HeaderMap =
            [("forwarded", "for=1.2.3.4"), ("x-forwarded-for", "198.51.100.1")]
                .into_iter()
                .map(|(name, value)| {
                    (name.parse().expect("a name"), HeaderValue::from_static(value))
                })
                .collect();
        let found = |trusted: &str| {
            let trusted = [Cidr::parse(trusted).expect("a network")];
            let all = find("10.0.0.1".parse().expect("an address"), &headers, &trusted).addresses();
            all.map(|address| address.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found("10.0.0.0/8"), ["10.0.0.1", "1.2.3.4", "198.51.100.1"]);
        assert_eq!(
            found("10.9.0.0/16"),
            ["10.0.0.1"],
            "without a trusted proxy, only the peer's address counts"
        );
    }

    #[test]
    fn at_most_a_bounded_number_of_entries_is_read() {
        let long = vec!["10.0.0.2"; 5_000].join(",");
        check("10.0.0.1", &[("x-forwarded-for", &format!("1.2.3.4,{long}"))], "10.0.0.2");
    }

    #[test]
    fn without_trusted_proxies_only_the_connections_address_counts() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "1.2.3.4".parse().expect("a header value"));
        let peer: IpAddr = "10.0.0.1".parse().expect("an address");
        assert_eq!(find(peer, &headers, &[]), ClientAddress { address: peer, disagreeing: None });
    }
}

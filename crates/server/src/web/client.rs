//! The address a request comes from: the connection's, or what a trusted proxy says of it.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::FORWARDED;

use crate::config::Cidr;

/// Most forwarding entries that are looked at, from the right.
const ENTRIES_MAX: usize = 32;

/// The nearest address, counted from the connection outwards, that is not a trusted proxy's.
#[must_use]
pub(crate) fn address(peer: IpAddr, headers: &HeaderMap, trusted: &[Cidr]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut nearest = peer.to_canonical();
    if trusted.is_empty() || !is_trusted(nearest) {
        return nearest;
    }
    let forwarded = if headers.contains_key(FORWARDED) {
        entries(headers, "forwarded", forwarded_for)
    } else {
        entries(headers, "x-forwarded-for", plain)
    };
    for entry in forwarded.into_iter().rev().take(ENTRIES_MAX) {
        // What cannot be read was written by somebody beyond the last proxy that is trusted.
        let Some(address) = entry else { break };
        nearest = address;
        if !is_trusted(address) {
            break;
        }
    }
    nearest
}

fn entries(headers: &HeaderMap, name: &str, read: impl Fn(&str) -> Option<IpAddr>) -> Vec<Option<IpAddr>> {
    let values = headers.get_all(name).iter();
    values.flat_map(|value| value.to_str().unwrap_or("?").split(',').map(&read).collect::<Vec<_>>()).collect()
}

fn plain(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim().trim_matches('"');
    let bare = entry.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(entry, |(inside, _)| inside);
    let address = bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

fn forwarded_for(entry: &str) -> Option<IpAddr> {
    entry.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| plain(value))
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarding_header_is_believed_from_trusted_proxies_only_and_from_the_right() {
        let trusted = [Cidr::parse("10.0.0.0/8").expect("a network"), Cidr::parse("fd00::/8").expect("a network")];
        let check = |peer: &str, name: &'static str, value: &str, expected: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a header value"));
            let found = address(peer.parse().expect("an address"), &headers, &trusted);
            assert_eq!(found.to_string(), expected, "{peer} {name}: {value}");
        };
        check("203.0.113.9", "x-forwarded-for", "198.51.100.1", "203.0.113.9");
        check("10.0.0.1", "x-forwarded-for", "198.51.100.1", "198.51.100.1");
        check("10.0.0.1", "x-forwarded-for", "1.2.3.4, 198.51.100.1", "198.51.100.1");
        check("10.0.0.1", "x-forwarded-for", "1.2.3.4, 198.51.100.1, 10.9.9.9", "198.51.100.1");
        check("10.0.0.1", "x-forwarded-for", "1.2.3.4, nonsense, 10.9.9.9", "10.9.9.9");
        check("10.0.0.1", "x-forwarded-for", "10.0.0.2, 10.0.0.3", "10.0.0.2");
        check("::ffff:10.0.0.1", "x-forwarded-for", "2001:db8::1", "2001:db8::1");
        check("10.0.0.1", "forwarded", "for=1.2.3.4, for=\"[2001:db8::7]:4711\";proto=https", "2001:db8::7");
        check("fd00::1", "forwarded", "For=198.51.100.1:80", "198.51.100.1");
        check("10.0.0.1", "forwarded", "proto=https", "10.0.0.1");
    }

    #[test]
    fn without_trusted_proxies_the_connection_alone_counts() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "1.2.3.4".parse().expect("a header value"));
        let peer: IpAddr = "10.0.0.1".parse().expect("an address");
        assert_eq!(address(peer, &headers, &[]), peer);
    }
}

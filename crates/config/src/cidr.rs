//! A network of addresses, such as `10.0.0.0/8`.

use std::fmt;
use std::net::IpAddr;

/// A network of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Parses `ADDRESS/BITS`, or an address alone. An IPv4 network that is written as IPv6 becomes
    /// an IPv4 network.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                (address.parse::<IpAddr>().ok()?, Some(bits.parse().ok()?))
            }
            Some(_) => return None,
            None => (text.parse().ok()?, None),
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.unwrap_or(most);
        if bits > most {
            return None;
        }
        // `contains` compares IPv4 addresses as IPv4, so an IPv4 network in IPv6 form would never
        // match.
        Some(match (address, address.to_canonical()) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_)) if bits >= 96 => {
                Self { address: mapped, bits: bits - 96 }
            }
            _ => Self { address, bits },
        })
    }

    /// Returns the network's address with its host bits: `10.1.2.3` for `10.1.2.3/8`.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Returns the network that contains `address` and has as many bits as this network. Returns
    /// `None` if their IP versions differ.
    #[must_use]
    pub fn network_of(&self, address: IpAddr) -> Option<Self> {
        let address = match (self.address, address.to_canonical()) {
            (IpAddr::V4(_), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::from(std::net::Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            (IpAddr::V6(_), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::from(std::net::Ipv6Addr::from_bits(address.to_bits() & mask))
            }
            _ => return None,
        };
        Some(Self { address, bits: self.bits })
    }

    /// Returns the network with all host bits set to 0. Returns `None` if the address is an IPv4
    /// address in IPv6 form and the prefix is shorter than 96 bits.
    #[must_use]
    pub fn canonical(&self) -> Option<Self> {
        self.network_of(self.address)
    }

    /// Returns whether `address` is in this network. An IPv4-mapped IPv6 address counts as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                leading_equal(network.to_bits().into(), address.to_bits().into(), self.bits + 96)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                leading_equal(network.to_bits(), address.to_bits(), self.bits)
            }
            _ => false,
        }
    }
}

fn leading_equal(a: u128, b: u128, bits: u8) -> bool {
    bits == 0 || (a ^ b) >> (128 - u32::from(bits)) == 0
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_the_addresses_that_share_its_leading_bits() {
        let check = |network: &str, address: &str, expected: bool| {
            let network = Cidr::parse(network).expect("a network");
            assert_eq!(
                network.contains(address.parse().expect("an address")),
                expected,
                "{network} {address}"
            );
        };
        check("10.0.0.0/8", "10.200.3.4", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.1.2.3/8", "10.200.3.4", true);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("10.0.0.0/8", "::ffff:10.1.1.1", true);
        check("::ffff:10.0.0.0/104", "10.1.1.1", true);
        check("::ffff:10.0.0.0/104", "::ffff:10.1.1.1", true);
        check("::ffff:10.0.0.0/104", "11.0.0.0", false);
        check("fd00::/8", "fd12::1", true);
        check("fd00::/8", "fe80::1", false);
        check("::/0", "2001:db8::1", true);
        check("::/0", "10.0.0.1", false);
        check("2001:db8::1", "2001:db8::1", true);
    }

    #[test]
    fn every_notation_of_a_network_has_one_canonical_form() {
        let check = |text: &str, expected: Option<&str>| {
            let network = Cidr::parse(text).expect("a network").canonical();
            assert_eq!(network.map(|network| network.to_string()).as_deref(), expected, "{text}");
        };
        check("10.1.2.3/8", Some("10.0.0.0/8"));
        check("192.0.2.7", Some("192.0.2.7/32"));
        check("203.0.113.9/0", Some("0.0.0.0/0"));
        check("2001:DB8::7/32", Some("2001:db8::/32"));
        check("2001:db8::7/0", Some("::/0"));
        check("2001:db8::7", Some("2001:db8::7/128"));
        check("::ffff:192.0.2.7/120", Some("192.0.2.0/24"));
        check("::ffff:192.0.2.7", Some("192.0.2.7/32"));
        check("::ffff:192.0.2.7/95", None);
    }

    #[test]
    fn an_invalid_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "host/8",
        ] {
            assert_eq!(Cidr::parse(text), None, "{text:?}");
        }
    }
}

//! Refuses outgoing requests to private addresses and requests without TLS, except if
//! `webhooks.allow_private` is set. The guard also checks the IP addresses to which a host name
//! resolves, because a public name can resolve to a private address.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use doorbuster_base::dns_lookups::{DnsLookups, LookupBounds};

use crate::limits::ENDPOINTS_MAX;

/// How long the server waits for the look-up of a new endpoint's host name. After this time, it
/// accepts the endpoint without checking the name's addresses. The guard checks these addresses
/// whenever the server connects to the name.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The bounds of the look-ups. Few look-ups run at the same time, because transactions use the same
/// pool of blocking threads. The number of names is twice the number of endpoints. So a new
/// endpoint's name gets a look-up even if a look-up waits for every existing endpoint.
const LOOKUP_BOUNDS: LookupBounds = LookupBounds { at_once: 8, names: 2 * ENDPOINTS_MAX };

/// Decides to which addresses the server may send requests.
#[derive(Clone)]
pub struct AddressGuard {
    allow_private: bool,
    look_ups: DnsLookups,
}

impl AddressGuard {
    /// Creates a guard that uses the system's resolver. If `allow_private` is true, the guard also
    /// allows private addresses.
    pub fn new(allow_private: bool) -> Self {
        Self::with_names(allow_private, |name| Ok((name, 0).to_socket_addrs()?.collect()))
    }

    pub(super) fn with_names(
        allow_private: bool,
        names: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self { allow_private, look_ups: DnsLookups::new(LOOKUP_BOUNDS, names) }
    }

    /// Returns whether requests may connect to this address.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allow_private || is_public(address)
    }

    /// Refuses a URL whose host name resolves only to private addresses. Accepts a name that cannot
    /// be resolved, because it may be resolvable later.
    pub async fn refuse_private_host(&self, url: &Url) -> Result<(), &'static str> {
        let (Some(Host::Name(name)), false) = (host(url), self.allow_private) else {
            return Ok(());
        };
        let found = tokio::time::timeout(LOOKUP_TIMEOUT, self.look_ups.addresses(name)).await;
        let Ok(Ok(addresses)) = found else { return Ok(()) };
        let mut addresses = addresses.iter().map(SocketAddr::ip).peekable();
        if addresses.peek().is_some() && !addresses.any(|address| self.allows(address)) {
            return Err(PRIVATE_ADDRESS);
        }
        Ok(())
    }
}

impl Resolve for AddressGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = guard.look_ups.addresses(name.as_str()).await?;
            let allowed: Vec<SocketAddr> =
                found.into_iter().filter(|address| guard.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(PRIVATE_ADDRESS.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

pub(super) const PRIVATE_ADDRESS: &str =
    "the address is private, local or reserved; webhooks.allow_private would allow it";

/// Parses the URL of an endpoint and checks it, without a look-up of its host name. An error says
/// why the URL is refused.
pub fn check(text: &str, guard: &AddressGuard) -> Result<Url, &'static str> {
    let url = Url::parse(text).map_err(|_| "the text is not an address")?;
    match url.scheme() {
        "https" => {}
        "http" if guard.allow_private => {}
        "http" => {
            return Err(
                "the address must begin with https://; webhooks.allow_private would allow http://",
            );
        }
        _ => return Err("the address must begin with https://"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the address must not contain a user name or a password");
    }
    if url.fragment().is_some() {
        return Err("the address must not have a fragment");
    }
    if url.port() == Some(0) {
        return Err("the address must not have port 0");
    }
    match host(&url) {
        None => Err("the address must name a host"),
        Some(Host::Address(address)) if !guard.allows(address) => Err(PRIVATE_ADDRESS),
        Some(Host::Name(name)) if !guard.allow_private && is_local_name(name) => {
            Err(PRIVATE_ADDRESS)
        }
        Some(_) => Ok(url),
    }
}

enum Host<'u> {
    Address(IpAddr),
    Name(&'u str),
}

/// Returns the URL's host. The parser has already normalised IPv4 addresses, for example `127.1`.
fn host(url: &Url) -> Option<Host<'_>> {
    let text = url.host_str().filter(|text| !text.is_empty())?;
    let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    Some(plain.parse().map_or(Host::Name(text), Host::Address))
}

/// Returns whether a name is always local, whatever address it resolves to.
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || [".localhost", ".local", ".internal"].iter().any(|end| name.ends_with(end))
}

/// Returns whether an address is public according to the registries of special addresses (IANA; RFC
/// 6890 and later).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    /// Private, local, reserved, documentation and multicast networks, each with the length of its
    /// prefix.
    const CLOSED: [([u8; 4], u32); 15] = [
        ([0, 0, 0, 0], 8),
        ([10, 0, 0, 0], 8),
        ([100, 64, 0, 0], 10),
        ([127, 0, 0, 0], 8),
        ([169, 254, 0, 0], 16),
        ([172, 16, 0, 0], 12),
        ([192, 0, 0, 0], 24),
        ([192, 0, 2, 0], 24),
        ([192, 88, 99, 0], 24),
        ([192, 168, 0, 0], 16),
        ([198, 18, 0, 0], 15),
        ([198, 51, 100, 0], 24),
        ([203, 0, 113, 0], 24),
        ([224, 0, 0, 0], 4),
        ([240, 0, 0, 0], 4),
    ];
    let bits = u32::from(address);
    !CLOSED
        .iter()
        .any(|(network, length)| (bits ^ u32::from_be_bytes(*network)) >> (32 - length) == 0)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let parts = address.segments();
    let inner = || Ipv4Addr::from((u32::from(parts[6]) << 16) | u32::from(parts[7]));
    match parts {
        // IPv4-mapped addresses and addresses for NAT64 contain an IPv4 address. They are public if
        // this IPv4 address is public.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(inner()),
        // Networks for special purposes such as Teredo, for documentation, and for 6to4. A 6to4
        // address can lead to any IPv4 address.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => {
            false
        }
        // Only 2000::/3 is public.
        [first, ..] => first >> 13 == 1,
    }
}

#[cfg(test)]
mod tests;

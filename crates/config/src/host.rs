//! Host names in settings.

/// An entry of `brokers.hosts`: a host that is allowed as a broker, on one port or on every port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerHost {
    host: String,
    port: Option<u16>,
}

impl BrokerHost {
    /// Parses `HOST` or `HOST:PORT`. An IPv6 address with a port has brackets.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if host.ends_with(']') || !host.contains(':') => {
                (host, Some(port.parse().ok()?))
            }
            _ => (text, None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let is_host = !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b));
        (is_host && port != Some(0)).then(|| Self { host: host.to_ascii_lowercase(), port })
    }

    /// Returns whether this entry allows a broker at `host` and `port`.
    #[must_use]
    pub fn matches(&self, host: &str, port: u16) -> bool {
        self.host.eq_ignore_ascii_case(host) && self.port.is_none_or(|own| own == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_host_is_not_read() {
        for host in [
            "a",
            "a:1",
            "a.b-c_d",
            "10.0.0.7",
            "10.0.0.7:65535",
            "fd00::1",
            "[fd00::1]",
            "[fd00::1]:1",
        ] {
            assert!(BrokerHost::parse(host).is_some(), "{host}");
        }
        for wrong in [
            "", ":1", "a:", "a:x", "a:0", "a:70000", "a b", "http://a", "[::1]:", "[::1", "a/b",
            "*",
        ] {
            assert_eq!(BrokerHost::parse(wrong), None, "{wrong}");
        }
    }
}

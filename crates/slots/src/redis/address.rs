//! Addresses of the servers of a Redis Cluster.

use redis::{ConnectionAddr, ConnectionInfo};

/// Returns the address of a cluster's server. The server with the address `asked` returned this
/// server's `host` and `port`. If `host` is empty or `?`, both servers have the same host. The
/// other settings of the address come from `template`.
pub(crate) fn server_address(
    template: &ConnectionInfo,
    asked: &str,
    host: &str,
    port: u16,
) -> ConnectionAddr {
    let host = match host {
        "" | "?" => asked.rsplit_once(':').map_or(asked, |(host, _)| host),
        host => host,
    };
    let host = host.to_owned();
    match template.addr() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: *insecure,
            tls_params: tls_params.clone(),
        },
        _ => ConnectionAddr::Tcp(host, port),
    }
}

#[cfg(test)]
mod tests {
    use redis::IntoConnectionInfo;

    use super::server_address;

    #[test]
    fn a_server_without_a_known_host_has_the_host_of_the_server_that_was_asked() {
        let template = "rediss://first:1".into_connection_info().expect("an address");
        for (asked, host, expected) in [
            ("second:2", "", "second:3"),
            ("second:2", "?", "second:3"),
            ("::1:2", "", "::1:3"),
            ("second:2", "third", "third:3"),
        ] {
            let address = server_address(&template, asked, host, 3);
            assert_eq!(address.to_string(), expected);
            assert!(matches!(address, redis::ConnectionAddr::TcpTls { .. }), "TLS stays");
        }
    }
}

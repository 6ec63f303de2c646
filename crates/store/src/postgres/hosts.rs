//! Splits an address with several hosts into one address for each host.
use doorbuster_postgres_tls::Address;
use tokio_postgres::Config;
use tokio_postgres::config::Host;

#[derive(Clone)]
pub(super) struct DatabaseHost {
    /// The host and its port, as a text for people.
    pub(super) name: String,
    pub(super) address: Address,
}

pub(super) fn split(address: &Address) -> Vec<DatabaseHost> {
    let config = &address.config;
    let (hosts, addrs, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = hosts.len().max(addrs.len());
    // If the lists of hosts, addresses and ports have different lengths, the address is not split,
    // and the client library reports an error.
    let lists_differ = !hosts.is_empty() && !addrs.is_empty() && hosts.len() != addrs.len();
    if count <= 1 || lists_differ || (ports.len() > 1 && ports.len() != count) {
        let name = hosts.first().map_or_else(String::new, |host| host_name(host, ports.first()));
        return vec![DatabaseHost { name, address: address.clone() }];
    }
    let host = |at: usize| {
        let mut config = without_hosts(&address.config);
        let port = ports.get(at).or(ports.first());
        port.map(|port| config.port(*port));
        let mut name = String::new();
        if let Some(addr) = addrs.get(at) {
            config.hostaddr(*addr);
            name = format!("{addr}:{}", port.unwrap_or(&5432));
        }
        if let Some(host) = hosts.get(at) {
            match host {
                Host::Tcp(host) => config.host(host),
                Host::Unix(path) => config.host_path(path),
            };
            name = host_name(host, port);
        }
        DatabaseHost { name, address: Address { config, tls: address.tls.clone() } }
    };
    (0..count).map(host).collect()
}

fn host_name(host: &Host, port: Option<&u16>) -> String {
    let port = port.unwrap_or(&5432);
    match host {
        Host::Tcp(host) => format!("{host}:{port}"),
        Host::Unix(path) => format!("{}:{port}", path.display()),
    }
}

/// Copies each setting to a new configuration, because hosts cannot be removed from the old one.
fn without_hosts(config: &Config) -> Config {
    let mut copy = Config::new();
    config.get_user().map(|user| copy.user(user));
    config.get_password().map(|password| copy.password(password));
    config.get_dbname().map(|name| copy.dbname(name));
    config.get_options().map(|options| copy.options(options));
    config.get_application_name().map(|name| copy.application_name(name));
    copy.ssl_mode(config.get_ssl_mode()).ssl_negotiation(config.get_ssl_negotiation());
    config.get_connect_timeout().map(|wait| copy.connect_timeout(*wait));
    config.get_tcp_user_timeout().map(|wait| copy.tcp_user_timeout(*wait));
    copy.keepalives(config.get_keepalives()).keepalives_idle(config.get_keepalives_idle());
    config.get_keepalives_interval().map(|interval| copy.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| copy.keepalives_retries(retries));
    copy.target_session_attrs(config.get_target_session_attrs());
    copy.channel_binding(config.get_channel_binding());
    copy.load_balance_hosts(config.get_load_balance_hosts());
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_keeps_the_other_settings() {
        let url = "postgres://me:secret@a:1,b:2/shop?target_session_attrs=read-write\
                   &connect_timeout=3&application_name=x&options=-c%20jit%3Doff";
        let whole = Address::parse(url).expect("an address");
        let hosts = split(&whole);
        assert_eq!(hosts.iter().map(|h| h.name.as_str()).collect::<Vec<_>>(), ["a:1", "b:2"]);
        for (host, port) in hosts.iter().zip([1, 2]) {
            let config = &host.address.config;
            assert_eq!((config.get_hosts().len(), config.get_ports()), (1, &[port][..]));
            let mut again = without_hosts(config);
            again.host("a").host("b").port(1).port(2);
            assert_eq!(again, whole.config, "each address must keep the other settings");
        }
    }

    #[test]
    fn one_host_stays_as_it_is() {
        for url in ["postgres://a/shop", "host=/tmp dbname=x"] {
            let whole = Address::parse(url).expect("an address");
            let hosts = split(&whole);
            assert_eq!(hosts.len(), 1);
            assert_eq!(hosts[0].address.config, whole.config);
        }
    }
}

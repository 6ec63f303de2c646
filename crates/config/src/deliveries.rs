//! How events are delivered to webhooks and brokers.

use std::time::Duration;

use doorbuster_core::limits::DELIVERY_TRIES_MAX;

use super::BrokerHost;
use super::check::SettingsReader;
use super::raw::SettingOrigin;

/// Settings of deliveries.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// Whether webhooks may go to `http://` addresses and to private addresses. If the value is
    /// `true`, brokers may also be on hosts that are not in `broker_hosts`.
    pub allow_private: bool,
    /// After this many failed attempts to deliver an event to an endpoint, the event is a dead
    /// letter.
    pub tries: u32,
    /// How long one attempt of a delivery may take.
    pub timeout: Duration,
    /// Hosts that may be brokers.
    pub broker_hosts: Vec<BrokerHost>,
}

/// Reads the settings of deliveries. In a demonstration, `allow_private` is true by default.
pub(super) fn deliveries(read: &mut SettingsReader<'_>, demo: bool) -> Option<DeliverySettings> {
    let allow_private = read.flag("webhooks.allow_private");
    let unset = read.origin("webhooks.allow_private") == Some(&SettingOrigin::Default);
    let tries = read.integer("webhooks.tries", 1..=u64::from(DELIVERY_TRIES_MAX));
    let timeout = read.integer("webhooks.timeout_secs", 1..=60).map(Duration::from_secs);
    let broker_hosts = broker_hosts(read);
    Some(DeliverySettings {
        allow_private: allow_private? || (demo && unset),
        tries: tries.and_then(|tries| u32::try_from(tries).ok())?,
        timeout: timeout?,
        broker_hosts,
    })
}

fn broker_hosts(read: &mut SettingsReader<'_>) -> Vec<BrokerHost> {
    let mut hosts = Vec::new();
    for text in read.list("brokers.hosts").unwrap_or_default() {
        match BrokerHost::parse(&text) {
            Some(host) => hosts.push(host),
            None => read.fault(
                "brokers.hosts",
                format!("{text:?} is not a host; write hosts like rabbit.internal:5672"),
            ),
        }
    }
    hosts
}

//! Sends messages to brokers as CloudEvents. Brokers usually have private addresses, which the
//! address guard refuses. So the guard does not apply to brokers, and the setting `brokers.hosts`
//! names the allowed hosts.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use doorbuster_api::notification::CloudEvent;
use doorbuster_brokers::{Address, Broker};
use doorbuster_config::BrokerHost;
use doorbuster_store::{Endpoint, EndpointKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::receiver::{DeliveryError, Message};

/// The CloudEvents attribute `source` if the setting `page.url` is missing.
const SOURCE: &str = "doorbuster";

#[derive(Clone, Debug)]
pub(crate) struct BrokerGuard {
    /// `None` allows every host.
    hosts: Option<Vec<BrokerHost>>,
}

impl BrokerGuard {
    pub(super) fn new(hosts: Vec<BrokerHost>, allow_private: bool) -> Self {
        Self { hosts: (!allow_private).then_some(hosts) }
    }

    /// Parses a broker's address. Fails if the settings do not allow the host, or if this program
    /// was built without support for this kind of broker.
    pub fn check(&self, text: &str) -> Result<Address, &'static str> {
        let address = Address::parse(text)?;
        if !address.kind().is_built() {
            return Err(address.kind().not_built_message());
        }
        if self.hosts.as_ref().is_some_and(|hosts| {
            !hosts.iter().any(|host| host.matches(address.host(), address.port()))
        }) {
            return Err("the setting brokers.hosts does not contain the broker's host");
        }
        Ok(address)
    }
}

/// Returns an endpoint's address as operators may see it, without a broker's password.
pub fn display_address(endpoint: &Endpoint) -> String {
    match endpoint.kind {
        EndpointKind::Webhook => endpoint.url.clone(),
        // A newer version may have stored an address that this version cannot parse. Such an
        // address may contain a secret, so it is not shown.
        EndpointKind::Broker => {
            Address::parse(&endpoint.url).map(|address| address.to_string()).unwrap_or_default()
        }
    }
}

pub(super) struct Brokers {
    guard: BrokerGuard,
    timeout: Duration,
    source: String,
    /// For each endpoint, the broker's address and the client for it.
    made: Mutex<HashMap<String, (String, Arc<Broker>)>>,
}

impl Brokers {
    pub(super) fn new(guard: BrokerGuard, timeout: Duration, source: Option<String>) -> Self {
        Self {
            guard,
            timeout,
            source: source.unwrap_or_else(|| SOURCE.to_owned()),
            made: Mutex::default(),
        }
    }

    pub(super) fn guard(&self) -> &BrokerGuard {
        &self.guard
    }

    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        message: &Message,
    ) -> Result<(), DeliveryError> {
        // The setting `brokers.hosts` may have changed since the endpoint was added, so each
        // delivery checks the address.
        let address = self.guard.check(&endpoint.url).map_err(DeliveryError::local)?;
        let broker = self.broker(endpoint, &address)?;
        let message = doorbuster_brokers::Message {
            id: message.id.clone(),
            what: message.what.as_str().to_owned(),
            key: message.key.clone(),
            at_secs: u64::try_from(message.at.0.div_euclid(1_000)).unwrap_or(0),
            content_type: CloudEvent::CONTENT_TYPE,
            body: envelope(&self.source, message)?.into(),
        };
        broker.publish(&message).await.map_err(|error| DeliveryError::new(error.to_string()))
    }

    pub(super) fn retain_endpoints(&self, is_served: impl Fn(&str) -> bool) {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|endpoint, _| is_served(endpoint));
    }

    fn broker(&self, endpoint: &Endpoint, address: &Address) -> Result<Arc<Broker>, DeliveryError> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((url, broker)) = made.get(&endpoint.id)
            && *url == endpoint.url
        {
            return Ok(broker.clone());
        }
        let broker = Broker::new(address, self.timeout)
            .map_err(|error| DeliveryError::new(error.to_string()))?;
        let broker = Arc::new(broker);
        made.insert(endpoint.id.clone(), (endpoint.url.clone(), broker.clone()));
        Ok(broker)
    }
}

fn envelope(source: &str, message: &Message) -> Result<Vec<u8>, DeliveryError> {
    #[derive(Deserialize)]
    struct Body<'b> {
        timestamp: &'b str,
        #[serde(borrow)]
        data: &'b RawValue,
    }
    let wrong = |_| DeliveryError::new("failed to encode the event as a CloudEvent");
    let Body { timestamp, data } = serde_json::from_slice(&message.body).map_err(wrong)?;
    let event =
        CloudEvent::new(&message.id, source, message.what.as_str(), &message.key, timestamp, data);
    serde_json::to_vec(&event).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use doorbuster_core::Millis;
    use doorbuster_core::event::EventType;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn only_configured_hosts_may_be_brokers() {
        let hosts = ["Rabbit.internal:5672", "10.0.0.7", "[fd00::1]:4222", "fd00::2"];
        let hosts: Vec<_> =
            hosts.iter().map(|text| BrokerHost::parse(text).expect("a host")).collect();
        let guard = BrokerGuard::new(hosts, false);
        for good in [
            "amqp://a:b@rabbit.internal/",
            "amqp://a:b@RABBIT.internal:5672/",
            "nats://10.0.0.7",
            "nats://10.0.0.7:1",
            "nats://[fd00::1]",
            "nats://[fd00::2]:9",
        ] {
            assert!(guard.check(good).is_ok(), "{good}");
        }
        for wrong in [
            "amqp://a:b@rabbit.internal:25/",
            "amqps://a:b@rabbit.internal/",
            "nats://10.0.0.70",
            "nats://x.10.0.0.7",
            "nats://[fd00::1]:1",
            "nats://127.0.0.1",
        ] {
            assert_eq!(
                guard.check(wrong),
                Err("the setting brokers.hosts does not contain the broker's host"),
                "{wrong}"
            );
        }
        assert!(
            BrokerGuard::new(Vec::new(), false).check("nats://8.8.8.8").is_err(),
            "if the settings name no host, every broker must be refused"
        );
        assert!(
            BrokerGuard::new(Vec::new(), true).check("nats://127.0.0.1").is_ok(),
            "if private addresses are allowed, every host must be allowed"
        );
    }

    #[test]
    fn the_envelope_is_a_cloud_event_around_the_same_data() {
        let body = r#"{"id":"evt_1","type":"sale.opened","timestamp":"2026-11-20T10:00:42.000Z","data":{"sale":"spring"}}"#;
        let message = Message {
            id: "evt_1".into(),
            what: EventType::SaleOpened,
            key: "sale:spring".into(),
            at: Millis(0),
            body: Bytes::from_static(body.as_bytes()),
        };
        let made: Value =
            serde_json::from_slice(&envelope("https://shop.example", &message).expect("made"))
                .expect("JSON");
        let wanted = json!({
            "specversion": "1.0", "id": "evt_1", "source": "https://shop.example", "type": "sale.opened", "subject": "sale:spring",
            "time": "2026-11-20T10:00:42.000Z", "datacontenttype": "application/json", "partitionkey": "sale:spring",
            "data": {"sale": "spring"}
        });
        assert_eq!(made, wanted);
    }
}

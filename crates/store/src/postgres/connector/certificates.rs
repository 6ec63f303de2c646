//! The certificates of a connector, and the reason of its last failure.
use std::sync::PoisonError;

use super::Connector;

impl Connector {
    pub(in crate::postgres) fn last_failure(&self) -> String {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn reload_certificates(&self) -> Result<(), String> {
        // All hosts share the certificates of the address, so one reload is enough.
        let first = self.0.hosts.first();
        first.map_or(Ok(()), |host| host.address.tls.reload().map_err(|error| error.to_string()))
    }
}

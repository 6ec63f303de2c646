//! A message to a browser, and the address and keys of the browser.

use std::sync::Arc;

use doorbuster_core::Millis;

use super::encrypt::BrowserKeys;

/// The address and the keys of a browser's subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address of the browser at its push service.
    pub endpoint: String,
    /// The keys that encrypt messages for this browser.
    pub keys: BrowserKeys,
}

#[derive(Debug)]
pub(super) struct PushMessage {
    /// The id of the subscription.
    pub(super) id: u64,
    pub(super) target: Arc<Target>,
    /// The content of the message, as JSON for the browser's service worker.
    pub(super) body: Vec<u8>,
    pub(super) topic: String,
    pub(super) until: Millis,
}

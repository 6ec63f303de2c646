//! The message for a browser, and the browser's address and keys.

use std::sync::Arc;

use doorbuster_core::Millis;

use super::encrypt::BrowserKeys;

/// The address and the keys of a browser's subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address to which the server sends messages for this browser. It belongs to the browser's
    /// push service.
    pub endpoint: String,
    /// The keys that encrypt messages for this browser.
    pub keys: BrowserKeys,
}

/// A message that waits until it is sent or expires.
#[derive(Debug)]
pub(super) struct PushMessage {
    /// The id of the subscription.
    pub(super) id: u64,
    pub(super) target: Arc<Target>,
    /// The text for the browser's service worker.
    pub(super) body: Vec<u8>,
    pub(super) topic: String,
    pub(super) until: Millis,
}

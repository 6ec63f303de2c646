//! Subscriptions of browsers to messages (web push).
use doorbuster_core::{BuyerId, Millis, NodeId};

/// A buyer's browser, with the data of its subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushSubscription {
    /// The buyer.
    pub buyer: BuyerId,
    /// The URL to which the server sends messages. This URL belongs to the browser's push service.
    pub endpoint: String,
    /// The browser's public key.
    pub public_key: [u8; 65],
    /// The browser's authentication secret.
    pub auth: [u8; 16],
}

/// A subscription that the store keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPushSubscription {
    /// The row's id. No other row gets the same id later.
    pub id: u64,
    /// When the subscription ends.
    pub until: Millis,
    /// The browser.
    pub browser: PushSubscription,
}

/// The node that sends the messages of a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionOwner {
    /// The row's id.
    pub id: u64,
    /// The node.
    pub node: NodeId,
    /// When the subscription ends.
    pub until: Millis,
}

//! Web push: sends messages to the browsers of buyers who have closed the page. A message says that
//! the buyer's turn in a waiting room has come, or that units are reserved for the buyer. Web push
//! works only if the shop has set a key.
//!
//! A browser's subscription is a row of the store. One node owns this row, and sends the messages
//! of the subscription. In this node's memory, the subscription receives the events that the node's
//! hub distributes, as a buyer's page does. When the owner loses its lease, another node takes over
//! the subscription. The new owner sends the messages that are valid at this time. The old owner
//! may have sent them too, so a browser can get a message twice.
//!
//! A message names the time until which it is valid. If the message is not delivered by then, the
//! push service drops it. The buyer may pay or cancel the order before this time, so the browser's
//! service worker asks the server before it shows the message.

mod encrypt;
mod message;
mod metrics;
mod queue;
mod readers;
mod sender;
mod sync;
mod text;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorbuster_base::vapid::VapidKey;
use doorbuster_config::PushSettings;
use doorbuster_core::{BuyerId, Millis};
use doorbuster_engine::node::Node;
use doorbuster_engine::notify::{NextEvent, ReadyQueue};
use doorbuster_gate::Gate;
use doorbuster_store::{
    PushSubscription, StoreError, StoreResult, StoredPushSubscription, SubscriptionOwner,
};

use crate::AddressGuard;
use message::PushMessage;
use readers::{PushReader, PushReaders};
use sender::Sender;
use text::{PushText, Subject};

pub use encrypt::BrowserKeys;
pub use message::Target;
pub use metrics::MessageOutcome;

/// The maximum number of subscriptions that a node owns. At this maximum, a node refuses new
/// subscriptions, and takes over no subscriptions of other nodes.
const SUBSCRIPTIONS_MAX: usize = 20_000;
/// The maximum number of subscriptions of one buyer. If a buyer has more subscriptions, the one
/// that ends first is removed.
const OF_BUYER_MAX: usize = 4;
/// How long a subscription is valid after its last renewal, in milliseconds.
const LIVES_MS: i64 = 86_400_000;

/// The push service of this node.
#[derive(Debug)]
pub struct WebPush {
    readers: Mutex<PushReaders>,
    ready_queue: Arc<ReadyQueue>,
    sender: Sender,
}

/// Why a subscription is refused.
#[derive(Clone, Debug)]
pub enum SubscribeError {
    /// The server must not send requests to the browser's address. The text is the reason.
    Address(&'static str),
    /// The node has too many subscriptions.
    Full,
    /// The store failed.
    Store(StoreError),
}

impl WebPush {
    /// Creates the push service. Returns `None` if the shop has not set a key, or the key is not
    /// valid.
    pub fn new(settings: Option<&PushSettings>, guard: AddressGuard) -> Option<Self> {
        let settings = settings?;
        let key = VapidKey::parse(secrecy::ExposeSecret::expose_secret(&settings.key))?;
        let sender = Sender::new(key, settings.contact.clone(), guard);
        Some(Self { readers: Mutex::default(), ready_queue: Arc::default(), sender })
    }

    /// Makes the next message use the system's newest certificates.
    pub fn renew_client(&self) {
        self.sender.renew_client();
    }

    /// Subscribes a buyer's browser, or renews its subscription. A renewal does not change the node
    /// that owns the subscription.
    pub async fn subscribe(
        &self,
        node: &Node,
        buyer: BuyerId,
        target: Target,
    ) -> Result<(), SubscribeError> {
        self.sender.check(&target.endpoint).await.map_err(SubscribeError::Address)?;
        if !self.may_add(node, &buyer, &target.endpoint) {
            return Err(SubscribeError::Full);
        }
        let BrowserKeys { public, auth } = target.keys;
        let endpoint = target.endpoint.clone();
        let browser = PushSubscription { buyer, endpoint, public_key: public, auth };
        let put =
            node.store().put_push_subscription(node.id(), browser.clone(), LIVES_MS, OF_BUYER_MAX);
        let SubscriptionOwner { id, node: owner, until } =
            put.await.map_err(SubscribeError::Store)?;
        self.lock().remove_others(&browser.buyer, &target);
        let is_done =
            owner != node.id() || self.add(node, StoredPushSubscription { id, until, browser });
        if is_done { Ok(()) } else { Err(SubscribeError::Full) }
    }

    fn may_add(&self, node: &Node, buyer: &BuyerId, endpoint: &str) -> bool {
        let mut readers = self.lock();
        if readers.remaining_capacity() == 0 {
            readers.remove_ended(node.now());
        }
        readers.remaining_capacity() > 0 || readers.has_browser(buyer, endpoint)
    }

    /// Adds a subscription to this node's memory, or updates its end time there. Returns `false` if
    /// the node already has the maximum number of subscriptions.
    fn add(&self, node: &Node, subscription: StoredPushSubscription) -> bool {
        let StoredPushSubscription { id, until, browser } = subscription;
        let PushSubscription { buyer, endpoint, public_key: public, auth } = browser;
        let mut readers = self.lock();
        if let Some(reader) = readers.get_mut(id) {
            reader.ends_at = until;
            return true;
        }
        if readers.remaining_capacity() == 0 {
            return false;
        }
        let mut events = node.hub().subscribe_for_push(buyer.clone());
        // Registers the subscription at the hub, so that `ready_queue` names the subscription when
        // an event arrives. Skips the events since `subscribe_for_push`, because the subscription
        // begins only now.
        while events.next_or_park(&self.ready_queue, id).is_some() {}
        let target = Arc::new(Target { endpoint, keys: BrowserKeys { public, auth } });
        let reader = PushReader { events, target, ends_at: until, sent: HashMap::new() };
        readers.insert(id, buyer, reader);
        true
    }

    /// Ends a buyer's subscriptions in the store and in this node's memory. Other nodes remove the
    /// subscriptions from their memory when they next compare their memory with the store.
    pub async fn unsubscribe(&self, node: &Node, buyer: &BuyerId) -> StoreResult<()> {
        node.store().delete_push_subscriptions_of(buyer).await?;
        self.forget(buyer);
        Ok(())
    }

    /// Removes a buyer's subscriptions from this node's memory, but not from the store.
    pub fn forget(&self, buyer: &BuyerId) {
        self.lock().remove_buyer(buyer);
    }

    /// Returns the number of subscriptions in this node's memory.
    pub fn subscriptions(&self) -> u64 {
        self.lock().len() as u64
    }

    /// Returns the number of messages with this outcome.
    pub fn messages(&self, outcome: MessageOutcome) -> u64 {
        self.sender.messages(outcome)
    }

    /// Reads events and sends messages until the future is dropped.
    pub async fn run(&self, node: &Node, gate: &Gate) {
        let is_live = |id| self.lock().has(id);
        let gone = |id| self.lock().remove(id);
        let sending = self.sender.run(node, is_live, gone);
        tokio::join!(self.read_ready(node, gate), sending, self.run_sync(node));
    }

    async fn read_ready(&self, node: &Node, gate: &Gate) {
        loop {
            let ready = self.ready_queue.wait_ready().await;
            for id in ready.own.into_iter().chain(ready.crowd) {
                self.read(node, gate, id);
            }
        }
    }

    fn read(&self, node: &Node, gate: &Gate, id: u64) {
        let now = node.now();
        loop {
            let mut readers = self.lock();
            let Some(reader) = readers.get_mut(id) else { return };
            let event = match reader.events.next_or_park(&self.ready_queue, id) {
                Some(NextEvent::HubEvent(event)) if reader.ends_at > now => event,
                None => return,
                Some(_) => return readers.remove(id),
            };
            drop(readers);
            let text = PushText::about_event(node, gate, &event.kind, now);
            let message = text.and_then(|text| self.message(id, &text, now));
            message.into_iter().for_each(|message| self.sender.queue(message));
        }
    }

    /// Returns the message for the subscription `id`. Returns `None` if the browser already got a
    /// message about this turn, or about this order with the same payment window. A turn whose end
    /// has moved is still the same turn.
    fn message(&self, id: u64, text: &PushText, now: Millis) -> Option<PushMessage> {
        let mut readers = self.lock();
        let reader = readers.get_mut(id)?;
        let until = text.until();
        reader.sent.retain(|_, ends_at| now < *ends_at);
        let known = reader.sent.get(&text.topic).copied();
        let (is_repeated, ends_at) = match text.subject {
            Subject::Turn => (known.is_some(), known.map_or(until, |known| known.max(until))),
            Subject::Reserved => (known == Some(until), until),
        };
        reader.sent.insert(text.topic.clone(), ends_at);
        if is_repeated {
            return None;
        }
        let (target, topic) = (reader.target.clone(), text.topic.clone());
        Some(PushMessage { id, target, body: text.to_json(), topic, until })
    }

    fn lock(&self) -> MutexGuard<'_, PushReaders> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

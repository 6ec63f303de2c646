//! Web push: notifies a buyer who closed the page when the buyer's turn comes, or when units are
//! reserved for the buyer. It works only if the shop sets a key.
//!
//! A subscription is a reader of the hub of events, as an open page is. It lives in the memory of
//! the node that the browser reached. When the buyer opens the page again, the page subscribes
//! again. A message names the time until which it is true, and the push service drops the message
//! at that time. A message contains nothing else that can become untrue before it arrives.

mod encrypt;
mod metrics;
mod sender;
mod vapid;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use doorbuster_core::gate::room::VisitorStatus;
use doorbuster_core::{BuyerId, Millis, Order, OrderState};
use serde::Serialize;

use crate::config::PushSettings;
use crate::engine::Engine;
use crate::gate::Gate;
use crate::notify::{EventKind, NextEvent, ReadyQueue, Subscription};
use crate::outbox::AddressGuard;
use crate::web::page_document;
use sender::Sender;

pub(crate) use encrypt::BrowserKeys;
pub(crate) use metrics::MessageOutcome;
pub(crate) use vapid::VapidKey;

/// The maximum number of subscriptions of a node. At this bound, further subscriptions are refused.
const SUBSCRIPTIONS_MAX: usize = 20_000;
/// The maximum number of subscriptions of one buyer. At this bound, a new subscription replaces the
/// oldest.
const OF_BUYER_MAX: usize = 4;
/// How long a subscription lives without its page.
const LIVES_MS: i64 = 86_400_000;

/// The address and the keys of a browser's subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The address at the browser's push service.
    pub endpoint: String,
    pub keys: BrowserKeys,
}

/// A message, until it is sent or has expired.
#[derive(Debug)]
struct PushMessage {
    /// The subscription.
    key: u64,
    target: Arc<Target>,
    /// The text for the browser's worker.
    body: Vec<u8>,
    /// The push service replaces an undelivered message that has the same topic.
    topic: String,
    until: Millis,
}

/// The content of a message, for the browser's worker.
#[derive(Debug, Serialize)]
struct PushText {
    /// `turn` or `reserved`.
    kind: &'static str,
    /// The title of the item or of the sale.
    title: String,
    /// The time until which the message is true, in milliseconds since 1970.
    until: i64,
    /// The page to open.
    url: String,
}

/// One subscription.
#[derive(Debug)]
struct PushReader {
    events: Subscription,
    target: Arc<Target>,
    ends_at: Millis,
    /// The end of the turn that the last message named.
    turn_until: Millis,
}

#[derive(Debug, Default)]
struct PushReaders {
    last_key: u64,
    by_key: HashMap<u64, PushReader>,
    /// The keys of each buyer, oldest first.
    by_buyer: HashMap<BuyerId, Vec<u64>>,
}

impl PushReaders {
    fn remove(&mut self, key: u64) {
        let Some(reader) = self.by_key.remove(&key) else { return };
        let Some(buyer) = reader.events.buyer() else { return };
        if let Some(keys) = self.by_buyer.get_mut(buyer) {
            keys.retain(|other| *other != key);
            if keys.is_empty() {
                self.by_buyer.remove(buyer);
            }
        }
    }
}

/// The push service of this node.
#[derive(Debug)]
pub(crate) struct WebPush {
    readers: Mutex<PushReaders>,
    ready_queue: Arc<ReadyQueue>,
    sender: Sender,
}

/// Why a subscription is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscribeError {
    /// The server must not send requests to the address, for this reason.
    Address(&'static str),
    /// The node has too many subscriptions.
    Full,
}

impl WebPush {
    /// `None`: the shop set no key.
    pub(crate) fn new(settings: Option<&PushSettings>, guard: AddressGuard) -> Option<Self> {
        let settings = settings?;
        let key = VapidKey::parse(secrecy::ExposeSecret::expose_secret(&settings.key))?;
        let sender = Sender::new(key, settings.contact.clone(), guard);
        Some(Self { readers: Mutex::default(), ready_queue: Arc::default(), sender })
    }

    /// Makes the next message use the certificates that the system has at that time.
    pub(crate) fn renew_client(&self) {
        self.sender.renew_client();
    }

    /// Subscribes a buyer's browser, or renews its subscription.
    pub(crate) async fn subscribe(
        &self,
        engine: &Engine,
        buyer: BuyerId,
        target: Target,
    ) -> Result<(), SubscribeError> {
        self.sender.check(&target.endpoint).await.map_err(SubscribeError::Address)?;
        let now = engine.now();
        let mut readers = self.lock();
        let own = readers.by_buyer.get(&buyer).cloned().unwrap_or_default();
        let is_same = |key: &u64| {
            readers.by_key.get(key).is_some_and(|known| known.target.endpoint == target.endpoint)
        };
        let replaced = own.iter().copied().find(|key| is_same(key));
        let oldest = own.first().copied().filter(|_| own.len() >= OF_BUYER_MAX);
        if let Some(key) = replaced.or(oldest) {
            readers.remove(key);
        }
        if readers.by_key.len() >= SUBSCRIPTIONS_MAX {
            let ended: Vec<u64> = readers
                .by_key
                .iter()
                .filter(|(_, reader)| reader.ends_at <= now)
                .map(|(key, _)| *key)
                .collect();
            ended.into_iter().for_each(|key| readers.remove(key));
        }
        if readers.by_key.len() >= SUBSCRIPTIONS_MAX {
            return Err(SubscribeError::Full);
        }
        let events = engine.hub().subscribe(Some(buyer.clone()), Vec::new(), usize::MAX, None);
        let mut events = events.ok_or(SubscribeError::Full)?;
        readers.last_key += 1;
        let key = readers.last_key;
        // The subscription is new, so no event waits yet.
        let _ = events.next_or_park(&self.ready_queue, key);
        let ends_at = now.plus(LIVES_MS);
        let target = Arc::new(target);
        readers.by_key.insert(key, PushReader { events, target, ends_at, turn_until: Millis(0) });
        readers.by_buyer.entry(buyer).or_default().push(key);
        Ok(())
    }

    /// Removes a buyer's subscriptions at this node.
    pub(crate) fn forget(&self, buyer: &BuyerId) {
        let mut readers = self.lock();
        let keys = readers.by_buyer.get(buyer).cloned().unwrap_or_default();
        keys.into_iter().for_each(|key| readers.remove(key));
    }

    /// Returns the number of subscriptions at this node.
    pub(crate) fn subscriptions(&self) -> u64 {
        self.lock().by_key.len() as u64
    }

    /// Returns the number of messages with this outcome.
    pub(crate) fn messages(&self, outcome: MessageOutcome) -> u64 {
        self.sender.messages(outcome)
    }

    /// Reads events and sends messages until the future is dropped.
    pub(crate) async fn run(&self, engine: &Engine, gate: &Gate) {
        let gone = |key| self.lock().remove(key);
        tokio::join!(self.read_ready(engine, gate), self.sender.run(engine, gone));
    }

    async fn read_ready(&self, engine: &Engine, gate: &Gate) {
        loop {
            let ready = self.ready_queue.wait_ready().await;
            for key in ready.own.into_iter().chain(ready.crowd) {
                self.read(engine, gate, key);
            }
        }
    }

    /// Queues the messages of the events that wait for one subscription.
    fn read(&self, engine: &Engine, gate: &Gate, key: u64) {
        let now = engine.now();
        loop {
            let mut readers = self.lock();
            let Some(reader) = readers.by_key.get_mut(&key) else { return };
            let event = match reader.events.next_or_park(&self.ready_queue, key) {
                Some(NextEvent::HubEvent(event)) if reader.ends_at > now => event,
                None => return,
                Some(_) => return readers.remove(key),
            };
            let (target, told) = (reader.target.clone(), reader.turn_until);
            drop(readers);
            let Some((text, topic)) = text_of(engine, gate, &event.kind, now) else { continue };
            if text.kind == "turn" {
                // A turn with a later end is the same turn, so it needs no second message.
                if now < told {
                    continue;
                }
                if let Some(reader) = self.lock().by_key.get_mut(&key) {
                    reader.turn_until = Millis(text.until);
                }
            }
            let until = Millis(text.until);
            let body = serde_json::to_vec(&text).expect("a text serialises into memory");
            self.sender.queue(PushMessage { key, target, body, topic, until });
        }
    }

    fn lock(&self) -> MutexGuard<'_, PushReaders> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the text about an event and its topic, if buyers get a message about it.
fn text_of(
    engine: &Engine,
    gate: &Gate,
    event: &EventKind,
    now: Millis,
) -> Option<(PushText, String)> {
    match event {
        EventKind::Order(order) => reserved(engine, order, now),
        EventKind::Position { room, buyer } => turn(engine, gate, room, buyer),
        EventKind::Refused { .. }
        | EventKind::WaitlistEnded { .. }
        | EventKind::Status(_)
        | EventKind::Room(_) => None,
    }
}

fn reserved(engine: &Engine, order: &Order, now: Millis) -> Option<(PushText, String)> {
    if order.state != OrderState::Reserved || order.pay_by <= now {
        return None;
    }
    let catalogue = engine.catalogue();
    let item = catalogue.item_by_id(order.item)?;
    let text = PushText {
        kind: "reserved",
        title: item.row.title.clone(),
        until: order.pay_by.0,
        url: format!("/order/{}", order.id),
    };
    Some((text, topic("order", &order.id.to_string())))
}

fn turn(
    engine: &Engine,
    gate: &Gate,
    key: &RoomKey,
    buyer: &BuyerId,
) -> Option<(PushText, String)> {
    let catalogue = engine.catalogue();
    let sale = catalogue.sale(&key.sale)?;
    let room = sale.room_by_key(key)?;
    let shown = gate.room.cached_position(engine, room, buyer)?;
    let VisitorStatus::Admitted(until) = shown.status else { return None };
    let sale_title = || page_document::sale_title(&sale.row).fallback().to_owned();
    let text = PushText {
        kind: "turn",
        title: room.item.map_or_else(sale_title, |item| item.row.title.clone()),
        until: until.0,
        url: format!("/sale/{}", sale.row.id),
    };
    let name = [Some(&*sale.row.id), room.item_name()].into_iter().flatten().collect::<Vec<_>>();
    Some((text, topic("turn", &name.join("/"))))
}

/// Returns a topic for push services: at most 32 characters of base64url (RFC 8030, section 5.4).
fn topic(kind: &str, name: &str) -> String {
    let hash = blake3::hash(format!("{kind}\0{name}").as_bytes()).to_hex();
    hash[..32].to_owned()
}

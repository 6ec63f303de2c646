//! Brings events about buyers' orders to the streams that this edge serves.
//!
//! Only nodes have the events about buyers' orders and positions. The relay is one WebSocket from
//! the edge to a node. Over it, the edge names the buyers of its streams, and the node sends these
//! buyers' events.
//!
//! Events may be lost if the connection breaks, or if the edge reads too slowly. When the node
//! resumes a buyer's events, the buyer's streams get the event `hello`. Their clients then read all
//! states again.

mod messages;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use doorbuster_api::event::Event;
use doorbuster_api::value::Time;
use doorbuster_core::BuyerId;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::{EdgeNode, RELAY_HEADER};
pub use messages::{EdgeMessage, NodeMessage};

use crate::node::Node;
use crate::notify::EventKind;

/// Pause before the next attempt to connect to a node.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// If no message arrives for this long, the edge connects to another node. A node sends pings more
/// often than this.
const SILENCE_MAX: Duration = Duration::from_secs(6);
/// How long a new stream waits until the node sends the buyer's events. After this time, the stream
/// starts without them.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(1);
/// If the connected node is not ready for this long, the edge connects to another node.
const UNREADY_MAX: Duration = Duration::from_secs(2);
/// If the relay has had no connection for this long, or if the edge's copy has been too old for
/// this long, the edge begins to end its streams.
const USELESS_MAX: Duration = Duration::from_secs(20);
/// When the edge ends its streams, all of them end within about this many seconds.
const ENDED_WITHIN_SECS: usize = 60;
/// When the edge ends its streams, at least this many end in each second.
const STREAMS_ENDED_MIN: usize = 50;
/// The maximum number of messages that the edge prepares at a time.
const BATCH_MAX: usize = 256;

type Received = Result<Message, SocketError>;

/// A buyer with at least one stream.
#[derive(Debug)]
struct Followed {
    streams: usize,
    sales: HashMap<String, usize>,
    address: IpAddr,
    /// Whether a node has begun to send this buyer's events.
    is_active: bool,
    /// Event streams that wait until the node begins to send this buyer's events.
    waiting: Vec<oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct RelayState {
    buyers: HashMap<BuyerId, Followed>,
    /// The buyers for whom the edge must send `Follow` or `Unfollow` to the node.
    changed: HashSet<BuyerId>,
}

/// The relay of an edge.
#[derive(Clone, Debug, Default)]
pub struct Relay(Arc<RelayInner>);

#[derive(Debug, Default)]
struct RelayInner {
    state: Mutex<RelayState>,
    changes: Notify,
    is_connected: AtomicBool,
}

/// Represents one stream of a buyer. Dropping this guard removes the stream from the relay.
#[derive(Debug)]
pub struct RelayGuard {
    relay: Relay,
    buyer: BuyerId,
    sales: Vec<String>,
    followed: Option<oneshot::Receiver<()>>,
}

impl RelayGuard {
    /// Waits for a limited time until the node sends the buyer's events. If the node takes longer,
    /// the stream gets another `hello` when the node begins to send.
    pub async fn wait_until_followed(&mut self) {
        if let Some(followed) = self.followed.take() {
            drop(timeout(FOLLOWED_WITHIN, followed).await);
        }
    }
}

impl Drop for RelayGuard {
    fn drop(&mut self) {
        let mut state = self.relay.lock();
        let RelayState { buyers, changed } = &mut *state;
        let Some(followed) = buyers.get_mut(&self.buyer) else { return };
        followed.streams -= 1;
        for sale in &self.sales {
            if let Some(streams) = followed.sales.get_mut(sale) {
                *streams -= 1;
            }
        }
        followed.sales.retain(|_, streams| *streams > 0);
        if followed.streams == 0 {
            buyers.remove(&self.buyer);
            changed.insert(self.buyer.clone());
            drop(state);
            self.relay.0.changes.notify_one();
        }
    }
}

impl Relay {
    fn lock(&self) -> MutexGuard<'_, RelayState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the edge is connected to a node.
    pub fn is_connected(&self) -> bool {
        self.0.is_connected.load(Ordering::Acquire)
    }

    /// Adds a stream of a buyer.
    pub fn follow(&self, buyer: BuyerId, sales: Vec<String>, address: IpAddr) -> RelayGuard {
        let mut state = self.lock();
        let RelayState { buyers, changed } = &mut *state;
        let followed = buyers.entry(buyer.clone()).or_insert_with(|| Followed {
            streams: 0,
            sales: HashMap::new(),
            address,
            is_active: false,
            waiting: Vec::new(),
        });
        followed.streams += 1;
        // A new stream with sales needs the buyer's positions in the sales' waiting rooms. The node
        // sends these positions after each `Follow`. So the edge sends a `Follow` for each new
        // stream with sales.
        let is_new = followed.streams == 1 || !sales.is_empty();
        for sale in &sales {
            *followed.sales.entry(sale.clone()).or_default() += 1;
        }
        let waiting = (!followed.is_active).then(oneshot::channel);
        let waiting = waiting.map(|(sender, receiver)| {
            followed.waiting.push(sender);
            receiver
        });
        if is_new {
            changed.insert(buyer.clone());
            drop(state);
            self.0.changes.notify_one();
        }
        RelayGuard { relay: self.clone(), buyer, sales, followed: waiting }
    }

    fn take_messages(&self) -> Vec<EdgeMessage> {
        let mut state = self.lock();
        let RelayState { buyers, changed } = &mut *state;
        let next: Vec<BuyerId> = changed.iter().take(BATCH_MAX).cloned().collect();
        let message = |buyer: BuyerId| {
            changed.remove(&buyer);
            let name = buyer.as_str().to_owned();
            match buyers.get(&buyer) {
                Some(Followed { sales, address, .. }) => {
                    let sales = sales.keys().cloned().collect();
                    EdgeMessage::Follow { buyer: name, sales, address: *address }
                }
                None => EdgeMessage::Unfollow { buyer: name },
            }
        };
        next.into_iter().map(message).collect()
    }

    /// Records that the node now sends the buyer's events. Returns whether a stream of the buyer
    /// may have missed events.
    fn note_followed(&self, buyer: &BuyerId) -> bool {
        let mut state = self.lock();
        let Some(followed) = state.buyers.get_mut(buyer) else { return false };
        let waiting = std::mem::take(&mut followed.waiting);
        // A stream may have stopped waiting before the node sent events. Such a stream got its
        // `hello` too early, so it may have missed events.
        let late = waiting.into_iter().filter_map(|stream| stream.send(()).err()).count();
        std::mem::replace(&mut followed.is_active, true) || late > 0
    }

    /// Keeps the edge connected to a node, and ends streams that the edge cannot serve. Runs until
    /// the future is dropped.
    pub async fn run(&self, own: &Node, edge: &EdgeNode) {
        let connecting = async {
            loop {
                if let Some(about) = edge.about_text(RELAY_HEADER)
                    && let Some((node, socket)) = edge.upstreams.open_socket(about).await
                {
                    let socket = WebSocketStream::from_raw_socket(socket, Role::Client, None).await;
                    tokio::select! {
                        () = self.serve(own, socket) => {}
                        // A node that is not ready may lack the newest commits of other nodes.
                        () = node.unready_for(UNREADY_MAX) => {}
                    }
                    self.0.is_connected.store(false, Ordering::Release);
                }
                sleep(RETRY_DELAY).await;
            }
        };
        tokio::join!(connecting, self.end_useless_streams(own, edge));
    }

    /// While the edge cannot bring events to its streams, ends some of the streams each second.
    /// Their clients connect again, and the edge passes the new streams to nodes. If all streams
    /// ended at once, so many new streams would overload the nodes.
    async fn end_useless_streams(&self, own: &Node, edge: &EdgeNode) {
        let (mut every, mut served_at) = (interval(Duration::from_secs(1)), Instant::now());
        every.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut part = None;
        loop {
            every.tick().await;
            if edge.is_fresh() && self.is_connected() {
                (served_at, part) = (Instant::now(), None);
            } else if served_at.elapsed() >= USELESS_MAX {
                let readers = own.hub().readers();
                let part = part.get_or_insert(STREAMS_ENDED_MIN.max(readers / ENDED_WITHIN_SECS));
                own.hub().disconnect_buyers(*part);
            }
        }
    }

    async fn serve(&self, own: &Node, socket: WebSocketStream<TokioIo<Upgraded>>) {
        {
            let mut state = self.lock();
            let all = state.buyers.keys().cloned().collect();
            state.changed = all;
        }
        self.0.is_connected.store(true, Ordering::Release);
        self.0.changes.notify_one();
        // Reads and writes run at the same time. If the edge did not read while it writes, the edge
        // and the node could each wait until the other one reads.
        let (sink, stream) = socket.split();
        tokio::select! {
            () = self.read(own, stream) => {}
            () = self.write(sink) => {}
        }
    }

    /// Reads the node's messages until the connection ends or is silent for too long.
    async fn read(&self, own: &Node, mut stream: impl Stream<Item = Received> + Unpin) {
        while let Ok(Some(Ok(message))) = timeout(SILENCE_MAX, stream.next()).await {
            match message {
                Message::Text(text) => self.receive(own, &text),
                Message::Close(_) => return,
                _ => {}
            }
        }
    }

    /// Sends the messages about the buyers to the node, until the connection ends.
    async fn write(&self, mut sink: impl Sink<Message, Error = SocketError> + Unpin) {
        loop {
            let messages = self.take_messages();
            if messages.is_empty() {
                self.0.changes.notified().await;
                continue;
            }
            for message in messages {
                let text = serde_json::to_string(&message).expect("texts serialise");
                if sink.feed(Message::Text(text.into())).await.is_err() {
                    return;
                }
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
    }

    /// Handles a message from the node. Ignores messages that this version of the program does not
    /// know.
    fn receive(&self, own: &Node, text: &str) {
        let (buyer, json) = match serde_json::from_str(text) {
            Ok(NodeMessage::Event { buyer, json }) => (buyer, Some(json)),
            Ok(NodeMessage::Following { buyer }) => (buyer, None),
            Err(_) => return,
        };
        let Some(buyer) = BuyerId::new(&buyer) else { return };
        let json = match json {
            Some(json) => json,
            None if self.note_followed(&buyer) => hello(own),
            None => return,
        };
        // For buyers who reconnect, the hub keeps the relayed events about orders, and no others.
        let is_order = json.starts_with(r#"{"type":"order""#);
        own.hub().publish(EventKind::Relayed { buyer, json: json.into(), is_order });
    }
}

fn hello(own: &Node) -> String {
    let hello = Event::Hello { server_time: Time::from_millis(own.now().0) };
    serde_json::to_string(&hello).expect("API types serialise into memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn buyer() -> BuyerId {
        BuyerId::new("anna").expect("a buyer")
    }

    fn follow(relay: &Relay, sale: &str) -> RelayGuard {
        relay.follow(buyer(), vec![sale.to_owned()], ADDRESS)
    }

    fn sales(relay: &Relay) -> Vec<Option<Vec<String>>> {
        let sales = |message| match message {
            EdgeMessage::Follow { mut sales, .. } => {
                sales.sort();
                Some(sales)
            }
            EdgeMessage::Unfollow { .. } => None,
        };
        relay.take_messages().into_iter().map(sales).collect()
    }

    #[test]
    fn a_buyer_is_followed_from_the_first_stream_to_the_last() {
        let relay = Relay::default();
        let first = follow(&relay, "spring");
        assert_eq!(sales(&relay), [Some(vec!["spring".to_owned()])]);
        let second = follow(&relay, "spring");
        assert_eq!(
            sales(&relay),
            [Some(vec!["spring".to_owned()])],
            "a new stream needs a message, because the node must send it the positions"
        );
        let without = relay.follow(buyer(), Vec::new(), ADDRESS);
        assert!(sales(&relay).is_empty(), "a further stream without sales must cause no message");
        drop(without);
        let third = follow(&relay, "autumn");
        assert_eq!(sales(&relay), [Some(vec!["autumn".to_owned(), "spring".to_owned()])]);
        drop((first, third));
        assert!(
            sales(&relay).is_empty(),
            "the node must follow the buyer until the buyer's last stream ends"
        );
        drop(second);
        assert_eq!(sales(&relay), [None]);
        drop(follow(&relay, "spring"));
        assert_eq!(
            sales(&relay),
            [None],
            "the node must not follow a buyer whose stream has ended"
        );
        assert!(relay.lock().buyers.is_empty());
    }

    #[tokio::test]
    async fn a_stream_starts_when_the_node_follows_its_buyer() {
        let relay = Relay::default();
        let mut first = follow(&relay, "spring");
        assert!(
            !relay.note_followed(&buyer()),
            "a stream that waited for the node cannot have missed an event"
        );
        first.wait_until_followed().await;
        let mut second = follow(&relay, "spring");
        assert!(second.followed.is_none(), "a second stream must not wait for the node");
        second.wait_until_followed().await;
        assert!(
            relay.note_followed(&buyer()),
            "after a second `following`, the streams may have missed events"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_started_without_the_node_gets_hello_again() {
        let relay = Relay::default();
        let mut stream = follow(&relay, "spring");
        stream.wait_until_followed().await;
        assert!(relay.note_followed(&buyer()));
    }
}

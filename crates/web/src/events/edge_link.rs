//! The node's side of the connection over which an edge gets events; see
//! `doorbuster_engine::edge::relay`. The edge sends the ids of the buyers whose streams it serves,
//! and the node sends the events of these buyers. Each of these buyers has a subscription in the
//! node's hub. One task serves all subscriptions of the edge.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use doorbuster_core::BuyerId;
use doorbuster_engine::edge::records::open_json;
use doorbuster_engine::edge::{EdgeDescription, EdgeMessage, NodeMessage, RELAY_HEADER};
use doorbuster_engine::notify::ReadyQueue;
use futures_util::{FutureExt, SinkExt, StreamExt};
use http::HeaderMap;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as SocketError;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::feed::{EventFeed, NextMessage, fetch_positions};
use super::upgrade::Upgrade;
use crate::App;
use crate::connection::Connection;
use crate::guarded_stream::GuardedStream;
use crate::identity::ClientAddress;

/// Short, because the edge closes a connection on which nothing arrives for a few seconds.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const UNANSWERED_MAX: u32 = 3;
/// The task handles at most this many messages from the edge, or sends events to at most this many
/// buyers, before it looks for other work.
const BATCH_MAX: usize = 256;
/// The maximum length of a message from the edge, in bytes. A message contains one buyer's id, and
/// at most 32 sales for each of the buyer's streams.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// The maximum number of buyers whose events the node sends to one edge. An edge has no more
/// connections than this.
const BUYERS_MAX: usize = 1_000_000;
/// The maximum number of buyers whose positions in waiting rooms are read at the same time.
const POSITION_READS_MAX: usize = 64;

pub(super) fn is_edge(app: &App, headers: &HeaderMap) -> bool {
    let key = app.node.id_key();
    let about = headers.get(RELAY_HEADER);
    let about =
        about.and_then(|about| open_json::<EdgeDescription>(key, RELAY_HEADER, about.as_bytes()));
    app.node.edge().is_none() && about.is_some_and(|about| about.lives(app.node.now()))
}

pub(super) fn accept(app: Arc<App>, upgrade: Upgrade, connection: Arc<Connection>) -> Response {
    let answer = upgrade.answer();
    tokio::spawn(async move {
        if let Some(socket) = upgrade.connection().await {
            serve(app, socket, connection).await;
        }
    });
    answer
}

type Received = Result<Message, SocketError>;

struct EdgeLink {
    app: Arc<App>,
    socket: WebSocketStream<GuardedStream>,
    /// The hub puts the key of each buyer with a waiting event into this queue.
    ready_queue: Arc<ReadyQueue>,
    feeds: HashMap<u64, EventFeed>,
    /// Keys of buyers for whom a personal event waits. Personal events are sent first.
    own: VecDeque<u64>,
    /// Keys of buyers who have a waiting event that is for all readers of a sale.
    crowd: VecDeque<u64>,
    /// The number of pings since the edge's last message.
    unanswered: u32,
    keys: HashMap<BuyerId, u64>,
    next: u64,
    /// Running reads of positions. Each read returns the key of the buyer's feed.
    reads: JoinSet<u64>,
    reads_limit: Arc<Semaphore>,
}

struct Gone;

async fn serve(app: Arc<App>, socket: GuardedStream, connection: Arc<Connection>) {
    let _present = app.metrics.sockets.hold();
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
    let link = EdgeLink {
        app,
        socket,
        ready_queue: Arc::default(),
        feeds: HashMap::new(),
        own: VecDeque::new(),
        crowd: VecDeque::new(),
        unanswered: 0,
        keys: HashMap::new(),
        next: 0,
        reads: JoinSet::new(),
        reads_limit: Arc::new(Semaphore::new(POSITION_READS_MAX)),
    };
    tokio::select! {
        // This is not logged, because the edge notices it and connects to a node again.
        Err(Gone) = link.run() => {}
        () = connection.cut.cancelled() => {}
    }
}

impl EdgeLink {
    async fn run(mut self) -> Result<(), Gone> {
        let mut pings = interval(PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = self.socket.next() => self.receive_batch(received).await?,
                ready = self.ready_queue.wait_ready() => {
                    self.own.extend(ready.own);
                    self.crowd.extend(ready.crowd);
                }
                () = std::future::ready(()), if !(self.own.is_empty() && self.crowd.is_empty()) => {
                    self.send_events().await?;
                }
                Some(Ok(key)) = self.reads.join_next() => self.send_positions(key).await?,
                _ = pings.tick() => self.ping().await?,
                () = self.app.stop.cancelled() => {
                    drop(self.socket.close(None).await);
                    return Err(Gone);
                }
            }
            self.socket.flush().await.map_err(|_| Gone)?;
        }
    }

    async fn receive_batch(&mut self, first: Option<Received>) -> Result<(), Gone> {
        let (mut received, mut left) = (first, BATCH_MAX);
        loop {
            self.unanswered = 0;
            match received {
                Some(Ok(Message::Text(text))) => self.receive(&text).await?,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Gone),
                Some(Ok(_)) => {}
            }
            left -= 1;
            // After the last message of the batch, no further message is taken from the socket,
            // because that message would be lost.
            let next = if left > 0 { self.socket.next().now_or_never() } else { None };
            match next {
                Some(next) => received = next,
                None => return Ok(()),
            }
        }
    }

    /// Sends a ping. Fails if the edge did not answer the last pings, because the edge's machine
    /// may be gone.
    async fn ping(&mut self) -> Result<(), Gone> {
        if self.unanswered >= UNANSWERED_MAX {
            return Err(Gone);
        }
        self.unanswered += 1;
        self.send(Message::Ping(Bytes::new())).await
    }

    /// Handles a message from the edge. Ignores a message that this version of the program cannot
    /// parse.
    async fn receive(&mut self, text: &str) -> Result<(), Gone> {
        let Ok(message) = serde_json::from_str(text) else { return Ok(()) };
        let (EdgeMessage::Follow { buyer, .. } | EdgeMessage::Unfollow { buyer }) = &message;
        let Some(buyer) = BuyerId::new(buyer) else { return Ok(()) };
        if let EdgeMessage::Follow { sales, address, .. } = message {
            self.follow(buyer, sales, address).await?;
        } else if let Some(key) = self.keys.remove(&buyer) {
            self.feeds.remove(&key);
        }
        Ok(())
    }

    /// Subscribes to a buyer's events. This subscription replaces the buyer's earlier subscription.
    async fn follow(
        &mut self,
        buyer: BuyerId,
        sales: Vec<String>,
        address: IpAddr,
    ) -> Result<(), Gone> {
        if self.keys.len() >= BUYERS_MAX && !self.keys.contains_key(&buyer) {
            return Ok(());
        }
        let client = ClientAddress { address, disagreeing: None };
        let key = self.subscribe(client, buyer.clone(), sales);
        let buyer = buyer.as_str().to_owned();
        self.send_message(&NodeMessage::Following { buyer }).await?;
        self.send_waiting(key).await
    }

    /// Returns the key of the buyer's new feed.
    fn subscribe(&mut self, client: ClientAddress, buyer: BuyerId, sales: Vec<String>) -> u64 {
        self.next += 1;
        let key = self.next;
        let (app, blocks) = (self.app.clone(), self.app.gate.blocks.changes());
        let feed = EventFeed::for_edge(app.clone(), (client, buyer.clone()), sales, blocks);
        let (sales, limit) = (feed.sales().to_vec(), self.reads_limit.clone());
        self.feeds.insert(key, feed);
        // The old subscription ends after the new one has begun, so that no event is lost.
        if let Some(old) = self.keys.insert(buyer.clone(), key) {
            self.feeds.remove(&old);
        }
        self.reads.spawn(async move {
            let _permit = limit.acquire().await;
            fetch_positions(&app, (client, &buyer), &sales).await;
            key
        });
        key
    }

    /// Sends the buyer's positions in waiting rooms, as far as this node's memory has them. Then
    /// sends all waiting events of the buyer.
    async fn send_positions(&mut self, key: u64) -> Result<(), Gone> {
        let Some(feed) = self.feeds.get_mut(&key) else { return Ok(()) };
        let buyer = feed.buyer().as_str().to_owned();
        for json in feed.known_positions() {
            self.send_message(&NodeMessage::Event { buyer: buyer.clone(), json }).await?;
        }
        self.send_waiting(key).await
    }

    async fn send_events(&mut self) -> Result<(), Gone> {
        for _ in 0..BATCH_MAX {
            let Some(key) = self.own.pop_front().or_else(|| self.crowd.pop_front()) else { break };
            self.send_waiting(key).await?;
        }
        Ok(())
    }

    async fn send_waiting(&mut self, mut key: u64) -> Result<(), Gone> {
        loop {
            let Some(feed) = self.feeds.get_mut(&key) else { return Ok(()) };
            let buyer = feed.buyer().clone();
            match feed.next_or_park(&self.ready_queue, key) {
                None => return Ok(()),
                Some(NextMessage::Json(json)) => {
                    let buyer = buyer.as_str().to_owned();
                    self.send_message(&NodeMessage::Event { buyer, json }).await?;
                }
                // A feed for an edge contains no status events, so this case does not occur.
                Some(NextMessage::NotYet(_)) => {}
                Some(NextMessage::TooSlow) => {
                    let (client, sales) = (feed.client(), feed.sales());
                    let sales = sales.iter().map(|sale| sale.to_string()).collect();
                    key = self.subscribe(client, buyer.clone(), sales);
                    let buyer = buyer.as_str().to_owned();
                    self.send_message(&NodeMessage::Following { buyer }).await?;
                }
            }
        }
    }

    async fn send_message(&mut self, message: &NodeMessage) -> Result<(), Gone> {
        let text = serde_json::to_string(message).expect("texts serialise");
        self.send(Message::Text(text.into())).await
    }

    /// Writes a message to the buffer of the socket; `run` flushes it. If the edge does not read,
    /// the write fails after some time.
    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        self.socket.feed(message).await.map_err(|_| Gone)
    }
}

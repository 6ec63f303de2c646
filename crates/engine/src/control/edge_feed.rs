//! Writes the edge feed from this node's memory: the counts and rows of all sales, the blocks, and
//! the hashes of requests that hold orders.
//!
//! Only the node that has the feed's lock writes, and only while an edge is alive. The feed begins
//! with a head, which shows edges how recent the feed is. When the feed must be written from the
//! beginning, the writer starts a new generation. Each generation has a random number.
//!
//! The writer never waits for the store. If it did, a slow store would delay the feed's head, and
//! all edges would pass their requests on at the same time. Only the blocks must be read from the
//! store, so they are read beside the writer.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::edge::{FeedHead, FeedPosition};
use doorbuster_core::{IdKey, Phase};
use doorbuster_slots::{
    FEED_ENTRIES_MAX, FEED_REQUESTS_MAX, FeedChange, LockGuard, SharedRedis, SlotError,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::catalogue::SaleState;
use crate::edge::records::{self, BlocksRecord, CountsRecord};
use crate::node::Node;

const PACE: Duration = Duration::from_millis(10);
/// The longest time between two writes of the feed's head.
const HEARTBEAT: Duration = Duration::from_millis(200);
const BLOCK_CHECK_INTERVAL: Duration = Duration::from_millis(400);
/// The lease of the feed's lock. If the writer crashes, another node must take over before the
/// edges' copies become too old. For a takeover, the lease must end, and the other node must take
/// the lock and write a new generation. All of this must take less than `FEED_AGE_MAX_MS`.
const LOCK_LEASE: Duration = Duration::from_millis(1_500);
const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// The pause before the next attempt to take the lock, after a failed write or a lost lock.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// How often the writer counts the live edges.
const EDGE_COUNT_INTERVAL: Duration = Duration::from_secs(2);
/// How often the writer checks for live edges while no edge is alive.
const EDGE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// After the writer has seen a live edge, it writes for this long before it checks for live edges
/// again.
const WITHOUT_EDGES_MAX: Duration = Duration::from_secs(30);
const LOCK_NAME: &str = "feed";

pub(super) async fn run(node: Arc<Node>) {
    let Some((shared, locks)) = node.cache().shared() else {
        return std::future::pending().await;
    };
    let locks = locks.lasting(LOCK_LEASE);
    loop {
        node.wait_for_recent_memory().await;
        let guard = locks.wait(LOCK_NAME, LOCK_RETRY_INTERVAL).await;
        if let Err(error) = write_while_held(&node, shared, &guard).await {
            tracing::debug!(%error, "failed to write the edge feed; will retry");
        }
        node.holders().journal.end();
        guard.release().await;
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Returns whether the writer has seen a live edge recently, so that it need not check again.
fn are_edges_recent(seen: Option<Instant>) -> bool {
    seen.is_some_and(|at| at.elapsed() < WITHOUT_EDGES_MAX)
}

/// Writes one generation of the feed after another. Returns when this node has lost the lock or
/// cannot read the store, so that another node can write the feed.
async fn write_while_held(
    node: &Node,
    shared: &SharedRedis,
    guard: &LockGuard,
) -> Result<(), SlotError> {
    let mut edges_seen: Option<Instant> = None;
    let may_write = || guard.is_held() && !node.is_cut_off();
    while may_write() {
        // If Redis has lost the feed, it has also lost the list of live edges, so an empty list
        // proves nothing. Therefore, a writer that has seen an edge recently writes the feed
        // without reading the list.
        if !are_edges_recent(edges_seen) && node.live_edges().await.is_empty() {
            tokio::time::sleep(EDGE_CHECK_INTERVAL).await;
            continue;
        }
        edges_seen = Some(Instant::now());
        let generation = rand::random::<u64>().max(1);
        if !shared.begin_feed(guard.fence(), generation).await? {
            // Another node now writes the feed.
            return Ok(());
        }
        let (newest_blocks, blocks) = watch::channel(None);
        let writer = FeedWriter::new(node, shared, generation, blocks);
        tokio::select! {
            written = write_generation(writer, &mut edges_seen, &may_write) => written?,
            () = follow_blocks(node, &newest_blocks) => {}
        }
        node.holders().journal.end();
        tokio::time::sleep(PACE).await;
    }
    Ok(())
}

/// Writes one generation of the feed. Returns when `may_write` returns false, when no edge is
/// alive, or when the writer must start a new generation.
async fn write_generation(
    mut writer: FeedWriter<'_>,
    edges_seen: &mut Option<Instant>,
    may_write: &impl Fn() -> bool,
) -> Result<(), SlotError> {
    let node = writer.node;
    let mut requests = node.holders().begin_journal();
    let mut newest = writer.changes().await;
    while let Some(newest_requests) = newest.filter(|_| may_write()) {
        requests.extend(newest_requests);
        let began = Instant::now();
        if !writer.write(&requests).await? {
            break;
        }
        requests.clear();
        if !are_edges_recent(*edges_seen) {
            if node.live_edges().await.is_empty() {
                break;
            }
            *edges_seen = Some(Instant::now());
        }
        let beat = began + HEARTBEAT;
        drop(tokio::time::timeout_at(beat, node.control().feed_changed.notified()).await);
        tokio::time::sleep_until(began + PACE).await;
        newest = writer.changes().await;
    }
    Ok(())
}

/// Reads the blocks from the store whenever they changed, and passes them to the writer, until the
/// future is dropped. While the store cannot be read, the edges keep the blocks that they have. The
/// nodes check the blocks too.
async fn follow_blocks(node: &Node, newest: &watch::Sender<Option<BlocksRecord>>) {
    let mut every = tokio::time::interval(BLOCK_CHECK_INTERVAL);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut known = None;
    loop {
        every.tick().await;
        let Ok(version) = node.store().blocks_version().await else { continue };
        if known == Some(version) {
            continue;
        }
        if let Ok(blocks) = node.store().blocks().await {
            newest.send_replace(Some(BlocksRecord::new(&blocks)));
            node.control().signal_feed();
            known = Some(version);
        }
    }
}

/// Writes one generation of the feed.
struct FeedWriter<'a> {
    node: &'a Node,
    shared: &'a SharedRedis,
    key: IdKey,
    at: FeedPosition,
    head: FeedHead,
    /// For each sale, the row and the counts that this generation last wrote.
    sales: HashMap<Arc<str>, (Arc<SaleState>, CountsRecord)>,
    /// The newest blocks, or `None` until [`follow_blocks`] has read the blocks.
    blocks: watch::Receiver<Option<BlocksRecord>>,
    /// The number of live edges that this generation last wrote.
    edges: usize,
    edges_counted: Option<Instant>,
    entries: Vec<(String, Vec<u8>)>,
}

impl<'a> FeedWriter<'a> {
    fn new(
        node: &'a Node,
        shared: &'a SharedRedis,
        generation: u64,
        blocks: watch::Receiver<Option<BlocksRecord>>,
    ) -> Self {
        Self {
            node,
            shared,
            key: node.id_key().clone(),
            at: FeedPosition { generation, ..FeedPosition::default() },
            head: FeedHead {
                generation,
                seq: 0,
                requests: 0,
                as_of: node.memory_as_of(),
                is_complete: false,
                has_all_requests: false,
            },
            sales: HashMap::new(),
            blocks,
            edges: 0,
            edges_counted: None,
            entries: Vec::new(),
        }
    }

    /// Collects the changes since the last call as entries, and returns the new requests that hold
    /// orders. Returns `None` if the writer must start a new generation.
    ///
    /// The edges must know the request of each order in the counts. A commit publishes its requests
    /// before its counts. This function reads first the counts and then the requests, so it misses
    /// no request of a counted order. Between the two reads, it checks whether the set of requests
    /// is complete.
    async fn changes(&mut self) -> Option<Vec<u64>> {
        self.head.as_of = self.node.memory_as_of();
        self.gather_blocks();
        self.gather_edges().await;
        self.gather_sales();
        self.head.has_all_requests = !self.node.holders().is_full();
        self.node.holders().journal.take()
    }

    /// Writes these requests and all collected entries, if necessary in several parts. Only the
    /// head of the last part marks the feed as complete. Returns `false` if Redis has lost the feed
    /// or another node writes it.
    async fn write(&mut self, mut requests: &[u64]) -> Result<bool, SlotError> {
        let entries = std::mem::take(&mut self.entries);
        let mut entries = &entries[..];
        loop {
            let (now, more) = requests.split_at(requests.len().min(FEED_REQUESTS_MAX));
            // All requests must be written before the counts.
            let count = if more.is_empty() { entries.len().min(FEED_ENTRIES_MAX) } else { 0 };
            let (changed, later) = entries.split_at(count);
            self.head.is_complete = more.is_empty() && later.is_empty();
            if !self.write_part(now, changed).await? {
                return Ok(false);
            }
            if self.head.is_complete {
                return Ok(true);
            }
            (requests, entries) = (more, later);
        }
    }

    async fn write_part(
        &mut self,
        requests: &[u64],
        entries: &[(String, Vec<u8>)],
    ) -> Result<bool, SlotError> {
        self.head.seq = self.at.seq + entries.len() as u64;
        self.head.requests = self.at.requests + requests.len() as u64;
        let text = records::head_text(&self.key, &self.head);
        let change = FeedChange { before: self.at, head: &text, requests, entries };
        let is_written = self.shared.write_feed(change).await?;
        self.at.seq = self.head.seq;
        self.at.requests = self.head.requests;
        Ok(is_written)
    }

    fn push(&mut self, name: String, text: &str) {
        let content = records::seal(&self.key, self.at.generation, &name, text);
        self.entries.push((name, content));
    }

    /// Collects the changed sales. A deleted sale gets an empty entry.
    fn gather_sales(&mut self) {
        let catalogue = self.node.catalogue().clone();
        let shown: HashMap<&str, &Arc<SaleState>> = catalogue
            .sales()
            .filter(|sale| sale.row.phase != Phase::Draft)
            .map(|sale| (sale.row.id.as_str(), sale))
            .collect();
        let gone: Vec<_> =
            self.sales.keys().filter(|id| !shown.contains_key(&***id)).cloned().collect();
        for id in gone {
            self.sales.remove(&id);
            self.push(records::sale_entry(&id), "");
        }
        for (id, sale) in shown {
            let counts = sale.items.iter().map(|item| item.gauge.counts());
            let open_until = sale.runtime.room.open_until.load(Ordering::Relaxed);
            let rooms = sale
                .items
                .iter()
                .map(|item| (item.row.id, item.work.room.open_until.load(Ordering::Relaxed)));
            let rooms = rooms.filter(|(_, until)| *until > 0);
            let counts = CountsRecord::new(open_until, rooms, counts);
            let before = self.sales.get(id);
            let is_same_row = before.is_some_and(|(known, _)| Arc::ptr_eq(known, sale));
            if before.is_some_and(|(_, known)| is_same_row && *known == counts) {
                continue;
            }
            // The entry with the counts comes before the entry with the row. So an edge that knows
            // a sale also knows the sale's counts.
            let text = serde_json::to_string(&counts).expect("numbers serialise");
            self.push(records::counts_entry(id), &text);
            if !is_same_row {
                let text = serde_json::to_string(&sale.row).expect("a row serialises");
                self.push(records::sale_entry(id), &text);
            }
            self.sales.insert(id.into(), (sale.clone(), counts));
        }
    }

    /// Collects the blocks if they changed.
    fn gather_blocks(&mut self) {
        if !self.blocks.has_changed().unwrap_or(false) {
            return;
        }
        let text = {
            let newest = self.blocks.borrow_and_update();
            newest.as_ref().map(|blocks| serde_json::to_string(blocks).expect("texts serialise"))
        };
        if let Some(text) = text {
            self.push(records::BLOCKS.to_owned(), &text);
        }
    }

    /// Collects the number of live edges if it changed. Each edge divides the rate limits by this
    /// number.
    async fn gather_edges(&mut self) {
        if self.edges_counted.is_some_and(|at| at.elapsed() < EDGE_COUNT_INTERVAL) {
            return;
        }
        self.edges_counted = Some(Instant::now());
        let edges = self.node.live_edges().await.len();
        if edges > 0 && edges != self.edges {
            self.push(records::EDGES.to_owned(), &edges.to_string());
            self.edges = edges;
        }
    }
}

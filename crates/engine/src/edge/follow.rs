//! Follows the edge feed. Reads the feed from one of the Redis servers that may have it. Updates
//! this edge's memory by the rules of `doorbuster_core::edge`.
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_core::edge::{EdgeFeedFollower, FeedRead, FeedStep};
use doorbuster_slots::{FeedPart, SharedRedis};
use doorbuster_store::{ItemCounts, SaleRow};
use tokio::time::Instant;

use super::EdgeNode;
use super::records::{self, BlocksRecord, CountsRecord, EntryKind, counts_entry};
use crate::blocks::Blocks;
use crate::node::Node;

/// The pause after a read of the feed, unless further parts of the feed can be read at once.
const POLL_INTERVAL: Duration = Duration::from_millis(15);
/// After this time without a usable read of the feed, the edge tries the next Redis server.
const NEXT_SERVER_AFTER: Duration = Duration::from_millis(1_000);
/// The edge keeps a set of requests that hold orders. If the set has this many more requests than a
/// new generation of the feed has, the edge empties the set.
const SURPLUS_MAX: u64 = 2_000_000;

/// Follows the edge feed until the future is dropped.
pub async fn follow_feed(node: &Node, blocks: &Blocks, edge: &EdgeNode) {
    let mut feed = FeedReader {
        node,
        blocks,
        edge,
        at: EdgeFeedFollower::default(),
        kept: <_>::default(),
        is_whole: false,
    };
    for server in edge.servers.iter().cycle() {
        let mut last_use = Instant::now();
        while last_use.elapsed() < NEXT_SERVER_AFTER {
            match feed.read(server).await {
                Some(FeedStep::Use { .. }) if feed.edge.is_fresh() => last_use = Instant::now(),
                // The edge's copy is too old, perhaps because this server is a replica that lost
                // its primary. So this read does not count as usable, and the edge soon tries the
                // next server.
                Some(FeedStep::Use { .. }) => {}
                Some(FeedStep::ReadOn { .. }) => continue,
                Some(FeedStep::Ignore) | None => edge.feed_failures.add_one(),
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

struct FeedReader<'a> {
    node: &'a Node,
    blocks: &'a Blocks,
    edge: &'a EdgeNode,
    at: EdgeFeedFollower,
    /// The entries that the edge has read but does not use yet: each entry's name and its text. An
    /// entry without a text is empty in the feed. The edge uses these entries when it has read the
    /// whole feed.
    kept: BTreeMap<String, Option<String>>,
    /// Whether the kept entries start at the beginning of the feed. If so, a sale without an entry
    /// was deleted.
    is_whole: bool,
}

impl FeedReader<'_> {
    /// Reads the next part of the feed. Returns `None` if the server has no feed of this format or
    /// does not answer.
    async fn read(&mut self, server: &SharedRedis) -> Option<FeedStep> {
        let part = server.read_feed(self.at.position()).await.ok()??;
        let head = records::parse_head(self.node.id_key(), part.generation, &part.head)?;
        let entries = self.entries(&part)?;
        let read = FeedRead {
            head,
            from: part.from,
            requests: part.requests.len() as u64,
            last_seq: part.entries.last().map(|entry| entry.seq),
            has_more_entries: part.has_more_entries,
        };
        let before = self.at.position();
        let step = self.at.receive(&read);
        match step {
            FeedStep::Ignore => return Some(step),
            FeedStep::ReadOn { begins } | FeedStep::Use { begins } if begins => {
                self.kept.clear();
                self.is_whole = true;
                self.edge.feed_generations.add_one();
                if self.node.holders().len() as u64 > head.requests + SURPLUS_MAX {
                    self.node.holders().begin_rebuild();
                }
            }
            FeedStep::ReadOn { .. } | FeedStep::Use { .. } => {}
        }
        // The requests come first. So if the edge's counts say "sold out", the edge also has the
        // requests that hold the orders.
        part.requests.iter().for_each(|&request| self.node.holders().insert(request));
        self.kept.extend(entries);
        if matches!(step, FeedStep::Use { .. }) {
            self.show();
            self.node.holders().finish_rebuild();
            self.edge.use_head(head);
        } else if self.at.position() == before {
            // This server is a replica that is behind its primary. Waiting costs less than reading
            // again.
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Some(step)
    }

    /// Returns the entries in this part of the feed as text. Returns `None` if an entry has no
    /// valid proof.
    fn entries(&self, part: &FeedPart) -> Option<Vec<(String, Option<String>)>> {
        let key = self.node.id_key();
        let entry = |entry: &doorbuster_slots::FeedEntry| {
            let text = records::open(key, part.generation, &entry.name, &entry.content)?;
            let text = (!text.is_empty()).then(|| text.to_owned());
            Some((entry.name.clone(), text))
        };
        part.entries.iter().map(entry).collect()
    }

    /// Puts the kept entries into this edge's memory.
    fn show(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        if std::mem::take(&mut self.is_whole) {
            self.remove_sales(|id| !kept.contains_key(&records::sale_entry(id)));
        }
        for (name, text) in &kept {
            match (EntryKind::of(name), text) {
                (Some(EntryKind::Sale(sale)), Some(text)) => {
                    let counts = counts_of(kept.get(&counts_entry(sale)));
                    match serde_json::from_str(text) {
                        Ok(row) => self.show_row(row, counts.as_ref()),
                        // This version of the program cannot read the row. Without the sale in
                        // memory, the edge passes requests for the sale to a node.
                        Err(_) => self.remove_sales(|id| id == sale),
                    }
                }
                (Some(EntryKind::Sale(sale)), None) => self.remove_sales(|id| id == sale),
                (Some(EntryKind::Blocks), Some(text)) => {
                    if let Ok(record) = serde_json::from_str::<BlocksRecord>(text) {
                        self.blocks.replace(&record.blocks());
                    }
                }
                (Some(EntryKind::Edges), Some(text)) => {
                    if let Ok(edges) = text.parse() {
                        self.edge.edges.store(edges, Ordering::Relaxed);
                    }
                }
                _ => {}
            }
        }
        for (name, text) in &kept {
            if let (Some(EntryKind::Counts(sale)), Some(record)) =
                (EntryKind::of(name), counts_of(Some(text)))
            {
                self.show_counts(sale, &record);
            }
        }
    }

    fn show_row(&self, row: SaleRow, counts: Option<&CountsRecord>) {
        let (id, is_draining) = (row.id.clone(), row.draining_until.is_some());
        let counts: Vec<ItemCounts> = counts.map(CountsRecord::counts).unwrap_or_default();
        self.node.put_sale(row, &counts, false);
        if let Some(sale) = self.node.catalogue().sale(&id) {
            sale.runtime.draining.store(is_draining, Ordering::Release);
        }
        self.node.control().status_changed(&id.as_str().into());
    }

    fn show_counts(&self, sale: &str, record: &CountsRecord) {
        let catalogue = self.node.catalogue();
        let Some(sale) = catalogue.sale(sale) else { return };
        self.node.control().status_changed(&sale.row.id.as_str().into());
        sale.runtime.room.open_until.store(record.room_open_until, Ordering::Relaxed);
        for (item, open_until) in record.item_rooms() {
            if let Some(item) = catalogue.item_by_id(item) {
                item.work.room.open_until.store(open_until, Ordering::Relaxed);
            }
        }
        for counts in record.counts() {
            if let Some(item) = catalogue.item_by_id(counts.item) {
                item.gauge.publish(counts);
            }
        }
    }

    fn remove_sales(&self, is_gone: impl Fn(&str) -> bool) {
        let catalogue = self.node.catalogue().clone();
        for sale in catalogue.sales().filter(|sale| is_gone(&sale.row.id)) {
            self.node.change_catalogue(|catalogue| catalogue.remove(&sale.row.id));
        }
    }
}

fn counts_of(text: Option<&Option<String>>) -> Option<CountsRecord> {
    serde_json::from_str(text?.as_ref()?).ok()
}

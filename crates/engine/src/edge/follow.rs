//! Reads the edge feed from Redis, and updates this edge's memory by the rules of
//! `doorbuster_core::edge`.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use doorbuster_api::admin::front_door::FrontDoor;
use doorbuster_core::Millis;
use doorbuster_core::edge::{EdgeFeedFollower, FeedHead, FeedRead, FeedStep};
use doorbuster_slots::{FeedPart, SharedRedis};
use doorbuster_store::{ItemCounts, SaleRow};
use tokio::time::Instant;

use super::EdgeNode;
use super::records::{self, BlocksRecord, CountsRecord, EntryKind};
use crate::blocks::Blocks;
use crate::catalogue::SaleRuntime;
use crate::node::Node;
use crate::stock::drain::is_drain_running;

/// The pause after a read of the feed, unless more parts of the feed are ready.
const POLL_INTERVAL: Duration = Duration::from_millis(15);
/// If no read of the feed was usable for this long, the edge tries the next Redis server.
const NEXT_SERVER_AFTER: Duration = Duration::from_millis(1_000);
/// The edge has a set of requests that may hold orders. It adds requests to the set, for example
/// each request to which no node responded, but removes none. If the set has this many more
/// requests than the feed, the edge empties the set and reads the whole feed again.
const SURPLUS_MAX: u64 = 2_000_000;

/// Follows the edge feed until the future is dropped.
pub async fn follow_feed(node: &Node, blocks: &Blocks, edge: &EdgeNode) {
    let mut feed = FeedReader::new(node, blocks, edge);
    for server in edge.servers.iter().cycle() {
        let mut last_use = Instant::now();
        while last_use.elapsed() < NEXT_SERVER_AFTER {
            let step = feed.read(server).await;
            feed.drains.end_overdue(edge.now());
            match step {
                Some(FeedStep::Use { .. }) if feed.edge.is_fresh() => last_use = Instant::now(),
                // This feed is too old. Perhaps this server is a replica that lost its primary.
                // `last_use` stays unchanged, so the edge soon tries the next server.
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
    /// The entries that the edge has read but not yet used, by name. The edge uses them when it has
    /// read the feed to its end. The text is `None` if the entry in the feed is empty.
    kept: BTreeMap<String, Option<String>>,
    /// Whether the kept entries start at the beginning of the feed. If so, a sale without an entry
    /// was deleted.
    is_whole: bool,
    drains: Drains,
}

/// The sales that drain, with the time at which each drain ends. A node may begin a drain, and stop
/// before the drain ends. So the edge ends overdue drains itself, as nodes do.
#[derive(Default)]
struct Drains(BTreeMap<String, (Arc<SaleRuntime>, Millis)>);

impl Drains {
    /// Records when a sale's drain ends. If `until` is `None`, the sale is not draining.
    fn observe(
        &mut self,
        sale: &str,
        runtime: &Arc<SaleRuntime>,
        until: Option<Millis>,
        now: Millis,
    ) {
        let until = until.filter(|&until| is_drain_running(until, now));
        runtime.draining.store(until.is_some(), Ordering::Release);
        match until {
            Some(until) => drop(self.0.insert(sale.to_owned(), (runtime.clone(), until))),
            None => drop(self.0.remove(sale)),
        }
    }

    fn end_overdue(&mut self, now: Millis) {
        self.0.retain(|_, (runtime, until)| {
            let is_draining = is_drain_running(*until, now);
            if !is_draining {
                runtime.draining.store(false, Ordering::Release);
            }
            is_draining
        });
    }
}

impl<'a> FeedReader<'a> {
    fn new(node: &'a Node, blocks: &'a Blocks, edge: &'a EdgeNode) -> Self {
        Self {
            node,
            blocks,
            edge,
            at: EdgeFeedFollower::default(),
            kept: BTreeMap::new(),
            is_whole: false,
            drains: Drains::default(),
        }
    }

    /// Reads the next part of the feed. Returns `None` if the server does not answer, or if it has
    /// no valid feed of this format.
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
        let step = self.at.receive(&read, self.edge.own_time());
        match step {
            FeedStep::Ignore => return Some(step),
            FeedStep::ReadOn { begins } | FeedStep::Use { begins } if begins => {
                self.kept.clear();
                self.is_whole = true;
                self.edge.feed_generations.add_one();
                if self.has_surplus(head) {
                    self.node.holders().begin_rebuild();
                }
            }
            FeedStep::ReadOn { .. } | FeedStep::Use { .. } => {}
        }
        // The requests are added to the edge's set before the counts are used. As soon as the
        // counts say "sold out", the edge must know the requests that hold the orders.
        part.requests.iter().for_each(|&request| self.node.holders().insert(request));
        self.kept.extend(entries);
        if matches!(step, FeedStep::Use { .. }) {
            self.show();
            self.node.holders().finish_rebuild();
            self.edge.use_head(head);
            if self.has_surplus(head) {
                self.at.start_over();
            }
        } else if self.at.position() == before {
            // The read returned nothing new, because this server is a replica that is behind its
            // primary. The pause avoids many useless reads.
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Some(step)
    }

    fn has_surplus(&self, head: FeedHead) -> bool {
        self.node.holders().len() as u64 > head.requests + SURPLUS_MAX
    }

    /// Returns the entries as text, or `None` if an entry has no valid proof.
    fn entries(&self, part: &FeedPart) -> Option<Vec<(String, Option<String>)>> {
        let key = self.node.id_key();
        let entry = |entry: &doorbuster_slots::FeedEntry| {
            let text = records::open(key, part.generation, &entry.name, &entry.content)?;
            let text = (!text.is_empty()).then(|| text.to_owned());
            Some((entry.name.clone(), text))
        };
        part.entries.iter().map(entry).collect()
    }

    /// Puts the kept entries into this edge's catalogue, counts and blocks. If this version of the
    /// program cannot parse an entry of a sale, the sale is removed from memory. The edge then
    /// passes all requests for this sale to a node.
    fn show(&mut self) {
        let kept = std::mem::take(&mut self.kept);
        if std::mem::take(&mut self.is_whole) {
            self.remove_sales(|id| !kept.contains_key(&records::sale_entry(id)));
        }
        let counts = parse_counts(&kept);
        for (name, text) in &kept {
            match (EntryKind::of(name), text) {
                (Some(EntryKind::Sale(sale)), text) => {
                    let row = text.as_deref().and_then(parse_row);
                    match (row, counts.get(sale)) {
                        (Some(row), Some(Some(record))) => self.show_row(row, &record.counts()),
                        (Some(row), None) => self.show_row(row, &[]),
                        (Some(_), Some(None)) | (None, _) => self.remove_sales(|id| id == sale),
                    }
                }
                (Some(EntryKind::Blocks), Some(text)) => {
                    // If this version cannot parse the blocks, the edge empties its copy, because
                    // an operator may have deleted old blocks. The nodes check the blocks too.
                    let record = serde_json::from_str::<BlocksRecord>(text);
                    self.blocks.replace(&record.map(BlocksRecord::blocks).unwrap_or_default());
                }
                (Some(EntryKind::Edges), Some(text)) => {
                    if let Ok(edges) = text.parse() {
                        self.edge.edges.store(edges, Ordering::Relaxed);
                    }
                }
                _ => {}
            }
        }
        for (sale, record) in &counts {
            match record {
                Some(record) => self.show_counts(sale, record),
                None => self.remove_sales(|id| id == *sale),
            }
        }
    }

    fn show_row(&mut self, row: SaleRow, counts: &[ItemCounts]) {
        let (id, draining_until) = (row.id.clone(), row.draining_until);
        self.node.put_sale(row, counts, false);
        if let Some(sale) = self.node.catalogue().sale(&id) {
            self.drains.observe(&id, &sale.runtime, draining_until, self.edge.now());
        }
        self.node.control().status_changed(&id.as_str().into());
    }

    fn show_counts(&self, sale: &str, record: &CountsRecord) {
        let catalogue = self.node.catalogue();
        let Some(sale) = catalogue.sale(sale) else { return };
        self.node.control().status_changed(&sale.row.id.as_str().into());
        sale.runtime.room.open_until.store(record.room_open_until, Ordering::Relaxed);
        // The record lists only rooms that are or were open.
        for item in &sale.items {
            let known = record.item_rooms().find(|(id, _)| *id == item.row.id);
            let open_until = known.map_or(0, |(_, open_until)| open_until);
            item.work.room.open_until.store(open_until, Ordering::Relaxed);
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

/// Parses a sale's row. Returns `None` if this version of the program cannot parse the row or its
/// front door. Without the front door, the edge cannot know whom the nodes would refuse.
fn parse_row(text: &str) -> Option<SaleRow> {
    let row: SaleRow = serde_json::from_str(text).ok()?;
    FrontDoor::parse(&row.front_door).map(|_| row)
}

/// Parses the counts of all sales in these entries. The value is `None` if this version of the
/// program cannot parse the counts of the sale.
fn parse_counts(
    entries: &BTreeMap<String, Option<String>>,
) -> BTreeMap<&str, Option<CountsRecord>> {
    let mut counts = BTreeMap::new();
    for (name, text) in entries {
        if let (Some(EntryKind::Counts(sale)), Some(text)) = (EntryKind::of(name), text) {
            counts.insert(sale, serde_json::from_str(text).ok());
        }
    }
    counts
}

#[cfg(test)]
mod tests;

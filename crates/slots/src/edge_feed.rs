//! The feed that keeps edges up to date, in the Redis that nodes share. One node at a time writes
//! the feed. This node begins a generation with the fencing number of its lock. After that, a node
//! with a lower number cannot write. `doorbuster_core::edge` has the rules of the feed.
use doorbuster_core::edge::FeedPosition;

use crate::SlotError;
use crate::shared::{ScriptReply, SharedRedis};

const BEGIN: &str = include_str!("edge_feed/begin.lua");
const WRITE: &str = include_str!("edge_feed/write.lua");
const READ: &str = include_str!("edge_feed/read.lua");
const NOTE_EDGE: &str = include_str!("edge_feed/note_edge.lua");
const EDGES: &str = include_str!("edge_feed/edges.lua");

/// The largest number of request hashes in one write or read of the feed. Redis handles no other
/// call during such a write or read, so this number bounds the delay of other calls.
pub const FEED_REQUESTS_MAX: usize = 8_192;
/// The largest number of entries in one write or read of the feed.
pub const FEED_ENTRIES_MAX: usize = 64;
/// The feed expires this many milliseconds after its last write. By then, the feed's counts are so
/// old that no edge may use them.
const LIFETIME_MS: u32 = 60_000;
/// All reports expire together, this many milliseconds after the newest report. So a reader also
/// checks the age of each report, and ignores reports that are too old.
const EDGES_LIFETIME_MS: u32 = 30_000;
/// The largest number of edges whose reports Redis keeps.
const EDGES_MAX: usize = 1_024;

/// A change of the feed.
#[derive(Clone, Copy, Debug)]
pub struct FeedChange<'a> {
    /// The position of the feed before this change. If the feed is at another position, nothing is
    /// written.
    pub before: FeedPosition,
    /// The new head, as text. The head says how many requests and changes the feed has after this
    /// change.
    pub head: &'a str,
    /// The hashes of new requests that hold orders, at most [`FEED_REQUESTS_MAX`].
    pub requests: &'a [u64],
    /// The name and the content of each changed entry, at most [`FEED_ENTRIES_MAX`] entries.
    pub entries: &'a [(String, Vec<u8>)],
}

/// A part of the feed at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPart {
    /// The number of the feed's generation.
    pub generation: u64,
    /// The head, as text. The head says how many requests and changes an edge must read in total.
    pub head: Vec<u8>,
    /// The position of the feed at which this part begins.
    pub from: FeedPosition,
    /// The hashes of requests that hold orders.
    pub requests: Vec<u64>,
    /// The entries of this part. The entry whose last change is oldest comes first.
    pub entries: Vec<FeedEntry>,
    /// Whether the feed has further entries after this part.
    pub has_more_entries: bool,
}

/// An entry of the feed: a part of the writer's memory, such as the counts of a sale.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// The number of the entry's newest change.
    pub seq: u64,
    /// The entry's name.
    pub name: String,
    /// The entry's content.
    pub content: Vec<u8>,
}

impl SharedRedis {
    fn feed_keys(&self) -> Vec<String> {
        ["head", "requests", "entries", "order"].map(|name| self.key("feed", name)).to_vec()
    }

    /// Begins a new generation of the feed. Returns false if a node with a higher fencing number
    /// has written the feed.
    ///
    /// # Errors
    /// Fails if no server can be reached, or if the server does not answer in time.
    pub async fn begin_feed(&self, fence: u64, generation: u64) -> Result<bool, SlotError> {
        let arguments = [fence.to_string(), generation.to_string(), LIFETIME_MS.to_string()];
        let reply = self.eval(BEGIN, &self.feed_keys(), &arguments).await?;
        Ok(reply.number() == Some(1))
    }

    /// Writes a change. If the feed is not at `change.before`, writes nothing and returns false.
    /// The reason may be that Redis lost the feed, or that another node writes the feed.
    ///
    /// # Errors
    /// Fails if no server can be reached, or if the server does not answer in time. The change may
    /// still have been written.
    pub async fn write_feed(&self, change: FeedChange<'_>) -> Result<bool, SlotError> {
        let FeedChange { before, head, requests, entries } = change;
        let seq = before.seq + entries.len() as u64;
        let mut arguments: Vec<Vec<u8>> = [
            before.generation.to_string(),
            before.seq.to_string(),
            before.requests.to_string(),
            head.to_owned(),
            seq.to_string(),
            LIFETIME_MS.to_string(),
            requests.len().to_string(),
        ]
        .map(String::into_bytes)
        .to_vec();
        arguments.extend(requests.iter().map(|request| request.to_be_bytes().to_vec()));
        for (name, content) in entries {
            arguments.extend([name.clone().into_bytes(), content.clone()]);
        }
        let reply = self.eval(WRITE, &self.feed_keys(), &arguments).await?;
        Ok(reply.number() == Some(1))
    }

    /// Stores an edge's report about itself. The report replaces the edge's previous report.
    ///
    /// # Errors
    /// Fails if no server can be reached, or if the server does not answer in time.
    pub async fn note_edge(&self, edge: &str, about: &[u8]) -> Result<(), SlotError> {
        let (lifetime, most) = (EDGES_LIFETIME_MS.to_string(), EDGES_MAX.to_string());
        let arguments = [edge.as_bytes(), about, lifetime.as_bytes(), most.as_bytes()];
        self.eval(NOTE_EDGE, &[self.key("feed", "edges")], &arguments).await.map(drop)
    }

    /// Returns the last report of each edge about itself, in no particular sequence.
    ///
    /// # Errors
    /// Fails if no server can be reached, or if the server does not answer in time.
    pub async fn edges(&self) -> Result<Vec<Vec<u8>>, SlotError> {
        let none: [&[u8]; 0] = [];
        let reply = self.eval(EDGES, &[self.key("feed", "edges")], &none).await?;
        let about = |reply: &ScriptReply| match reply {
            ScriptReply::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        };
        Ok(reply.items().iter().filter_map(about).collect())
    }

    /// Reads the next part of the feed, after the position `at`. If the feed has another generation
    /// than `at`, reads the first part. Returns `None` if this server has no feed.
    ///
    /// # Errors
    /// Fails if no server can be reached, if the server does not answer in time, or if the feed is
    /// not valid.
    pub async fn read_feed(&self, at: FeedPosition) -> Result<Option<FeedPart>, SlotError> {
        let arguments = [
            at.generation.to_string(),
            at.seq.to_string(),
            at.requests.to_string(),
            FEED_REQUESTS_MAX.to_string(),
            FEED_ENTRIES_MAX.to_string(),
        ];
        let reply = self.eval(READ, &self.feed_keys(), &arguments).await?;
        if reply == ScriptReply::Null {
            return Ok(None);
        }
        feed_part(&reply, at).map(Some).ok_or_else(|| SlotError {
            reason: "the edge feed in Redis has an unexpected format".to_owned(),
            may_have_happened: false,
        })
    }
}

fn feed_part(reply: &ScriptReply, at: FeedPosition) -> Option<FeedPart> {
    let [generation, ScriptReply::Bytes(head), begins, requests, entries] = reply.items() else {
        return None;
    };
    let ScriptReply::Bytes(generation) = generation else { return None };
    let generation = std::str::from_utf8(generation).ok()?.parse().ok()?;
    let from = match begins.number()? {
        0 => at,
        _ => FeedPosition { generation, ..FeedPosition::default() },
    };
    let request = |reply: &ScriptReply| match reply {
        ScriptReply::Bytes(bytes) => Some(u64::from_be_bytes(bytes.as_slice().try_into().ok()?)),
        _ => None,
    };
    let requests = requests.items().iter().map(request).collect::<Option<Vec<_>>>()?;
    let mut entries =
        entries.items().chunks(3).map(feed_entry).collect::<Option<Vec<FeedEntry>>>()?;
    let has_more_entries = entries.len() > FEED_ENTRIES_MAX;
    entries.truncate(FEED_ENTRIES_MAX);
    Some(FeedPart { generation, head: head.clone(), from, requests, entries, has_more_entries })
}

fn feed_entry(parts: &[ScriptReply]) -> Option<FeedEntry> {
    let [seq, ScriptReply::Bytes(name), ScriptReply::Bytes(content)] = parts else { return None };
    Some(FeedEntry {
        seq: seq.number().and_then(|seq| u64::try_from(seq).ok())?,
        name: String::from_utf8(name.clone()).ok()?,
        content: content.clone(),
    })
}

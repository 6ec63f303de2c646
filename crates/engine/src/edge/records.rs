//! The content of the edge feed. The feed's head and each entry begin with a proof that can be
//! computed only with the deployment's key. So a program that can write to Redis, but does not have
//! the key, cannot forge a price or a phase.
use doorbuster_core::edge::FeedHead;
use doorbuster_core::{IdKey, ItemId, Millis, Stock};
use doorbuster_store::{Block, BlockKind, ItemCounts};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The format of the feed. An edge ignores a feed of another format, and then passes every request
/// to a node.
const FORMAT: &str = "feed 1";
const PROOF_DIGITS: usize = 32;
/// The name of the entry with the blocks.
pub const BLOCKS: &str = "blocks";
/// The name of the feed entry that contains the number of live edges.
pub const EDGES: &str = "edges";

pub(crate) fn sale_entry(sale: &str) -> String {
    format!("sale:{sale}")
}

pub(crate) fn counts_entry(sale: &str) -> String {
    format!("counts:{sale}")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind<'a> {
    /// The row of this sale.
    Sale(&'a str),
    /// The counts of this sale.
    Counts(&'a str),
    Blocks,
    /// The number of live edges.
    Edges,
}

impl<'a> EntryKind<'a> {
    /// Parses the name of an entry. Returns `None` for an unknown name, which a later version of
    /// the program may have written.
    pub fn of(name: &'a str) -> Option<Self> {
        match name.split_once(':') {
            Some(("sale", sale)) => Some(Self::Sale(sale)),
            Some(("counts", sale)) => Some(Self::Counts(sale)),
            None if name == BLOCKS => Some(Self::Blocks),
            None if name == EDGES => Some(Self::Edges),
            _ => None,
        }
    }
}

fn proof(key: &IdKey, generation: u64, name: &str, text: &str) -> String {
    let hash = key.request_hash(&format!("{FORMAT} {generation} {name}"), text);
    format!("{:0PROOF_DIGITS$x}", hash.0)
}

/// Returns the content of an entry: the proof, followed by `text`.
pub fn seal(key: &IdKey, generation: u64, name: &str, text: &str) -> Vec<u8> {
    [proof(key, generation, name, text).as_bytes(), text.as_bytes()].concat()
}

/// Returns the text of an entry's content, if its proof is valid.
pub fn open<'a>(key: &IdKey, generation: u64, name: &str, content: &'a [u8]) -> Option<&'a str> {
    let (found, text) = std::str::from_utf8(content).ok()?.split_at_checked(PROOF_DIGITS)?;
    (found == proof(key, generation, name, text)).then_some(text)
}

/// Encodes a value of this header as JSON, preceded by a proof. The proof is valid only for this
/// header.
pub(super) fn seal_json(key: &IdKey, header: &str, value: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_string(value).expect("texts and numbers serialise");
    seal(key, 0, header, &text)
}

/// Decodes a value of this header. Returns `None` if the value's proof is not valid.
pub fn open_json<T: DeserializeOwned>(key: &IdKey, header: &str, value: &[u8]) -> Option<T> {
    serde_json::from_str(open(key, 0, header, value)?).ok()
}

/// Encodes the feed's head as text. The text begins with a proof.
pub(crate) fn head_text(key: &IdKey, head: &FeedHead) -> String {
    let FeedHead { generation, seq, requests, as_of, is_complete, has_all_requests } = *head;
    let text = format!(
        "{seq} {requests} {} {} {}",
        as_of.0,
        u8::from(is_complete),
        u8::from(has_all_requests)
    );
    format!("{}{text}", proof(key, generation, "head", &text))
}

/// Returns `None` if the head is invalid.
pub(crate) fn parse_head(key: &IdKey, generation: u64, bytes: &[u8]) -> Option<FeedHead> {
    let mut words = open(key, generation, "head", bytes)?.split(' ');
    let head = FeedHead {
        generation,
        seq: words.next()?.parse().ok()?,
        requests: words.next()?.parse().ok()?,
        as_of: Millis(words.next()?.parse().ok()?),
        is_complete: words.next()? == "1",
        has_all_requests: words.next()? == "1",
    };
    words.next().is_none().then_some(head)
}

/// A sale's counts, and other values that change while the sale's row stays the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CountsRecord {
    /// The time until which the sale's automatic waiting room is open.
    pub(crate) room_open_until: i64,
    /// The items whose own automatic waiting room is open, or has been open before. For each item,
    /// the time at which the room closes or closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    item_rooms: Vec<(i64, i64)>,
    /// For each item: its id, its total units (`null` if unlimited), and its counts `pool`, `kept`,
    /// `in_slots`, `held`, `paid` and `waiting`.
    items: Vec<ItemRecord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ItemRecord(i64, Option<u64>, u64, u64, u64, u64, u64, u64);

impl CountsRecord {
    pub fn new(
        room_open_until: i64,
        item_rooms: impl Iterator<Item = (ItemId, i64)>,
        items: impl Iterator<Item = ItemCounts>,
    ) -> Self {
        let record = |counts: ItemCounts| {
            let total = match counts.total {
                Stock::Counted(units) => Some(units),
                Stock::Unlimited => None,
            };
            let ItemCounts { item, pool, kept, in_slots, held, paid, waiting, .. } = counts;
            ItemRecord(item.0, total, pool, kept, in_slots, held, paid, waiting)
        };
        let item_rooms = item_rooms.map(|(item, until)| (item.0, until)).collect();
        Self { room_open_until, item_rooms, items: items.map(record).collect() }
    }

    /// Returns the items whose own automatic waiting room is open, or has been open before. For
    /// each item, also returns the time at which the room closes or closed.
    pub fn item_rooms(&self) -> impl Iterator<Item = (ItemId, i64)> {
        self.item_rooms.iter().map(|(item, until)| (ItemId(*item), *until))
    }

    /// Returns the counts of all items.
    pub fn counts(&self) -> Vec<ItemCounts> {
        let counts = |record: &ItemRecord| {
            let ItemRecord(item, total, pool, kept, in_slots, held, paid, waiting) = *record;
            let total = total.map_or(Stock::Unlimited, Stock::Counted);
            ItemCounts { item: ItemId(item), total, pool, kept, in_slots, held, paid, waiting }
        };
        self.items.iter().map(counts).collect()
    }
}

/// All present blocks. Each element has the block's kind, its value, and the time at which it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlocksRecord(Vec<(String, String, Option<i64>)>);

impl BlocksRecord {
    pub fn new(blocks: &[Block]) -> Self {
        let record = |block: &Block| {
            let until = block.until.map(|until| until.0);
            (block.kind.as_str().to_owned(), block.value.clone(), until)
        };
        Self(blocks.iter().map(record).collect())
    }

    /// Returns the blocks. Leaves out blocks of a kind that this version of the program does not
    /// know.
    pub fn blocks(self) -> Vec<Block> {
        let block = |(kind, value, until): (String, String, Option<i64>)| {
            let kind = BlockKind::parse(&kind)?;
            let until = until.map(Millis);
            Some(Block { kind, value, until, reason: String::new(), at: Millis(0) })
        };
        self.0.into_iter().filter_map(block).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> IdKey {
        IdKey::new([5; 32])
    }

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let head = FeedHead {
            generation: u64::MAX,
            seq: 3,
            requests: 4,
            as_of: Millis(5),
            is_complete: true,
            has_all_requests: false,
        };
        let text = head_text(&key(), &head);
        assert_eq!(parse_head(&key(), head.generation, text.as_bytes()), Some(head));
        assert_eq!(
            parse_head(&key(), 7, text.as_bytes()),
            None,
            "the head of another generation must be invalid"
        );
        let other = IdKey::new([6; 32]);
        assert_eq!(
            parse_head(&other, head.generation, text.as_bytes()),
            None,
            "the head of another deployment must be invalid"
        );
        let forged = text.replace(" 5 1 0", " 9 1 0");
        assert_eq!(parse_head(&key(), head.generation, forged.as_bytes()), None);
        assert_eq!(parse_head(&key(), head.generation, b"short"), None);
    }

    #[test]
    fn counts_and_blocks_are_read_as_they_were_written() {
        let counts = ItemCounts {
            item: ItemId(7),
            total: Stock::Counted(100),
            pool: 1,
            kept: 2,
            in_slots: 3,
            held: 4,
            paid: 5,
            waiting: 6,
        };
        let all = [counts, ItemCounts { item: ItemId(8), total: Stock::Unlimited, ..counts }];
        let rooms = [(ItemId(8), 12)].into_iter();
        let text =
            serde_json::to_string(&CountsRecord::new(9, rooms, all.into_iter())).expect("JSON");
        let read: CountsRecord = serde_json::from_str(&text).expect("both use the same format");
        assert_eq!((read.room_open_until, read.counts()), (9, all.to_vec()));
        assert_eq!(read.item_rooms().collect::<Vec<_>>(), [(ItemId(8), 12)]);
        let block = |kind, value: &str, until: Option<i64>| Block {
            kind,
            value: value.to_owned(),
            until: until.map(Millis),
            reason: String::new(),
            at: Millis(0),
        };
        let all = [block(BlockKind::Buyer, "robot", None), block(BlockKind::Ip, "::/0", Some(4))];
        let text = serde_json::to_string(&BlocksRecord::new(&all)).expect("JSON");
        let read: BlocksRecord = serde_json::from_str(&text).expect("both use the same format");
        assert_eq!(read.blocks(), all);
    }

    #[test]
    fn an_entry_with_another_name_is_refused() {
        let content = seal(&key(), 1, &sale_entry("a"), "{}");
        assert_eq!(open(&key(), 1, &sale_entry("a"), &content), Some("{}"));
        assert_eq!(open(&key(), 1, &sale_entry("b"), &content), None);
        assert_eq!(open(&key(), 2, &sale_entry("a"), &content), None);
        assert_eq!(EntryKind::of("sale:a"), Some(EntryKind::Sale("a")));
        assert_eq!(EntryKind::of("counts:a"), Some(EntryKind::Counts("a")));
        assert_eq!(
            ["blocks", "edges", "later", "later:x"].map(EntryKind::of),
            [Some(EntryKind::Blocks), Some(EntryKind::Edges), None, None]
        );
    }
}

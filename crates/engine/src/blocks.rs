//! The list of blocked buyers and blocked networks. A block ends at a set time or never. The store
//! has the list, and each node checks requests against a copy in memory.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use doorbuster_config::Cidr;
use doorbuster_core::Millis;
use doorbuster_store::{Block, BlockKind, BlocksVersion, Store, StoreError};
use hashbrown::HashMap;
use tokio::sync::watch;

use crate::outage_log::{self, OutageLog};

/// The maximum number of blocks. If this many exist, the server refuses to create more.
pub const BLOCKS_MAX: usize = 10_000;
/// How often a node checks whether another node changed the blocks.
const REFRESH_INTERVAL: Duration = Duration::from_millis(400);
const NEVER_ENDS: Millis = Millis(i64::MAX);

/// A node's copy of the blocks.
#[derive(Debug, Default)]
pub struct Blocks {
    known: ArcSwap<BlockIndex>,
    /// False if no block exists. A request then needs no further check.
    are_any: AtomicBool,
    /// The version of the blocks that this node last read. A task locks this field while it reads
    /// the blocks.
    reading: tokio::sync::Mutex<Option<BlocksVersion>>,
    /// Notified after this node replaced its copy of the blocks.
    changed: watch::Sender<()>,
    turned_away: [AtomicU64; BlockKind::ALL.len()],
}

/// For each blocked buyer and each blocked network, the time at which the block ends.
#[derive(Debug, Default)]
struct BlockIndex {
    buyers: HashMap<String, Millis>,
    /// Networks in canonical form.
    networks: HashMap<Cidr, Millis>,
    /// One network for each prefix length in use. To check an address, the node looks up the
    /// address's network for each of these lengths.
    sizes: Vec<Cidr>,
}

impl BlockIndex {
    fn new(blocks: &[Block]) -> Self {
        let mut known = Self::default();
        for block in blocks {
            let until = block.until.unwrap_or(NEVER_ENDS);
            match (block.kind, Cidr::parse(&block.value).and_then(|network| network.canonical())) {
                (BlockKind::Buyer, _) => drop(known.buyers.insert(block.value.clone(), until)),
                (BlockKind::Ip, Some(network)) => {
                    known.networks.insert(network, until);
                    // `sizes` needs only one network of each prefix length.
                    if known
                        .sizes
                        .iter()
                        .all(|size| size.network_of(network.address()) != Some(network))
                    {
                        known.sizes.push(network);
                    }
                }
                (BlockKind::Ip, None) => {
                    tracing::error!(
                        value = block.value,
                        event = "block.invalid",
                        "the store contains a block with an invalid network; this node ignores \
                         the block; delete the block"
                    )
                }
            }
        }
        known
    }

    fn matching_kind(&self, address: IpAddr, buyer: &str, now: Millis) -> Option<BlockKind> {
        let holds = |until: Option<&Millis>| until.is_some_and(|until| now < *until);
        if holds(self.buyers.get(buyer)) {
            return Some(BlockKind::Buyer);
        }
        let blocked = |size: &Cidr| {
            size.network_of(address).is_some_and(|network| holds(self.networks.get(&network)))
        };
        self.sizes.iter().any(blocked).then_some(BlockKind::Ip)
    }
}

impl Blocks {
    /// Returns whether a block applies to the buyer or to one of these addresses. If so, also
    /// counts the refused caller ([`Self::blocked_count`]).
    pub fn is_blocked(
        &self,
        addresses: impl IntoIterator<Item = IpAddr>,
        buyer: &str,
        now: Millis,
    ) -> bool {
        if !self.are_any.load(Ordering::Acquire) {
            return false;
        }
        let known = self.known.load();
        let mut kinds =
            addresses.into_iter().map(|address| known.matching_kind(address, buyer, now));
        let Some(kind) = kinds.find_map(|kind| kind) else { return false };
        self.turned_away[kind as usize].fetch_add(1, Ordering::Relaxed);
        true
    }

    /// Returns whether this buyer is blocked. Does not check any address.
    pub fn has_buyer(&self, buyer: &str, now: Millis) -> bool {
        let no_address = IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
        self.known.load().matching_kind(no_address, buyer, now) == Some(BlockKind::Buyer)
    }

    /// Returns a receiver that is notified whenever this node's copy of the blocks changes.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Returns how many callers were refused because of a block of this kind.
    pub fn blocked_count(&self, kind: BlockKind) -> u64 {
        self.turned_away[kind as usize].load(Ordering::Relaxed)
    }

    /// Replaces this node's copy of the blocks.
    pub fn replace(&self, blocks: &[Block]) {
        self.known.store(BlockIndex::new(blocks).into());
        self.are_any.store(!blocks.is_empty(), Ordering::Release);
        self.changed.send_replace(());
    }

    /// Reads the blocks from the store if they changed since the last read.
    ///
    /// # Errors
    ///
    /// If the store cannot be read. This node then continues to use its present copy.
    pub async fn catch_up(&self, store: &Store) -> Result<(), StoreError> {
        let mut read = self.reading.lock().await;
        let mark = store.blocks_version().await?;
        if *read != Some(mark) {
            self.replace(&store.blocks().await?);
            *read = Some(mark);
        }
        Ok(())
    }

    /// Regularly reads the blocks that other nodes changed, until the future is dropped. On a
    /// single node, the future ends after the first successful read. No further read is needed,
    /// because each request that changes blocks also updates the copy.
    pub async fn follow(&self, store: &Store, outages: &OutageLog, is_single_node: bool) {
        let mut every = tokio::time::interval(REFRESH_INTERVAL);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_away = false;
        loop {
            every.tick().await;
            let looked = self.catch_up(store).await;
            if let (Err(error), false) = (&looked, was_away) {
                outage_log::warn!(
                    outages,
                    error,
                    event = "block.reload_failed",
                    "failed to reload the blocks; the previous blocks stay in force"
                );
            }
            was_away = looked.is_err();
            if is_single_node && looked.is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(kind: BlockKind, value: &str, until: Option<i64>) -> Block {
        Block {
            kind,
            value: value.into(),
            until: until.map(Millis),
            reason: String::new(),
            at: Millis(0),
        }
    }

    #[test]
    fn buyers_and_networks_are_blocked_until_the_end_of_their_block() {
        let blocks = Blocks::default();
        blocks.replace(&[
            block(BlockKind::Buyer, "robot", Some(1_000)),
            block(BlockKind::Buyer, "thief", None),
            block(BlockKind::Ip, "192.0.2.0/24", Some(1_000)),
            block(BlockKind::Ip, "198.51.100.7/32", None),
            block(BlockKind::Ip, "2001:db8::/32", None),
            block(BlockKind::Ip, "nonsense", None),
        ]);
        let check = |address: &str, buyer: &str, now: i64, expected: bool| {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(
                blocks.is_blocked([address], buyer, Millis(now)),
                expected,
                "{address} {buyer} {now}"
            );
        };
        check("203.0.113.1", "anna", 0, false);
        check("203.0.113.1", "robot", 999, true);
        check("203.0.113.1", "robot", 1_000, false);
        check("203.0.113.1", "thief", i64::MAX - 1, true);
        check("192.0.2.200", "anna", 999, true);
        check("::ffff:192.0.2.200", "anna", 999, true);
        check("192.0.2.200", "anna", 1_000, false);
        check("192.0.3.1", "anna", 0, false);
        check("198.51.100.7", "anna", 0, true);
        check("198.51.100.8", "anna", 0, false);
        check("2001:db8:ffff::1", "anna", 0, true);
        check("2001:db9::1", "anna", 0, false);
        check("fe80::1", "anna", 0, false);
        assert_eq!(
            (blocks.blocked_count(BlockKind::Buyer), blocks.blocked_count(BlockKind::Ip)),
            (2, 4)
        );
    }

    #[test]
    fn without_blocks_no_caller_is_blocked() {
        let blocks = Blocks::default();
        assert!(!blocks.is_blocked("192.0.2.1".parse::<IpAddr>(), "anna", Millis(0)));
    }
}

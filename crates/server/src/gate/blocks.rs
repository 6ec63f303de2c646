//! Whom operators turn away: buyers and networks, until a time or for good. The list is kept in the
//! store and held in node memory, where a look at it costs a few hash lookups; other nodes read it
//! again within half a second of a change.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use doorbuster_core::Millis;
use doorbuster_store::{Block, BlockKind, BlocksVersion, StoreError};
use hashbrown::HashMap;
use tokio::sync::watch;

use crate::config::Cidr;
use crate::engine::Engine;

/// Blocks that there may be; one more is refused.
pub(crate) const BLOCKS_MAX: usize = 10_000;
/// How often a node looks whether others changed them.
const REFRESH_EVERY: Duration = Duration::from_millis(400);
/// Time that stands for good.
const NEVER_ENDS: Millis = Millis(i64::MAX);

/// The blocks as a node holds them.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    known: ArcSwap<BlockIndex>,
    /// Whether there are any: where there are none, that is all a request asks.
    are_any: AtomicBool,
    /// Held by whoever reads them, with what marks the last reading.
    reading: tokio::sync::Mutex<Option<BlocksVersion>>,
    /// Told when they were read anew.
    changed: watch::Sender<()>,
    turned_away: [AtomicU64; BlockKind::ALL.len()],
}

/// Until when whom.
#[derive(Debug, Default)]
struct BlockIndex {
    buyers: HashMap<String, Millis>,
    /// In their one way of writing.
    networks: HashMap<Cidr, Millis>,
    /// One network of each size that there is.
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
                    // Of the sizes that are known, none is this network's.
                    if known
                        .sizes
                        .iter()
                        .all(|size| size.around(network.address()) != Some(network))
                    {
                        known.sizes.push(network);
                    }
                }
                (BlockKind::Ip, None) => {
                    tracing::error!(value = block.value, "a block in the store is no network")
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
            size.around(address).is_some_and(|network| holds(self.networks.get(&network)))
        };
        self.sizes.iter().any(blocked).then_some(BlockKind::Ip)
    }
}

impl Blocks {
    /// Whether this caller, who has one of these addresses, is turned away. It is counted.
    pub(crate) fn is_blocked(
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

    /// Tells of changes from now on, to whoever was let in and stays.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// How often somebody of this kind was turned away.
    pub(crate) fn blocked_count(&self, kind: BlockKind) -> u64 {
        self.turned_away[kind as usize].load(Ordering::Relaxed)
    }

    fn replace(&self, blocks: &[Block]) {
        self.known.store(BlockIndex::new(blocks).into());
        self.are_any.store(!blocks.is_empty(), Ordering::Release);
    }

    /// Reads them again if they changed.
    ///
    /// # Errors
    /// When the store cannot be read: then they hold as they were.
    pub(crate) async fn catch_up(&self, engine: &Engine) -> Result<(), StoreError> {
        let mut read = self.reading.lock().await;
        let mark = engine.store().blocks_version().await?;
        if *read != Some(mark) {
            self.replace(&engine.store().blocks().await?);
            self.changed.send_replace(());
            *read = Some(mark);
        }
        Ok(())
    }

    /// Follows what other nodes change, until it is dropped.
    pub(crate) async fn follow(&self, engine: &Engine) {
        let mut every = tokio::time::interval(REFRESH_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut was_away = false;
        loop {
            every.tick().await;
            let looked = self.catch_up(engine).await;
            if let (Err(error), false) = (&looked, was_away) {
                tracing::warn!(%error, "who is turned away could not be read again; it holds as it was");
            }
            was_away = looked.is_err();
            if engine.layout().is_alone() && looked.is_ok() {
                // Nobody else writes them, and who does reads them again.
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
    fn buyers_and_networks_are_turned_away_until_their_time() {
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
    fn everybody_is_let_in_where_nobody_is_turned_away() {
        let blocks = Blocks::default();
        assert!(!blocks.is_blocked("192.0.2.1".parse::<IpAddr>(), "anna", Millis(0)));
    }
}

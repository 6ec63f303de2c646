//! The names of buyers and request keys in simulated sales, with their hashes.
use std::sync::LazyLock;

use doorbuster_core::{BuyerId, IdKey, RequestHash, RequestKey};

/// The number of buyers that operations can name. The other simulated buyers make their first
/// request at the end of the run.
pub const BUYERS: usize = 6;
/// The number of all buyers, including those who make their first request at the end of the run.
pub const BUYERS_ALL: usize = 16;
/// The number of request keys of one buyer.
pub const KEYS: usize = 24;

/// The names of buyers and keys, and their hashes. These names and hashes are the same in all
/// simulated sales, so they are computed only once.
pub(crate) struct Names {
    pub(crate) key: IdKey,
    pub(crate) buyers: Vec<BuyerId>,
    pub(crate) keys: Vec<RequestKey>,
    requests: Vec<RequestHash>,
    hashes: Vec<u64>,
}

impl Names {
    fn new() -> Self {
        let key = IdKey::new([7; 32]);
        let name = |c: char, i: usize| format!("{c}{i:02}");
        let buyers = (0..BUYERS_ALL)
            .map(|i| BuyerId::new(&name('b', i)).expect("a letter and digits"))
            .collect::<Vec<_>>();
        let keys = (0..KEYS)
            .map(|i| RequestKey::new(&name('k', i)).expect("a letter and digits"))
            .collect::<Vec<_>>();
        let hash = |b: &BuyerId| {
            keys.iter().map(|k| key.request_hash(b.as_str(), k.as_str())).collect::<Vec<_>>()
        };
        let requests = buyers.iter().flat_map(hash).collect();
        let hashes = buyers.iter().map(|b| key.buyer_hash(b.as_str())).collect();
        Self { key, buyers, keys, requests, hashes }
    }

    pub(crate) fn request_hash(&self, buyer: u8, key: u8) -> RequestHash {
        self.requests[usize::from(buyer) * KEYS + usize::from(key)]
    }

    pub(crate) fn low_64_bits(&self, buyer: u8, key: u8) -> u64 {
        self.request_hash(buyer, key).low_64_bits()
    }

    pub(crate) fn buyer_hash(&self, buyer: u8) -> u64 {
        self.hashes[usize::from(buyer)]
    }
}

pub(crate) static NAMES: LazyLock<Names> = LazyLock::new(Names::new);

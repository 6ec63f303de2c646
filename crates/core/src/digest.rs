//! Commit digests: a few bytes for each order that a transaction of the store created or changed.
//!
//! Each such transaction writes one digest. From the digest, other nodes learn which requests hold
//! an order. A node reads the whole order if a request at the node waits for the order, or if a
//! client of the node follows the buyer's orders.
mod follower;

pub use follower::{Backlog, DigestFollower, RestartCause, SnapshotPosition, restart_cause};
use follower::{DigestRule, holds};

use crate::rows::OrderState;
use crate::value::{GrantId, ItemId, NodeId, TicketN};

/// The format's version, the first byte of every digest.
const VERSION: u8 = 1;
/// The size of one order in a digest, in bytes.
const ENTRY_BYTES: usize = 41;
const CREATED: u8 = 1;
const ENDED: u8 = 2;

/// An order in a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderDigest {
    /// The lower half of the keyed hash of the order's request.
    pub request: u64,
    /// A short hash of the buyer's name ([`buyer_tag`]).
    pub buyer: u32,
    /// The order's item.
    pub item: ItemId,
    /// The order's grant. The grant and `n` together identify the order.
    pub grant: GrantId,
    /// The number of the order's ticket under the grant.
    pub n: TicketN,
    /// The node whose ticket became this order. `None` if the transaction changed an existing
    /// order.
    pub created_for: Option<NodeId>,
    /// Whether the order has left the state `reserved`.
    pub ended: bool,
}

impl OrderDigest {
    /// Returns whether a digest marks an order in this state as ended. This is so in all states
    /// except `reserved`.
    #[must_use]
    pub fn is_ended(state: OrderState) -> bool {
        state != OrderState::Reserved
    }

    /// Returns whether a node must read the whole order. This is so if a request at the node waits
    /// for the order, or if a client of the node follows the buyer's orders.
    #[must_use]
    pub fn is_needed(&self, node: NodeId, follows: impl FnOnce(u32) -> bool) -> bool {
        let is_own = self.created_for == Some(node);
        is_own || follows(self.buyer)
    }
}

/// Returns a short hash of a buyer's name. If two buyers have the same hash, a node may read orders
/// that it does not need.
#[must_use]
pub fn buyer_tag(buyer: &str) -> u32 {
    let hash = blake3::hash(buyer.as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The error for a digest that is damaged or was written by a newer program. A node that gets this
/// error must read the orders themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a commit digest has an unknown format")]
pub struct UnknownDigest;

/// Returns the digest of a transaction that created or changed these orders.
#[must_use]
pub fn encode(orders: &[OrderDigest]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + orders.len() * ENTRY_BYTES);
    bytes.push(VERSION);
    for order in orders {
        let created = order.created_for.map_or(0, |_| CREATED);
        bytes.extend(order.request.to_le_bytes());
        bytes.extend(order.buyer.to_le_bytes());
        bytes.extend(order.item.0.to_le_bytes());
        bytes.extend(order.grant.0.to_le_bytes());
        bytes.extend(order.n.0.to_le_bytes());
        bytes.extend(order.created_for.map_or(0, |node| node.0).to_le_bytes());
        bytes.push(created | if order.ended { ENDED } else { 0 });
    }
    bytes
}

/// Decodes the digest of one transaction, and returns its orders.
///
/// # Errors
/// Fails if the format is unknown.
pub fn decode(bytes: &[u8]) -> Result<Vec<OrderDigest>, UnknownDigest> {
    let (version, entries) = bytes.split_first().ok_or(UnknownDigest)?;
    let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
    if *version != VERSION || !rest.is_empty() {
        return if holds(DigestRule::KnownFormat) { Err(UnknownDigest) } else { Ok(Vec::new()) };
    }
    entries.iter().map(decode_entry).collect()
}

fn decode_entry(entry: &[u8; ENTRY_BYTES]) -> Result<OrderDigest, UnknownDigest> {
    let mut rest = &entry[..];
    let request = u64::from_le_bytes(take(&mut rest)?);
    let buyer = u32::from_le_bytes(take(&mut rest)?);
    let item = ItemId(i64::from_le_bytes(take(&mut rest)?));
    let grant = GrantId(u64::from_le_bytes(take(&mut rest)?));
    let n = TicketN(u64::from_le_bytes(take(&mut rest)?));
    let node = NodeId(u32::from_le_bytes(take(&mut rest)?));
    let [flags] = take(&mut rest)?;
    if flags & !(CREATED | ENDED) != 0 {
        return Err(UnknownDigest);
    }
    let created_for = (flags & CREATED != 0).then_some(node);
    Ok(OrderDigest { request, buyer, item, grant, n, created_for, ended: flags & ENDED != 0 })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], UnknownDigest> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(UnknownDigest)?;
    *rest = tail;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order() -> OrderDigest {
        OrderDigest {
            request: 7,
            buyer: buyer_tag("anna"),
            item: ItemId(3),
            grant: GrantId(9),
            n: TicketN(11),
            created_for: Some(NodeId(2)),
            ended: false,
        }
    }

    prop_compose! {
        fn any_order()(
            (request, buyer, item) in any::<(u64, u32, i64)>(),
            (grant, n, node, ended) in any::<(u64, u64, Option<u32>, bool)>(),
        ) -> OrderDigest {
            OrderDigest {
                request,
                buyer,
                item: ItemId(item),
                grant: GrantId(grant),
                n: TicketN(n),
                created_for: node.map(NodeId),
                ended,
            }
        }
    }

    proptest! {
        #[test]
        fn a_digest_is_read_as_it_was_written(orders in prop::collection::vec(any_order(), 0..50)) {
            prop_assert_eq!(decode(&encode(&orders)), Ok(orders));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(orders) = decode(&bytes) {
                prop_assert_eq!(encode(&orders).len(), bytes.len());
            }
        }
    }

    #[test]
    fn another_format_is_refused() {
        let written = encode(&[order()]);
        assert_eq!(written.len(), 1 + ENTRY_BYTES);
        assert_eq!(decode(&[]), Err(UnknownDigest));
        assert_eq!(
            decode(&written[..ENTRY_BYTES]),
            Err(UnknownDigest),
            "a digest with a cut-off entry must be refused"
        );
        let mut newer = written.clone();
        newer[0] = VERSION + 1;
        assert_eq!(decode(&newer), Err(UnknownDigest));
        let mut flags = written;
        flags[ENTRY_BYTES] = 4;
        assert_eq!(decode(&flags), Err(UnknownDigest));
    }

    #[test]
    fn a_node_reads_its_own_orders_and_those_of_buyers_it_follows() {
        let order = order();
        assert!(order.is_needed(NodeId(2), |_| false));
        assert!(!order.is_needed(NodeId(1), |_| false));
        assert!(order.is_needed(NodeId(1), |buyer| buyer == buyer_tag("anna")));
        let changed = OrderDigest { created_for: None, ..order };
        assert!(!changed.is_needed(NodeId(2), |buyer| buyer == buyer_tag("bert")));
    }
}

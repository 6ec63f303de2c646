//! Every slot key in Redis, and its lifetime. Only this file builds these names.
//!
//! | key | type | holds | lives |
//! |---|---|---|---|
//! | `PREFIX:{ITEM#INDEX}:term` | hash | grant, epoch, counters, position in the feed, number of tickets | as long as the slot; the epoch is kept for one more day |
//! | `PREFIX:{ITEM#INDEX}:requests` | hash | request's hash → its ticket | until the slot gets another grant or is retired |
//! | `PREFIX:{ITEM#INDEX}:buyers` | hash | buyer's hash → units counted | until the slot gets another grant or is retired |
//! | `PREFIX:{ITEM#INDEX}:recalls` | hash | recall's id → units given up | until the slot gets another grant or is retired |
//! | `PREFIX:{ITEM#INDEX}:queue` | stream | tickets not yet acknowledged, ids `EPOCH-N`, one group `settle` | as long as the slot |
//!
//! The text between the braces is the hash tag. It puts all keys of a slot on one server, so that
//! one script can use them all. No key expires before its slot is retired.
use doorbuster_core::SlotKey;

/// The name of the settlers' consumer group. The scripts also contain this name.
pub(super) const GROUP: &str = "settle";
/// The number of hash slots of a Redis Cluster.
pub(super) const HASH_SLOTS: u16 = 16_384;

/// The keys of one slot. Every script takes them in this sequence.
#[derive(Clone, Debug)]
pub(super) struct Keys(pub(super) [String; 5]);

impl Keys {
    pub(super) fn of(prefix: &str, slot: SlotKey) -> Self {
        let tag = tag(slot);
        Self(
            ["term", "requests", "buyers", "recalls", "queue"]
                .map(|what| format!("{prefix}:{{{tag}}}:{what}")),
        )
    }

    pub(super) fn requests(&self) -> &str {
        &self.0[1]
    }

    pub(super) fn queue(&self) -> &str {
        &self.0[4]
    }
}

fn tag(slot: SlotKey) -> String {
    slot.to_string()
}

/// Returns the hash slot of a Redis Cluster to which all keys of this slot belong.
pub(super) fn hash_slot(slot: SlotKey) -> u16 {
    crc16(tag(slot).as_bytes()) % HASH_SLOTS
}

/// Returns the index of the server that has the slot, if the servers form no Redis Cluster. The
/// item decides which server gets the item's first partition. The other partitions go to the next
/// servers in turn. So the numbers of an item's partitions on any two servers differ by at most
/// one.
pub(super) fn server_of(slot: SlotKey, servers: usize) -> usize {
    let start = usize::from(crc16(&slot.item.0.to_be_bytes()));
    (start + slot.index as usize) % servers.max(1)
}

/// Computes the checksum that determines a key's hash slot. The cluster specification requires
/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorbuster_core::ItemId;

    #[test]
    fn the_checksum_is_the_one_that_clusters_use() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(crc16(b"foo") % HASH_SLOTS, 12_182);
    }

    #[test]
    fn an_items_partitions_are_assigned_to_the_servers_in_turn() {
        let mut of = [0; 3];
        (0..64).for_each(|index| of[server_of(SlotKey { item: ItemId(77), index }, 3)] += 1);
        assert!(of.iter().all(|&n| n == 21 || n == 22), "{of:?}");
    }

    #[test]
    fn all_keys_of_a_slot_share_its_tag() {
        let keys = Keys::of("shop", SlotKey { item: ItemId(7), index: 3 });
        assert!(keys.0.iter().all(|k| k.starts_with("shop:{7#3}:")), "{keys:?}");
    }
}

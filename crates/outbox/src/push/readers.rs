//! The subscriptions in this node's memory. Each subscription receives its buyer's events from the
//! hub.

use std::collections::HashMap;
use std::sync::Arc;

use doorbuster_core::{BuyerId, Millis};
use doorbuster_engine::notify::Subscription;

use super::message::Target;
use super::{OF_BUYER_MAX, SUBSCRIPTIONS_MAX};

#[derive(Debug)]
pub(super) struct PushReader {
    pub events: Subscription,
    pub target: Arc<Target>,
    pub ends_at: Millis,
    /// The messages that the browser already got. The key is a topic: each waiting room and each
    /// order has its own topic. The value is the time that the message named: the end of the
    /// buyer's turn, or the end of the payment window.
    pub sent: HashMap<String, Millis>,
}

#[derive(Debug, Default)]
pub(super) struct PushReaders {
    by_id: HashMap<u64, PushReader>,
    by_buyer: HashMap<BuyerId, Vec<u64>>,
}

impl PushReaders {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn remaining_capacity(&self) -> usize {
        SUBSCRIPTIONS_MAX.saturating_sub(self.by_id.len())
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        self.by_id.keys().copied().collect()
    }

    pub(super) fn has(&self, id: u64) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut PushReader> {
        self.by_id.get_mut(&id)
    }

    pub(super) fn has_browser(&self, buyer: &BuyerId, endpoint: &str) -> bool {
        self.of_buyer(buyer).any(|(_, reader)| reader.target.endpoint == endpoint)
    }

    fn of_buyer(&self, buyer: &BuyerId) -> impl Iterator<Item = (u64, &PushReader)> {
        let ids = self.by_buyer.get(buyer).into_iter().flatten();
        ids.filter_map(|id| self.by_id.get_key_value(id)).map(|(id, reader)| (*id, reader))
    }

    /// Adds a subscription. If the buyer already has the maximum number of subscriptions, first
    /// removes the subscription that ends first.
    pub(super) fn insert(&mut self, id: u64, buyer: BuyerId, reader: PushReader) {
        if self.of_buyer(&buyer).count() >= OF_BUYER_MAX {
            let first = self.of_buyer(&buyer).min_by_key(|(_, reader)| reader.ends_at.0);
            if let Some((first, _)) = first {
                self.remove(first);
            }
        }
        self.by_id.insert(id, reader);
        self.by_buyer.entry(buyer).or_default().push(id);
    }

    pub(super) fn remove(&mut self, id: u64) {
        let Some(reader) = self.by_id.remove(&id) else { return };
        let Some(buyer) = reader.events.buyer() else { return };
        if let Some(ids) = self.by_buyer.get_mut(buyer) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_buyer.remove(buyer);
            }
        }
    }

    pub(super) fn remove_ended(&mut self, now: Millis) {
        let ended = self.by_id.iter().filter(|(_, reader)| reader.ends_at <= now);
        let ended: Vec<u64> = ended.map(|(id, _)| *id).collect();
        ended.into_iter().for_each(|id| self.remove(id));
    }

    /// Removes the subscriptions of this browser that belong to other buyers, who used the browser
    /// before.
    pub(super) fn remove_others(&mut self, buyer: &BuyerId, target: &Target) {
        let others = self.by_id.iter().filter(|(_, reader)| {
            *reader.target == *target && reader.events.buyer() != Some(buyer)
        });
        let others: Vec<u64> = others.map(|(id, _)| *id).collect();
        others.into_iter().for_each(|id| self.remove(id));
    }

    pub(super) fn remove_buyer(&mut self, buyer: &BuyerId) {
        let ids = self.by_buyer.remove(buyer).unwrap_or_default();
        ids.into_iter().for_each(|id| self.remove(id));
    }
}

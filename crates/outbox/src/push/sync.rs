//! Regularly compares the subscriptions in this node's memory with the store. Takes over the
//! subscriptions of nodes that lost their lease, and removes from the memory the subscriptions that
//! this node does not own any more.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use doorbuster_core::gate::room::LEFT;
use doorbuster_core::{BuyerId, Phase};
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::node::Node;
use doorbuster_engine::outage_log;
use doorbuster_store::{StoreResult, SubscriptionOwner};

use super::WebPush;
use super::text::PushText;

const SYNC_INTERVAL: Duration = Duration::from_secs(3);
/// One comparison takes over at most this many subscriptions, and also loads at most this many. If
/// more are left and the queue has room for this many messages, the next comparison starts at once.
const PAGE_SIZE: usize = 500;

impl WebPush {
    pub(super) async fn run_sync(&self, node: &Node) {
        loop {
            match self.sync(node).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => outage_log::warn!(
                    node.outage_log(),
                    error,
                    event = "push.sync_failed",
                    "failed to read the subscriptions of browsers; will retry"
                ),
            }
            tokio::time::sleep(SYNC_INTERVAL).await;
        }
    }

    /// Compares the subscriptions in memory with the store once. Returns whether the next
    /// comparison must start at once.
    async fn sync(&self, node: &Node) -> StoreResult<bool> {
        let taken = self.take_over(node).await?;
        // A browser may subscribe while this function runs. Then `owned` may lack a subscription
        // that is already in the memory, so this function removes only subscriptions in `known`. If
        // `owned` has the new subscription, this function may load it although it is already in the
        // memory.
        let known = self.lock().ids();
        let owned = node.store().owned_push_subscriptions(node.id()).await?;
        let mut missing = self.apply_owned(&known, &owned);
        let has_more = missing.len() > PAGE_SIZE;
        missing.truncate(PAGE_SIZE.min(self.lock().remaining_capacity()));
        if missing.is_empty() {
            return Ok(false);
        }
        let loaded = node.store().push_subscriptions(node.id(), &missing).await?;
        let mut ids: HashMap<BuyerId, Vec<u64>> = HashMap::new();
        for subscription in loaded {
            let (id, buyer) = (subscription.id, subscription.browser.buyer.clone());
            if self.add(node, subscription) {
                ids.entry(buyer).or_default().push(id);
            }
        }
        if let Err(error) = self.catch_up(node, &ids).await {
            // The messages that are valid now could not be queued. So the subscriptions are removed
            // from the memory, and the next comparison loads them and queues the messages.
            ids.values().flatten().for_each(|id| self.lock().remove(*id));
            return Err(error);
        }
        Ok((has_more || taken >= PAGE_SIZE as u64) && self.sender.has_room(PAGE_SIZE))
    }

    async fn take_over(&self, node: &Node) -> StoreResult<u64> {
        if node.layout().is_single_node() {
            return Ok(0);
        }
        let limit = PAGE_SIZE.min(self.lock().remaining_capacity());
        let taken = node.store().take_over_push_subscriptions(node.id(), limit).await?;
        if taken > 0 {
            tracing::info!(
                subscriptions = taken,
                event = "push.taken_over",
                "took over the subscriptions of browsers from another node"
            );
        }
        Ok(taken)
    }

    /// Removes the subscriptions in `known` that this node does not own any more, and updates the
    /// end times of the others. Returns the ids of the owned subscriptions that are not in the
    /// memory.
    fn apply_owned(&self, known: &[u64], owned: &[SubscriptionOwner]) -> Vec<u64> {
        let ids: HashSet<u64> = owned.iter().map(|owned| owned.id).collect();
        let mut readers = self.lock();
        for id in known {
            if !ids.contains(id) {
                readers.remove(*id);
            }
        }
        let mut missing = Vec::new();
        for SubscriptionOwner { id, until, .. } in owned {
            match readers.get_mut(*id) {
                Some(reader) => reader.ends_at = *until,
                None => missing.push(*id),
            }
        }
        missing
    }

    /// Queues the messages that are valid now for these subscriptions, because their last owner may
    /// not have sent them. If the queue is full, messages are lost. The function does not wait for
    /// space in the queue, because a push service that does not answer would delay the comparison.
    async fn catch_up(&self, node: &Node, ids: &HashMap<BuyerId, Vec<u64>>) -> StoreResult<()> {
        let (now, buyers): (_, Vec<BuyerId>) = (node.now(), ids.keys().cloned().collect());
        let mut texts = Vec::new();
        for order in node.store().unpaid_orders_of(&buyers).await? {
            let text = PushText::about_order(node, &order, now);
            texts.extend(text.map(|text| (order.buyer, text)));
        }
        for sale in sales_with_turns(node) {
            for room in sale.rooms() {
                for visitor in node.store().visitors(&room.key(), buyers.clone()).await? {
                    let until = visitor.until.filter(|until| *until != LEFT && *until > now);
                    let text = until.map(|until| PushText::about_turn(room, until));
                    texts.extend(text.map(|text| (visitor.buyer, text)));
                }
            }
        }
        for (buyer, text) in texts {
            for id in ids.get(&buyer).into_iter().flatten() {
                if let Some(message) = self.message(*id, &text, now) {
                    self.sender.queue(message);
                }
            }
        }
        Ok(())
    }
}

fn sales_with_turns(node: &Node) -> Vec<Arc<SaleState>> {
    let has_turns = |sale: &&Arc<SaleState>| {
        sale.row.phase == Phase::Open && !sale.front_door.waiting_room.is_off()
    };
    node.catalogue().sales().filter(has_turns).cloned().collect()
}

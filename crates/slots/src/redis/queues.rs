//! The queues that this node reads, and the tickets that it takes from them.
use std::collections::HashSet;

use doorbuster_core::{NodeId, SlotKey};
use redis::{Cmd, Value};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::failure::RedisFailure;
use super::keys::Keys;
use super::limits::{SCRIPT_DONE_MAX, SERVED_MAX};
use super::reader::{self, QueueReader, Reader};
use super::script::Script;
use super::{Redis, Shared, calls};
use crate::{DeliveryRef, DequeuedTicket, SlotError};

impl Redis {
    /// Makes this node read the queues of exactly these slots. If there are more slots than
    /// [`SERVED_MAX`], the node reads only the first slots.
    pub(crate) fn serve(&self, slots: &[SlotKey]) -> Result<(), SlotError> {
        let read: HashSet<SlotKey> = slots.iter().copied().take(SERVED_MAX).collect();
        let mut readers = self.0.readers();
        readers.retain(|slot, reader| {
            let stays = read.contains(slot);
            if !stays {
                reader.end_after_read();
            }
            stays
        });
        for slot in read {
            readers.entry(slot).or_insert_with(|| QueueReader::start(self.reader(slot)));
        }
        if slots.len() > SERVED_MAX {
            let reason = format!(
                "{} slots are more than the {SERVED_MAX} that one node can read",
                slots.len()
            );
            return Err(SlotError { reason, may_have_happened: false });
        }
        Ok(())
    }

    /// Sets the live nodes. A new reader takes over the tickets of nodes that are not live, without
    /// a delay.
    pub(crate) fn set_live_nodes(&self, nodes: &[NodeId]) {
        self.0.live.set(nodes);
    }

    fn reader(&self, slot: SlotKey) -> Reader {
        let Shared { consumer, routes, inbox, live, .. } = &*self.0;
        Reader {
            slot,
            keys: self.keys(slot),
            consumer: consumer.clone(),
            routes: routes.clone(),
            inbox: inbox.clone(),
            live: live.clone(),
            ends: CancellationToken::new(),
        }
    }

    pub(crate) async fn take(&self, at_most: usize) -> Vec<DequeuedTicket> {
        self.0.inbox.take(at_most).await
    }

    /// Acknowledges tickets, at all slots at the same time. If some slots do not answer, returns
    /// the error of one of them.
    pub(crate) async fn acknowledge(&self, done: &[DeliveryRef]) -> Result<(), SlotError> {
        let mut done = done.to_vec();
        done.sort_by_key(|d| (d.slot, d.at));
        let mut slots = JoinSet::new();
        for of_slot in done.chunk_by(|a, b| a.slot == b.slot) {
            let (redis, of_slot) = (self.clone(), of_slot.to_vec());
            slots.spawn(async move { redis.acknowledge_slot(&of_slot).await });
        }
        let mut result = Ok(());
        while let Some(acknowledged) = slots.join_next().await {
            let acknowledged = acknowledged.unwrap_or_else(|error| {
                Err(SlotError { reason: error.to_string(), may_have_happened: true })
            });
            result = result.and(acknowledged);
        }
        result
    }

    async fn acknowledge_slot(&self, done: &[DeliveryRef]) -> Result<(), SlotError> {
        for some in done.chunks(SCRIPT_DONE_MAX) {
            let arguments = |call: &mut Cmd| calls::acknowledge(call, some);
            self.call(some[0].slot, Script::Acknowledge, arguments).await?;
        }
        Ok(())
    }

    /// Delivers all unacknowledged tickets of the slot to this node again, in sequence. This
    /// includes tickets that another node received. In the inbox, the delivered tickets replace the
    /// slot's earlier tickets.
    pub(crate) async fn redeliver(&self, slot: SlotKey) -> Result<(), SlotError> {
        let (keys, mut from, mut tickets) =
            (self.keys(slot), reader::CLAIM_START.to_owned(), Vec::new());
        loop {
            let claimed = match self.repeat(|| self.claim_page(slot, &keys, &from)).await {
                // The queue does not exist, so there is no ticket to deliver.
                Err(RedisFailure::Refused(_)) => break,
                reply => reader::read_claimed(slot, reply?)?,
            };
            tickets.extend(claimed.tickets);
            from = claimed.next;
            if from == reader::CLAIM_START {
                break;
            }
        }
        self.0.inbox.replace_slot(slot, tickets);
        Ok(())
    }

    async fn claim_page(
        &self,
        slot: SlotKey,
        keys: &Keys,
        from: &str,
    ) -> Result<Value, RedisFailure> {
        let call = reader::claim(keys, &self.0.consumer, 0, from);
        self.0.routes.server(slot)?.link.ask(&call).await
    }
}

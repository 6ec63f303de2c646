//! The contract of slots, and its backends. A slot issues tickets for units of one item.
//!
//! A backend is a variant of [`Slots`]. The documentation of each method says what must hold after
//! a call, and [`conformance`] tests that every backend behaves like `doorbuster_core::slot::Slot`.
#![forbid(unsafe_code)]

pub mod conformance;
mod edge_feed;
mod limit;
mod local;
mod lock;
mod redis;
mod shared;

use doorbuster_core::slot::{
    ApplyOutcome, GrantTerms, RecallOutcome, SlotBounds, SlotView, TicketAnswer, TicketRequest,
};
use doorbuster_core::{
    Epoch, FeedRow, GrantId, IdKey, NodeId, QueuedTicket, RecallId, SlotKey, Token,
};

#[cfg(feature = "script-host")]
pub use self::redis::{HostReply, ScriptHost, ScriptedSlot};
pub use self::redis::{Redis, RedisOptions};
pub use edge_feed::{FEED_ENTRIES_MAX, FEED_REQUESTS_MAX, FeedChange, FeedEntry, FeedPart};
pub use local::Local;
pub use lock::{LockGuard, Locks};
pub use shared::{ScriptReply, SharedRedis};

/// A call did not reach a slot, or the slot's answer did not arrive.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the slot did not answer: {reason}")]
pub struct SlotError {
    /// The reason from the backend.
    pub reason: String,
    /// Whether the call may have taken effect. If so, a request for a ticket may be repeated only
    /// with the same request key.
    pub may_have_happened: bool,
}

/// A ticket that a settler took from a queue.
#[derive(Clone, Debug)]
pub struct DequeuedTicket {
    /// The slot of the queue.
    pub slot: SlotKey,
    /// The position and the ticket.
    pub delivery: QueuedTicket,
}

impl DequeuedTicket {
    /// Returns the reference with which the settler acknowledges this ticket.
    #[must_use]
    pub fn delivery_ref(&self) -> DeliveryRef {
        let QueuedTicket { at, ref ticket } = self.delivery;
        DeliveryRef { slot: self.slot, at, token: ticket.token }
    }
}

/// Identifies a ticket in a queue, for its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryRef {
    /// The slot of the queue.
    pub slot: SlotKey,
    /// The ticket's position in the queue.
    pub at: u64,
    /// The ticket's token. The position alone is not enough: after a slot lost its memory, another
    /// ticket can have the same position.
    pub token: Token,
}

/// What the checks last observed about a server that holds slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    /// The server's address.
    pub address: String,
    /// The server's run id, which changes at each start.
    pub run_id: String,
    /// The server's replication id. This id changes when a replica takes over, and when the first
    /// replica is added.
    pub replication_id: String,
    /// Whether the server answered the last check. There is about one check each second.
    pub is_up: bool,
    /// Whether the server was a replica at its last answer.
    pub is_replica: bool,
}

/// Evidence that slots may have lost their memory. The evidence is only a hint, and some losses
/// leave no evidence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LossEvidence {
    /// How often a server changed its identity, appeared or disappeared. See
    /// [`Slots::wait_for_change`].
    pub changes: u64,
    /// The servers.
    pub servers: Vec<ServerIdentity>,
    /// For each server in use that can no longer hold slots, the reason. A node that starts refuses
    /// to use such a server.
    pub refusals: Vec<String>,
}

/// The slots of this deployment.
#[derive(Clone, Debug)]
pub enum Slots {
    /// Slots in this node's memory.
    Local(Local),
    /// Slots in Redis, which all nodes share. The futures of calls to Redis are large. Each of them
    /// is boxed, so that a purchase with another backend needs no memory for them.
    Redis(Redis),
}

impl Slots {
    /// Returns slots in this node's memory. `bounds` limit the memory of each slot.
    #[must_use]
    pub fn local(key: IdKey, bounds: SlotBounds) -> Self {
        Self::Local(Local::new(key, bounds))
    }

    /// Returns slots in Redis. Checks the servers of the URLs and, in a cluster, also the servers
    /// that no URL names. Refuses a server that evicts keys or is too old, and a replica outside of
    /// a cluster.
    ///
    /// # Errors
    /// Fails if a server is refused or cannot be reached. In a cluster, it is enough that one
    /// server can be reached.
    pub async fn redis(options: RedisOptions) -> Result<Self, SlotError> {
        Ok(Self::Redis(Redis::open(options).await?))
    }

    /// Makes this node take the tickets of exactly these slots in Redis. The node always takes the
    /// tickets of the slots in its own memory.
    ///
    /// # Errors
    /// Fails if `slots` has more slots than one node can read. The node then takes tickets only of
    /// the first slots in `slots`.
    pub fn serve(&self, slots: &[SlotKey]) -> Result<(), SlotError> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Redis(redis) => redis.serve(slots),
        }
    }

    /// Tells this node which nodes are live. All other nodes count as dead. When this node begins
    /// to read a queue, it takes over the tickets of dead nodes without a delay.
    pub fn set_live_nodes(&self, nodes: &[NodeId]) {
        if let Self::Redis(redis) = self {
            redis.set_live_nodes(nodes);
        }
    }

    /// Returns whether the slots are in a Redis Cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Redis(redis) if redis.is_cluster())
    }

    /// Returns what the last checks observed about the servers that hold slots.
    #[must_use]
    pub fn evidence(&self) -> LossEvidence {
        match self {
            Self::Local(_) => LossEvidence::default(),
            Self::Redis(redis) => redis.evidence(),
        }
    }

    /// Waits until [`LossEvidence::changes`] is not equal to `seen`, and returns the new number.
    /// The caller should then check whether slots lost their memory.
    pub async fn wait_for_change(&self, seen: u64) -> u64 {
        match self {
            Self::Local(_) => std::future::pending().await,
            Self::Redis(redis) => Box::pin(redis.wait_for_change(seen)).await,
        }
    }

    /// Gives a slot a grant. The slot accepts the grant only if the grant's epoch is higher than
    /// the slot's epoch. After that, the slot has `available` units in counter A, and the slot
    /// remembers no requests, buyers, recalls or feed rows. A repeated call changes nothing.
    ///
    /// # Errors
    /// Fails if the slot cannot be reached. The caller may send `init` again.
    pub async fn init(&self, slot: SlotKey, terms: GrantTerms) -> Result<ApplyOutcome, SlotError> {
        match self {
            Self::Local(local) => Ok(local.init(slot, terms)),
            Self::Redis(redis) => Box::pin(redis.init(slot, terms)).await,
        }
    }

    /// Issues a ticket in one atomic step. The slot checks the request key, the buyer's limit and
    /// the units. Then the slot deducts the units, and remembers and queues the ticket.
    ///
    /// # Errors
    /// Fails if the slot cannot be reached. The caller may repeat the request under the same key
    /// only if the buyer has not received a ticket's id.
    pub async fn ticket(
        &self,
        slot: SlotKey,
        request: &TicketRequest,
    ) -> Result<TicketAnswer, SlotError> {
        match self {
            Self::Local(local) => Ok(local.ticket(slot, request)),
            Self::Redis(redis) => Box::pin(redis.ticket(slot, request)).await,
        }
    }

    /// Applies feed rows in sequence, and returns the slot's position in the feed. A row that is
    /// not the next row, or that has another grant or epoch, changes nothing.
    ///
    /// # Errors
    /// Fails if the slot cannot be reached. The caller may send the rows again.
    pub async fn apply(
        &self,
        slot: SlotKey,
        epoch: Epoch,
        rows: &[FeedRow],
    ) -> Result<ApplyOutcome, SlotError> {
        match self {
            Self::Local(local) => Ok(local.apply(slot, epoch, rows)),
            Self::Redis(redis) => Box::pin(redis.apply(slot, epoch, rows)).await,
        }
    }

    /// Takes at most `units` out of the slot, and returns how many were taken. A repeated recall
    /// with the same id takes no more units, and returns the same number.
    ///
    /// # Errors
    /// Fails if the slot cannot be reached. The caller may send the recall again.
    pub async fn recall(
        &self,
        slot: SlotKey,
        id: RecallId,
        grant: GrantId,
        epoch: Epoch,
        units: u64,
    ) -> Result<RecallOutcome, SlotError> {
        match self {
            Self::Local(local) => Ok(local.recall(slot, id, grant, epoch, units)),
            Self::Redis(redis) => Box::pin(redis.recall(slot, id, grant, epoch, units)).await,
        }
    }

    /// Waits until there are undelivered tickets, and delivers up to `at_most` of them. The tickets
    /// stay in their queues until [`Slots::acknowledge`]. If the future is dropped, no ticket is
    /// lost.
    ///
    /// # Errors
    /// Fails if the queues cannot be reached.
    pub async fn take(&self, at_most: usize) -> Result<Vec<DequeuedTicket>, SlotError> {
        match self {
            Self::Local(local) => Ok(local.take(at_most).await),
            Self::Redis(redis) => Ok(redis.take(at_most).await),
        }
    }

    /// Removes tickets from their queues, after their verdicts are committed. Ignores a ticket that
    /// is not in its queue.
    ///
    /// # Errors
    /// Fails if the queues cannot be reached. The tickets are then delivered again. This is
    /// harmless, because a ticket gets only one verdict.
    pub async fn acknowledge(&self, done: &[DeliveryRef]) -> Result<(), SlotError> {
        match self {
            Self::Local(local) => local.acknowledge(done),
            Self::Redis(redis) => Box::pin(redis.acknowledge(done)).await?,
        }
        Ok(())
    }

    /// Delivers the slot's unacknowledged tickets again. Call this only after the settler that
    /// received them has stopped.
    ///
    /// # Errors
    /// Fails if the queues cannot be reached.
    pub async fn redeliver(&self, slot: SlotKey) -> Result<(), SlotError> {
        match self {
            Self::Local(local) => local.redeliver(slot),
            Self::Redis(redis) => Box::pin(redis.redeliver(slot)).await?,
        }
        Ok(())
    }

    /// Stops taking tickets from Redis, and makes this node's unacknowledged tickets available to
    /// other nodes. Slots in memory keep their tickets, because no other node reaches them.
    ///
    /// # Errors
    /// Fails if a queue cannot be reached. Other nodes then get this queue's tickets a few seconds
    /// later.
    pub async fn release_tickets(&self) -> Result<(), SlotError> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Redis(redis) => Box::pin(redis.release_tickets()).await,
        }
    }

    /// Stops or resumes a slot. A stopped slot issues no new tickets. But if a request that already
    /// has a ticket is repeated, the slot still answers with this ticket.
    ///
    /// # Errors
    /// Fails if the slot cannot be reached.
    pub async fn stop(&self, slot: SlotKey, stopped: bool) -> Result<(), SlotError> {
        match self {
            Self::Local(local) => local.stop(slot, stopped),
            Self::Redis(redis) => Box::pin(redis.stop(slot, stopped)).await?,
        }
        Ok(())
    }

    /// Returns the state of the slot, or `None` if the slot has no epoch.
    ///
    /// # Errors
    /// Fails if the slot cannot be reached. The failure does not prove that the slot lost data.
    pub async fn view(&self, slot: SlotKey) -> Result<Option<SlotView>, SlotError> {
        match self {
            Self::Local(local) => Ok(local.view(slot)),
            Self::Redis(redis) => Box::pin(redis.view(slot)).await,
        }
    }

    /// Deletes a slot whose grant is closed and whose queue is empty. `closed` is the epoch of the
    /// closed grant, or `None` if the slot gets no further grant. Keeps the slot and returns false
    /// if tickets are queued, or if the slot has a later epoch than `closed`. The call may be
    /// repeated.
    ///
    /// # Errors
    /// Fails if the slot cannot be reached.
    pub async fn retire(&self, slot: SlotKey, closed: Option<Epoch>) -> Result<bool, SlotError> {
        match self {
            Self::Local(local) => Ok(local.retire(slot, closed)),
            Self::Redis(redis) => Box::pin(redis.retire(slot, closed)).await,
        }
    }
}

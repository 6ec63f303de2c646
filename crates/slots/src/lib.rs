//! Who may hand out a unit this instant: the slot contract and its backends.
//!
//! A backend is a variant of [`Slots`], chosen once at boot. What must hold after each call is said
//! at the method; [`conformance`] holds every backend against it, with
//! `doorbuster_core::slot::Slot` as the reference.
#![forbid(unsafe_code)]

pub mod conformance;
mod limit;
mod local;
mod lock;
mod redis;
mod shared;

use doorbuster_core::slot::{
    ApplyOutcome, GrantTerms, RecallOutcome, SlotBounds, SlotView, TicketAnswer, TicketRequest,
};
use doorbuster_core::{Delivery, Epoch, FeedRow, GrantId, IdKey, RecallId, SlotKey, Token};

pub use self::redis::{Redis, RedisOptions};
pub use limit::LimitCharge;
pub use local::Local;
pub use lock::{LockGuard, Locks};
pub use shared::{ScriptReply, Shared};

/// A slot that could not be asked, or whose answer did not arrive.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the slot did not answer: {reason}")]
pub struct SlotError {
    /// What the backend said.
    pub reason: String,
    /// Whether the effect may have happened all the same. The protocol asks again with the same
    /// request key, never blindly.
    pub may_have_happened: bool,
}

/// A ticket as a settler takes it.
#[derive(Clone, Debug)]
pub struct Taken {
    /// From whose queue.
    pub slot: SlotKey,
    /// Position and ticket.
    pub delivery: Delivery,
}

/// The ticket that an acknowledgement means.
#[derive(Clone, Copy, Debug)]
pub struct DeliveryRef {
    /// Whose queue.
    pub slot: SlotKey,
    /// Its position.
    pub at: u64,
    /// Its token: positions can repeat after a slot lost its memory.
    pub token: Token,
}

/// A server that holds slots, as it was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerIdentity {
    /// Where it is.
    pub address: String,
    /// Another one after each start.
    pub run_id: String,
    /// Another one when a replica took over, and also when a first replica is added.
    pub replication_id: String,
}

/// What may have made slots lose their memory. A hint: it proves nothing, and a loss need not show
/// here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LossEvidence {
    /// How often a server changed, came or went so far. See [`Slots::wait_for_change`].
    pub changes: u64,
    /// The servers.
    pub servers: Vec<ServerIdentity>,
    /// Which of them may not hold slots, and why: since they were opened, when such a server is
    /// refused.
    pub refusals: Vec<String>,
}

/// The slots of this deployment.
#[derive(Clone, Debug)]
pub enum Slots {
    /// In this node's memory.
    Local(Local),
    /// In Redis, shared by all nodes. What is asked there is boxed, so that a purchase elsewhere
    /// keeps no room for it.
    Redis(Redis),
}

impl Slots {
    /// Slots in this node's memory: they live as long as the process. `bounds` are how much one may
    /// hold.
    #[must_use]
    pub fn local(key: IdKey, bounds: SlotBounds) -> Self {
        Self::Local(Local::new(key, bounds))
    }

    /// Slots in Redis. Every server is looked at, also those that a cluster names: one that evicts
    /// keys, is too old or is a replica is refused.
    ///
    /// # Errors When a server cannot be reached (of a cluster: none can), or is refused.
    pub async fn redis(options: RedisOptions) -> Result<Self, SlotError> {
        Ok(Self::Redis(Redis::open(options).await?))
    }

    /// From now on this node takes the tickets of these slots, and of no others. Slots in memory
    /// have nobody else to take theirs: they are always served.
    ///
    /// # Errors When they are more than one node can read: the first of them are served.
    pub fn serve(&self, slots: &[SlotKey]) -> Result<(), SlotError> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Redis(redis) => redis.serve(slots),
        }
    }

    /// Whether they are in a Redis Cluster, whose servers are one.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        matches!(self, Self::Redis(redis) if redis.is_cluster())
    }

    /// What was seen of the servers that hold slots.
    #[must_use]
    pub fn evidence(&self) -> LossEvidence {
        match self {
            Self::Local(_) => LossEvidence::default(),
            Self::Redis(redis) => redis.evidence(),
        }
    }

    /// Waits until [`LossEvidence::changes`] is not `seen` any more, and says what it is then: time
    /// to look at all slots.
    pub async fn wait_for_change(&self, seen: u64) -> u64 {
        match self {
            Self::Local(_) => std::future::pending().await,
            Self::Redis(redis) => Box::pin(redis.wait_for_change(seen)).await,
        }
    }

    /// Gives a slot a grant. It is taken only with a higher epoch than the slot's; the slot then
    /// has `available` units, all in counter A, an empty memory and an applied feed of length 0.
    /// Sent again, it changes nothing.
    ///
    /// # Errors When the slot cannot be reached; `init` may be sent again.
    pub async fn init(&self, slot: SlotKey, terms: GrantTerms) -> Result<ApplyOutcome, SlotError> {
        match self {
            Self::Local(local) => Ok(local.init(slot, terms)),
            Self::Redis(redis) => Box::pin(redis.init(slot, terms)).await,
        }
    }

    /// One atomic step: seen before? limit? enough left? then deduct, remember and queue.
    ///
    /// # Errors When the slot cannot be reached; the request may be asked again under the same key
    /// only while no id was handed out.
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

    /// Applies feed rows in their turn; rows out of turn, of another grant or epoch change nothing.
    /// Says where the slot is now.
    ///
    /// # Errors When the slot cannot be reached; rows may be sent again.
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

    /// Takes at most `units` out of the slot and remembers how many under the recall's id.
    ///
    /// # Errors
    /// When the slot cannot be reached; the recall may be sent again.
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

    /// Waits until some slot has tickets that were not delivered, and delivers up to `at_most` of
    /// them. They stay in their queues until [`Slots::acknowledge`]. Dropping the future loses
    /// nothing.
    ///
    /// # Errors When the queues cannot be reached.
    pub async fn take(&self, at_most: usize) -> Result<Vec<Taken>, SlotError> {
        match self {
            Self::Local(local) => Ok(local.take(at_most).await),
            Self::Redis(redis) => Ok(redis.take(at_most).await),
        }
    }

    /// Forgets tickets whose verdicts are committed. Naming one that is not there does nothing.
    ///
    /// # Errors
    /// When the queues cannot be reached; they are then delivered again, which does no harm.
    pub async fn acknowledge(&self, done: &[DeliveryRef]) -> Result<(), SlotError> {
        match self {
            Self::Local(local) => local.acknowledge(done),
            Self::Redis(redis) => Box::pin(redis.acknowledge(done)).await?,
        }
        Ok(())
    }

    /// Makes deliverable again what was delivered and never acknowledged (its settler gave up).
    ///
    /// # Errors
    /// When the queues cannot be reached.
    pub async fn redeliver(&self, slot: SlotKey) -> Result<(), SlotError> {
        match self {
            Self::Local(local) => local.redeliver(slot),
            Self::Redis(redis) => Box::pin(redis.redeliver(slot)).await?,
        }
        Ok(())
    }

    /// Takes no tickets any more, and hands back what was taken and not acknowledged, so that
    /// others get it at once: this node stops. Slots in memory have nobody else.
    ///
    /// # Errors When some queue cannot be reached; others get what is left there when this node
    /// counts as dead.
    pub async fn release_tickets(&self) -> Result<(), SlotError> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Redis(redis) => Box::pin(redis.release_tickets()).await,
        }
    }

    /// Stops or resumes cutting tickets. After it returns, no further ticket is cut by a stopped
    /// slot; known requests still get theirs.
    ///
    /// # Errors When the slot cannot be reached.
    pub async fn stop(&self, slot: SlotKey, stopped: bool) -> Result<(), SlotError> {
        match self {
            Self::Local(local) => local.stop(slot, stopped),
            Self::Redis(redis) => Box::pin(redis.stop(slot, stopped)).await?,
        }
        Ok(())
    }

    /// What the slot says of itself; `None`: it has no epoch.
    ///
    /// # Errors
    /// When the slot cannot be reached, which proves nothing.
    pub async fn view(&self, slot: SlotKey) -> Result<Option<SlotView>, SlotError> {
        match self {
            Self::Local(local) => Ok(local.view(slot)),
            Self::Redis(redis) => Box::pin(redis.view(slot)).await,
        }
    }

    /// Drops a slot whose grant is closed for good and whose queue is empty. False: tickets are
    /// queued. It may be repeated.
    ///
    /// # Errors When the slot cannot be reached.
    pub async fn retire(&self, slot: SlotKey) -> Result<bool, SlotError> {
        match self {
            Self::Local(local) => Ok(local.retire(slot)),
            Self::Redis(redis) => Box::pin(redis.retire(slot)).await,
        }
    }
}

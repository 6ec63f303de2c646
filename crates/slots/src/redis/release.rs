//! Makes the unacknowledged tickets of a stopping node available to other settlers. Otherwise,
//! another settler would get the tickets only when [`CLAIM_IDLE`] has passed since their delivery,
//! or when this node counts as dead.
//!
//! A stream cannot take back an entry that it delivered. Instead, a command sets the time since
//! each entry's delivery to [`CLAIM_IDLE`], so that the next claim takes the entry.
use doorbuster_core::SlotKey;
use redis::{Cmd, Value};

use super::Redis;
use super::failure::RedisFailure;
use super::keys::GROUP;
use super::limits::CLAIM_IDLE;
use super::reader::{pending, pending_ids};
use crate::SlotError;

impl Redis {
    /// Stops reading all queues, and makes the tickets of all reachable slots available to other
    /// nodes. Other nodes claim the tickets of unreachable slots later.
    pub(crate) async fn release_tickets(&self) -> Result<(), SlotError> {
        let readers = std::mem::take(&mut *self.0.readers());
        let mut slots = Vec::with_capacity(readers.len());
        for (slot, reader) in readers {
            // The tickets are released only after this shutdown, when the reader receives no more
            // tickets.
            reader.shutdown().await;
            slots.push(slot);
        }
        let mut handed = Ok(());
        for slot in slots {
            handed = handed.and(self.release_slot(slot).await);
        }
        Ok(handed?)
    }

    async fn release_slot(&self, slot: SlotKey) -> Result<(), RedisFailure> {
        let (keys, consumer, mut from) = (self.keys(slot), &self.0.consumer, "-".to_owned());
        loop {
            let received = pending(&keys, consumer, &from);
            let reply = self.0.routes.server(slot)?.link.ask(&received).await;
            // Redis refuses the command if the queue does not exist. No ticket was delivered then.
            let reply = if matches!(reply, Err(RedisFailure::Refused(_))) {
                Value::Array(Vec::new())
            } else {
                reply?
            };
            let ids = pending_ids(reply)?;
            let Some(last) = ids.last() else { return Ok(()) };
            let mut silent = Cmd::new();
            silent.arg("XCLAIM").arg(keys.queue()).arg(GROUP).arg(consumer).arg(0).arg(&ids);
            silent.arg("IDLE").arg(CLAIM_IDLE.as_millis() as u64).arg("JUSTID");
            self.0.routes.server(slot)?.link.ask(&silent).await?;
            from = format!("({last}");
        }
    }
}

//! One server that stores locks. On a Redis server, each operation is one script.
use std::time::Duration;

#[cfg(test)]
use super::simulated_server::SimulatedServer;
use crate::{SharedRedis, SlotError};

const TAKE: &str = include_str!("take.lua");
const RENEW: &str = include_str!("renew.lua");
const RELEASE: &str = include_str!("release.lua");

#[derive(Clone, Debug)]
pub(super) enum LockServer {
    Redis(SharedRedis),
    #[cfg(test)]
    SimulatedServer(SimulatedServer),
}

impl LockServer {
    /// If the lock is free, takes the lock and returns the fencing number.
    pub(super) async fn take(
        &self,
        name: &str,
        owner: &str,
        lease: Duration,
    ) -> Result<Option<u64>, SlotError> {
        match self {
            Self::Redis(shared) => {
                let reply =
                    shared.eval(TAKE, &keys(shared, name), &[owner, &millis(lease)]).await?;
                Ok(reply.number().and_then(|fence| u64::try_from(fence).ok()))
            }
            #[cfg(test)]
            Self::SimulatedServer(model) => model.take(name, owner, lease).await,
        }
    }

    /// Renews the lock. Returns false if the lock does not belong to this owner.
    pub(super) async fn renew(
        &self,
        name: &str,
        owner: &str,
        lease: Duration,
        fence: u64,
    ) -> Result<bool, SlotError> {
        match self {
            Self::Redis(shared) => {
                let words = [owner, &millis(lease), &fence.to_string()];
                Ok(shared.eval(RENEW, &keys(shared, name), &words).await?.number() == Some(1))
            }
            #[cfg(test)]
            Self::SimulatedServer(model) => model.renew(name, owner, lease, fence).await,
        }
    }

    /// Releases the lock. Returns false if the lock does not belong to this owner.
    pub(super) async fn release(&self, name: &str, owner: &str) -> Result<bool, SlotError> {
        match self {
            Self::Redis(shared) => {
                Ok(shared.eval(RELEASE, &keys(shared, name)[..1], &[owner]).await?.number()
                    == Some(1))
            }
            #[cfg(test)]
            Self::SimulatedServer(model) => model.release(name, owner).await,
        }
    }
}

fn keys(shared: &SharedRedis, name: &str) -> [String; 2] {
    [shared.key("lock", name), shared.key("fence", name)]
}

fn millis(time: Duration) -> String {
    time.as_millis().max(1).to_string()
}

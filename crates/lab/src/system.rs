//! The system that sells in a run: the workers of a strategy with their servers, or the product.
//! The lab injects faults into this system.

use anyhow::Result;

use crate::product::ProductInstallation;
use crate::servers::RedisReturn;
use crate::servers::Servers;
use crate::servers::Workers;

/// The processes that sell in a run, and into which the lab injects the fault.
pub enum System<'a> {
    /// Workers in front of the shared servers.
    Workers(&'a mut Workers, &'a mut Servers),
    /// An installation of the product.
    Product(&'a mut ProductInstallation),
}

impl System<'_> {
    /// Kills one of the processes that take units, and starts it again.
    pub async fn crash(&mut self, number: usize) -> Result<()> {
        match self {
            Self::Workers(workers, _) => workers.restart(number),
            Self::Product(product) => product.restart(number),
        }
    }

    /// Writes a snapshot of Redis.
    pub fn save_redis(&self) -> Result<()> {
        match self {
            Self::Workers(_, servers) => servers.save_redis(),
            Self::Product(product) => product.save_redis(),
        }
    }

    /// Kills Redis and starts it again. Returns true if a process was connected to Redis.
    pub fn restart_redis(&mut self, how: RedisReturn) -> Result<bool> {
        match self {
            Self::Workers(_, servers) => servers.restart_redis(how),
            Self::Product(product) => product.restart_redis(how),
        }
    }

    /// Returns how many chunks of data on slow database connections have been delayed so far.
    pub fn slow_chunks(&self) -> usize {
        match self {
            Self::Workers(_, servers) => servers.slow_chunks(),
            Self::Product(product) => product.slow_chunks(),
        }
    }
}

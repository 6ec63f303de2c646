//! The values of the running round, which the modules of the chaos tests share.

use std::cell::Cell;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::RoundReport;
use crate::cluster::Cluster;

/// The item of every sale.
pub(super) const ITEM: &str = "phone";

pub(super) struct RoundRunner<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) secret: Vec<u8>,
    pub(super) sale: String,
    pub(super) units: u32,
    pub(super) buyers: u32,
    pub(super) seed: u64,
    pub(super) respread: bool,
    /// How many times a node answered 404, because it did not yet know a row that another node had
    /// just written.
    pub(super) stale_answers: Cell<u32>,
    pub(super) round: RoundReport,
}

pub(super) fn random_duration(rng: &mut SmallRng, (from, to): (Duration, Duration)) -> Duration {
    rng.random_range(from..=to)
}

//! The front door of this node: what stands between a crowd and the stock. Its rooms say who may ask for units; none of them decides stock.

mod block;
mod challenge;
pub(crate) mod codes;
mod eligible;
mod limit;
mod pass;
pub(crate) mod room;

use crate::config::Settings;
use crate::engine::Engine;
use room::Rooms;

pub(crate) use block::{BLOCKS_MAX, Blocks};
pub(crate) use challenge::{
    ChallengeFault, Challenges, Kind as ChallengeKind, Offer, Outcome, Shown,
};
pub use eligible::{Entry, enter, threshold};
pub use limit::SaleLimits;
pub(crate) use limit::{Caller, Limited, Limiter, Route, Rules, SCOPES, Sharing, Standing};
pub use pass::{MASTER_BYTES, MASTERS_MAX, Masters, Passes, Presented};

/// The rooms of the front door.
#[derive(Debug)]
pub struct Gate {
    /// Purchase passes.
    pub(crate) passes: Passes,
    /// How often may be asked.
    pub(crate) limits: Limiter,
    /// Who is turned away.
    pub(crate) blocks: Blocks,
    /// Waiting rooms.
    pub(crate) room: Rooms,
    /// What is asked before a pass.
    pub(crate) challenges: Challenges,
}

impl Gate {
    /// The rooms of this node.
    #[must_use]
    pub fn new(engine: &Engine, settings: &Settings, masters: Masters) -> Self {
        let sharing =
            engine.shared().cloned().map(|shared| Sharing::new(shared, engine.living().clone()));
        Self {
            room: Rooms::new(&masters, settings.pass_ttl, settings.room_per_sec),
            challenges: Challenges::new(&masters, engine.id_key()),
            passes: Passes::new(masters, settings.pass_ttl),
            limits: Limiter::new(engine.id_key(), sharing),
            blocks: Blocks::default(),
        }
    }

    /// Looks after the rooms until it is dropped.
    pub(crate) async fn tend(&self, engine: &Engine) {
        tokio::join!(
            self.limits.share(),
            self.blocks.follow(engine),
            self.room.tend(engine),
            self.challenges.tend(engine)
        );
        std::future::pending().await
    }
}

//! The front door of this node: passes, limits, blocks, waiting rooms and challenges. The front
//! door decides who may request units, but decides nothing about stock.

pub(crate) mod access_codes;
mod blocks;
mod challenge;
mod eligibility;
mod pass;
mod rate_limit;
pub(crate) mod waiting_room;

use doorbuster_store::Store;

use crate::config::Settings;
use crate::engine::Engine;
use waiting_room::WaitingRooms;

pub(crate) use blocks::{BLOCKS_MAX, Blocks};
pub(crate) use challenge::{
    AnswerOutcome, ChallengeContent, ChallengeFault, Challenges, IssuedChallenge,
    PuzzleKind as ChallengeKind,
};
pub use eligibility::{DoorCheck, check_entry, eligibility_refusal};
pub use pass::{MASTER_KEY_BYTES, MASTER_KEYS_MAX, MasterKeys, Passes, PresentedPass};
pub use rate_limit::SaleLimitState;
pub(crate) use rate_limit::{
    Caller, Counting, LimitCheck, LimitRules, LimitSharing, PendingLimit, RateLimitExceeded,
    RateLimitStatus, RateLimiter, Route, SCOPES, SharedPlace,
};

/// The parts of the front door.
#[derive(Debug)]
pub struct Gate {
    /// Purchase passes.
    pub(crate) passes: Passes,
    /// The request limits.
    pub(crate) limits: RateLimiter,
    /// The blocked buyers and networks.
    pub(crate) blocks: Blocks,
    /// Waiting rooms.
    pub(crate) room: WaitingRooms,
    /// The challenges that precede a pass.
    pub(crate) challenges: Challenges,
}

impl Gate {
    /// Creates this node's front door.
    #[must_use]
    pub fn new(engine: &Engine, settings: &Settings, masters: MasterKeys) -> Self {
        let redis = engine.shared().cloned().map(SharedPlace::Redis);
        let place = match engine.store() {
            store @ Store::Postgres(_) => redis.or_else(|| Some(SharedPlace::Store(store.clone()))),
            Store::Sqlite(_) => redis,
        };
        let edges = engine.edge().map(|edge| edge.edges.clone());
        let sharing = place.map(|place| LimitSharing::new(place, engine.node_count().clone()));
        Self {
            room: WaitingRooms::new(&masters, settings.pass_ttl, settings.room_per_sec),
            challenges: Challenges::new(&masters, engine.id_key()),
            passes: Passes::new(masters, settings.pass_ttl),
            limits: RateLimiter::new(engine.id_key(), sharing).at_edge(edges),
            blocks: Blocks::default(),
        }
    }

    /// Runs the background jobs of all parts until the future is dropped.
    pub(crate) async fn run_jobs(&self, engine: &Engine) {
        tokio::join!(
            self.limits.run_sharing(),
            self.blocks.follow(engine),
            self.room.run_jobs(engine),
            self.challenges.run_jobs(engine)
        );
        std::future::pending().await
    }
}

//! The front door of this node: what stands between a crowd and the stock. Its rooms say who may
//! ask for units; none of them decides stock.

pub(crate) mod access_codes;
mod blocks;
mod challenge;
mod eligibility;
mod pass;
mod rate_limit;
pub(crate) mod waiting_room;

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
    Caller, LimitRules, LimitSharing, RateLimitExceeded, RateLimitStatus, RateLimiter, Route,
    SCOPES,
};

/// The rooms of the front door.
#[derive(Debug)]
pub struct Gate {
    /// Purchase passes.
    pub(crate) passes: Passes,
    /// How often may be asked.
    pub(crate) limits: RateLimiter,
    /// Who is turned away.
    pub(crate) blocks: Blocks,
    /// Waiting rooms.
    pub(crate) room: WaitingRooms,
    /// What is asked before a pass.
    pub(crate) challenges: Challenges,
}

impl Gate {
    /// The rooms of this node.
    #[must_use]
    pub fn new(engine: &Engine, settings: &Settings, masters: MasterKeys) -> Self {
        let sharing = engine
            .shared()
            .cloned()
            .map(|shared| LimitSharing::new(shared, engine.living().clone()));
        Self {
            room: WaitingRooms::new(&masters, settings.pass_ttl, settings.room_per_sec),
            challenges: Challenges::new(&masters, engine.id_key()),
            passes: Passes::new(masters, settings.pass_ttl),
            limits: RateLimiter::new(engine.id_key(), sharing),
            blocks: Blocks::default(),
        }
    }

    /// Looks after the rooms until it is dropped.
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

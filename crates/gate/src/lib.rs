//! The front door of this node: passes, limits, blocks, waiting rooms and challenges. The front
//! door decides who may request units. It never decides whether a request gets units.

pub mod access_codes;
mod challenge;
mod eligibility;
mod pass;
mod rate_limit;
pub mod waiting_room;

use doorbuster_base::master_keys::MasterKeys;
use doorbuster_config::Settings;
use doorbuster_engine::blocks::Blocks;
use doorbuster_engine::node::Node;
use doorbuster_store::Store;
use waiting_room::WaitingRooms;

pub use challenge::PuzzleKind as ChallengeKind;
pub use challenge::{AnswerOutcome, ChallengeContent, ChallengeFault, Challenges, IssuedChallenge};
pub use eligibility::{check_entry, eligibility_refusal};
pub use pass::{Passes, PresentedPass};
pub use rate_limit::{
    Caller, LimitCheck, LimitSharing, PendingLimit, RateLimitExceeded, RateLimitStatus,
};
pub(crate) use rate_limit::{RateLimiter, SharedPlace};

/// The parts of the front door.
#[derive(Debug)]
pub struct Gate {
    /// Purchase passes.
    pub passes: Passes,
    /// The request limits.
    pub limits: RateLimiter,
    /// The blocked buyers and networks.
    pub blocks: Blocks,
    /// Waiting rooms.
    pub room: WaitingRooms,
    /// The challenges that precede a pass.
    pub challenges: Challenges,
}

impl Gate {
    /// Creates this node's front door.
    #[must_use]
    pub fn new(node: &Node, settings: &Settings, masters: MasterKeys) -> Self {
        let redis = node.shared().cloned().map(SharedPlace::Redis);
        let place = match node.store() {
            store @ Store::Postgres(_) => redis.or_else(|| Some(SharedPlace::Store(store.clone()))),
            Store::Sqlite(_) => redis,
        };
        let edges = node.edge().map(|edge| edge.edges.clone());
        let sharing =
            place.map(|place| LimitSharing::new(place, node.live_nodes().count().clone()));
        Self {
            room: WaitingRooms::new(&masters, settings.pass_ttl, settings.room_per_sec),
            challenges: Challenges::new(&masters, node.id_key()),
            passes: Passes::new(masters, settings.pass_ttl),
            limits: RateLimiter::new(node.id_key(), sharing).at_edge(edges),
            blocks: Blocks::default(),
        }
    }

    async fn follow_blocks(&self, node: &Node) {
        let is_single_node = node.layout().is_single_node();
        self.blocks.follow(node.store(), node.outage_log(), is_single_node).await;
    }

    /// Runs the background jobs of all parts until the future is dropped.
    pub async fn run_jobs(&self, node: &Node) {
        tokio::join!(
            self.limits.run_sharing(),
            self.follow_blocks(node),
            self.room.run_jobs(node),
            self.challenges.run_jobs(node)
        );
        std::future::pending().await
    }
}

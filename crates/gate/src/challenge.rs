//! Challenges, which buyers must solve before they get a pass.
//!
//! A challenge comes with a token. The token is encrypted, and contains everything that a node
//! needs to check the buyer's answer. So each node can check an answer, and no node has to remember
//! the challenge. The store ensures that only the first answer to a challenge counts.

mod answer_turns;
mod pool;
mod seal;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};

use answer_turns::AnswerTurns;
use doorbuster_api::admin::front_door::PowEffort;
use doorbuster_api::gate::{ChallengeAnswer, ChallengeKind};
use doorbuster_base::master_keys::MasterKeys;
use doorbuster_challenge::{Effort, WorkKeys, is_in_place, normalize_answer};
use doorbuster_core::{BuyerId, IdKey, Millis, Phase};
use doorbuster_engine::catalogue::Catalogue;
use doorbuster_engine::node::Node;
use doorbuster_store::{AnswerSpend, SpendOutcome, Store, StoreError};
pub use pool::ChallengeContent;
use pool::{ChallengePool, PRERENDERED_KINDS, RenderRequest, RenderedChallenge};
pub use seal::PuzzleKind;
use seal::{ChallengeSealer, Sealed};

/// The time in which a buyer must answer a challenge, in milliseconds.
pub(crate) const CHALLENGE_MS: i64 = 120_000;
/// The maximum number of wrong answers of a buyer in a sale within [`MISSES_MS`]. After this many
/// wrong answers, the server refuses all further answers of this buyer in this sale.
pub(crate) const MISSES_MAX: u32 = 10;
/// The length of the period in which a buyer's wrong answers are counted, in milliseconds. The
/// period begins with the first wrong answer. When the period ends, the server forgets all wrong
/// answers.
pub(crate) const MISSES_MS: i64 = 300_000;
/// The server begins to draw a sale's challenges this many milliseconds before the sale starts.
const PRERENDER_AHEAD_MS: i64 = 600_000;

const _: () = assert!(
    Effort::from_keys(PowEffort::DEFAULT.0).keys_max == Effort::DEFAULT.keys_max,
    "the default difficulty must equal the difficulty of the benchmarks"
);

/// Why an answer was not accepted. After a wrong answer, the buyer needs a new challenge.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeFault {
    /// The answer is wrong, or the challenge is not usable: it is invalid, expired, already used,
    /// or for another buyer or sale.
    #[error("the answer was not accepted")]
    Failed,
    /// The buyer gave too many wrong answers, and may answer again after `retry_secs`.
    #[error("too many wrong answers")]
    TooMany {
        /// Seconds until the buyer may answer again.
        retry_secs: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A challenge for one buyer of one sale.
#[derive(Debug)]
pub struct IssuedChallenge {
    /// The token. A client must send it with the answer.
    pub token: String,
    /// When the challenge expires.
    pub until: Millis,
    /// The part that the buyer sees.
    pub shown: ChallengeContent,
}

doorbuster_core::labels! {
    /// The result of an answer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum AnswerOutcome {
        /// The answer was accepted.
        Right = "right",
        /// The answer was wrong.
        Wrong = "wrong",
        /// The challenge was already used.
        Repeated = "again",
        /// The token is invalid or expired, or it belongs to another buyer or sale.
        Invalid = "invalid",
        /// The buyer gave too many wrong answers.
        TooMany = "too_many",
    }
}

/// The challenges of this node.
#[derive(Debug)]
pub struct Challenges {
    seals: ChallengeSealer,
    /// The keys for work challenges, one for each master key. The first key creates challenges, and
    /// every key can check answers.
    work: Box<[WorkKeys]>,
    pool: ChallengePool,
    outcomes: [AtomicU64; AnswerOutcome::ALL.len()],
    /// If a buyer sends several answers in one sale, these answers call the store one after
    /// another.
    answer_turns: AnswerTurns,
}

impl Challenges {
    /// Creates the part of a node that issues challenges. Every node with the same master keys can
    /// check the answers, even if it has the keys in another order.
    ///
    /// The store counts wrong answers under a pseudonym of the buyer. The pseudonym is derived from
    /// the id key and not from the master keys. So a change of the master keys does not reset the
    /// counts.
    #[must_use]
    pub fn new(masters: &MasterKeys, id_key: &IdKey) -> Self {
        let challenges = masters.keys("doorbuster: challenges of work");
        let pairs = challenges.zip(masters.keys("doorbuster: answers of work"));
        let work: Box<[_]> =
            pairs.map(|(challenge, answer)| WorkKeys::new(&challenge, &answer)).collect();
        let pool = ChallengePool::new(work.first().expect("there is always one master").clone());
        Self {
            seals: ChallengeSealer::new(masters, id_key),
            work,
            pool,
            outcomes: Default::default(),
            answer_turns: AnswerTurns::new(),
        }
    }

    /// Creates a challenge of this kind for this buyer. `effort` is the difficulty of a work
    /// challenge. Returns `None` if too many requests wait for a challenge of this kind.
    pub async fn issue(
        &self,
        now: Millis,
        sale: &str,
        buyer: &BuyerId,
        kind: ChallengeKind,
        effort: PowEffort,
    ) -> Option<IssuedChallenge> {
        let request = match kind {
            ChallengeKind::Image => RenderRequest::Image,
            ChallengeKind::Slider => RenderRequest::Slider,
            ChallengeKind::Pow | ChallengeKind::Off => {
                RenderRequest::WorkChallenge(Effort::from_keys(effort.0))
            }
        };
        let RenderedChallenge { shown, answer } = self.pool.take(request).await?;
        let until = now.plus(CHALLENGE_MS);
        let sealed = Sealed { id: rand::random(), kind: request.kind(), until, answer };
        Some(IssuedChallenge {
            token: self.seals.seal(&sealed, sale, buyer.as_str()),
            until,
            shown,
        })
    }

    /// Checks an answer. Only the first answer to a challenge counts, even if it is wrong or if
    /// other answers arrive on other nodes at the same time.
    ///
    /// # Errors
    ///
    /// If the answer is not accepted.
    pub async fn redeem(
        &self,
        store: &Store,
        sale: &str,
        buyer: &BuyerId,
        challenge: &str,
        answer: &ChallengeAnswer,
    ) -> Result<(), ChallengeFault> {
        let now = store.now();
        let opened = self.seals.open(challenge, sale, buyer.as_str());
        let Some(sealed) = opened.filter(|sealed| now < sealed.until) else {
            self.count(AnswerOutcome::Invalid);
            return Err(ChallengeFault::Failed);
        };
        let is_correct = self.is_correct(&sealed, answer);
        let by = self.seals.buyer_pseudonym(sale, buyer.as_str());
        // This answer waits here for the buyer's earlier answers. If it waited in the store, it
        // would occupy a connection to the store.
        let _turn = self.answer_turns.wait(by).await;
        let spending = AnswerSpend {
            id: sealed.id,
            until: sealed.until,
            by,
            is_correct,
            window_ms: MISSES_MS,
        };
        match store.spend_answer(spending).await? {
            SpendOutcome::AlreadySpent => self.count(AnswerOutcome::Repeated),
            // The challenge was still valid at the check above, but expired before the store
            // recorded the answer.
            SpendOutcome::Expired => self.count(AnswerOutcome::Invalid),
            SpendOutcome::Now { misses, until } if misses >= MISSES_MAX => {
                self.count(AnswerOutcome::TooMany);
                let secs = until.0.saturating_sub(now.0).max(0) / 1_000 + 1;
                return Err(ChallengeFault::TooMany {
                    retry_secs: u32::try_from(secs).unwrap_or(u32::MAX),
                });
            }
            SpendOutcome::Now { .. } if is_correct => {
                self.count(AnswerOutcome::Right);
                return Ok(());
            }
            SpendOutcome::Now { .. } => self.count(AnswerOutcome::Wrong),
        }
        Err(ChallengeFault::Failed)
    }

    fn count(&self, outcome: AnswerOutcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn is_correct(&self, sealed: &Sealed, answer: &ChallengeAnswer) -> bool {
        match (sealed.kind, answer) {
            (PuzzleKind::Image, ChallengeAnswer::Text(text)) => {
                sealed.text() == Some(normalize_answer(text).as_str())
            }
            (PuzzleKind::Slider, ChallengeAnswer::X(x)) => is_in_place(*x, sealed.slider_answer()),
            (PuzzleKind::Work, ChallengeAnswer::Altcha(payload)) => {
                self.work.iter().any(|keys| keys.check(payload, &sealed.answer))
            }
            _ => false,
        }
    }

    /// Returns how many answers had this result since the program started.
    pub fn outcome_count(&self, outcome: AnswerOutcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    /// Returns how many challenges of this kind were issued, and how many are drawn in advance now.
    pub fn issued_and_ready(&self, kind: PuzzleKind) -> (u64, usize) {
        self.pool.issued_and_ready(kind)
    }

    /// Decides which kinds of challenges are drawn in advance: those that a sale requires now or
    /// soon.
    pub(crate) fn prerender(&self, catalogue: &Catalogue, now: Millis) {
        let mut wanted = [false; PRERENDERED_KINDS];
        for sale in catalogue.sales() {
            let is_near = match sale.row.phase {
                Phase::Open | Phase::Paused => true,
                Phase::Scheduled => {
                    sale.row.starts_at.is_some_and(|at| at <= now.plus(PRERENDER_AHEAD_MS))
                }
                Phase::Draft | Phase::Closed => false,
            };
            let kind = match sale.front_door.challenge {
                // A work challenge has no picture to draw in advance.
                ChallengeKind::Off | ChallengeKind::Pow => continue,
                ChallengeKind::Image => PuzzleKind::Image,
                ChallengeKind::Slider => PuzzleKind::Slider,
            };
            wanted[kind as usize] |= is_near;
        }
        self.pool.set_prerendered(wanted);
    }

    /// Decides once per second which kinds of challenges are drawn in advance. Runs until the
    /// future is dropped.
    pub async fn run_jobs(&self, node: &Node) {
        let mut every = tokio::time::interval(std::time::Duration::from_secs(1));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            every.tick().await;
            self.prerender(&node.catalogue(), node.now());
        }
    }
}

//! Counts of answers to buyers, by kind: atomic adds, read by statistics and metrics.
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// How a purchase request was answered.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Answer { $($(#[$doc])* $name,)* }

        impl Answer {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word for it: the problem's code, or the order's state.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

answers! {
    /// An order was created.
    Reserved = "reserved",
    /// The order that the request holds was shown again.
    Replayed = "replayed",
    /// The verdict follows.
    Queued = "queued",
    /// None sellable now.
    SoldOut = "sold_out",
    /// The buyer's limit.
    LimitReached = "limit_reached",
    /// Too early.
    NotStarted = "not_started",
    /// Paused.
    Paused = "paused",
    /// Over.
    Ended = "ended",
    /// Turned away by operators.
    Forbidden = "forbidden",
    /// The buyer lacks what the sale asks for.
    NotEligible = "not_eligible",
    /// No pass.
    PassRequired = "pass_required",
    /// A pass that does not hold.
    PassInvalid = "pass_invalid",
    /// A pass that was good once.
    PassExpired = "pass_expired",
    /// A pass from before the waiting room opened.
    WaitingRoom = "waiting_room",
    /// Too many requests.
    RateLimited = "rate_limited",
    /// A key with other content.
    KeyReused = "idempotency_key_reused",
    /// A bound was met.
    Overloaded = "overloaded",
    /// Ask again.
    Unavailable = "unavailable",
}

/// One counter for each kind of answer.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; Answer::ALL.len()]);

impl Tally {
    /// Counts one answer.
    pub fn count(&self, answer: Answer) {
        self.0[answer as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many so far.
    #[must_use]
    pub fn get(&self, answer: Answer) -> u64 {
        self.0[answer as usize].load(Ordering::Relaxed)
    }
}

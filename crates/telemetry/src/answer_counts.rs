//! Counts the answers to purchase requests, in one atomic counter for each kind of answer. The
//! statistics of a sale and `/metrics` read these counters.
use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_api::problem::Code;

macro_rules! answers {
    (
        orders { $($(#[$doc:meta])* $name:ident = $word:literal,)* }
        refusals { $($(#[$about:meta])* $refusal:ident = $code:expr,)* }
    ) => {
        /// The kind of answer to a purchase request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum AnswerKind { $($(#[$doc])* $name,)* $($(#[$about])* $refusal,)* }

        impl AnswerKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)* $(Self::$refusal,)*];

            /// Returns the kind's name. The name of a refusal is its problem code.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                    $(Self::$refusal => $code.as_str(),)*
                }
            }

            /// Returns the problem code of a refusal, or `None` if the answer is not a refusal.
            #[must_use]
            pub fn refusal_code(self) -> Option<Code> {
                match self {
                    $(Self::$name => None,)*
                    $(Self::$refusal => Some($code),)*
                }
            }
        }
    };
}

answers! {
    orders {
        /// An order was created.
        Reserved = "reserved",
        /// The request already had an order. The answer repeats this order.
        Replayed = "replayed",
        /// The verdict comes later.
        Queued = "queued",
    }
    refusals {
        /// No units are available now.
        SoldOut = Code::SoldOut,
        /// The buyer's limit is reached.
        LimitReached = Code::LimitReached,
        /// The sale has not started.
        NotStarted = Code::NotStarted,
        /// The sale is paused.
        Paused = Code::Paused,
        /// The sale has ended.
        Ended = Code::Ended,
        /// An operator blocked the buyer or the IP address.
        Forbidden = Code::Forbidden,
        /// The buyer does not meet a requirement of the sale.
        NotEligible = Code::NotEligible,
        /// The request has no pass.
        PassRequired = Code::PassRequired,
        /// The pass is invalid.
        PassInvalid = Code::PassInvalid,
        /// The pass has expired.
        PassExpired = Code::PassExpired,
        /// The buyer must enter the waiting room first, because it opened after the server issued
        /// the pass.
        WaitingRoom = Code::WaitingRoom,
        /// Too many requests.
        RateLimited = Code::RateLimited,
        /// The buyer already used this request key for another request.
        KeyReused = Code::IdempotencyKeyReused,
        /// A queue, a table or another limit of the server is full.
        Overloaded = Code::Overloaded,
        /// The server cannot decide now, and the client should retry.
        Unavailable = Code::Unavailable,
    }
}

impl AnswerKind {
    /// Returns whether the answer is a refusal: the buyer gets no order, and no verdict follows.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        self.refusal_code().is_some()
    }
}

/// One counter for each kind of answer.
#[derive(Debug, Default)]
pub struct AnswerCounts([AtomicU64; AnswerKind::ALL.len()]);

impl AnswerCounts {
    /// Counts one answer.
    pub fn count(&self, answer: AnswerKind) {
        self.0[answer as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts several answers of one kind.
    pub fn add(&self, answer: AnswerKind, count: u64) {
        self.0[answer as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Returns the number of answers of this kind, and sets the counter to zero.
    pub fn take(&self, answer: AnswerKind) -> u64 {
        self.0[answer as usize].swap(0, Ordering::Relaxed)
    }

    /// Returns the number of answers of this kind so far.
    #[must_use]
    pub fn get(&self, answer: AnswerKind) -> u64 {
        self.0[answer as usize].load(Ordering::Relaxed)
    }
}

//! Counts the answers to buyers, by kind. Statistics and metrics read these atomic counters.
use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_api::problem::Code;

macro_rules! answers {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// The kind of answer to a purchase request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum AnswerKind { $($(#[$doc])* $name,)* }

        impl AnswerKind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the kind's name. The name of a refusal is its problem code.
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
    /// The request already had an order, and the answer repeats that order.
    Replayed = "replayed",
    /// The verdict comes later.
    Queued = "queued",
    /// No units are available now.
    SoldOut = "sold_out",
    /// The buyer's limit is reached.
    LimitReached = "limit_reached",
    /// The sale has not started.
    NotStarted = "not_started",
    /// The sale is paused.
    Paused = "paused",
    /// The sale has ended.
    Ended = "ended",
    /// An operator blocked the buyer or the IP address.
    Forbidden = "forbidden",
    /// The buyer does not meet a requirement of the sale.
    NotEligible = "not_eligible",
    /// The request has no pass.
    PassRequired = "pass_required",
    /// The pass is invalid.
    PassInvalid = "pass_invalid",
    /// The pass has expired.
    PassExpired = "pass_expired",
    /// The buyer must enter the waiting room. The room opened after the server issued the pass.
    WaitingRoom = "waiting_room",
    /// Too many requests.
    RateLimited = "rate_limited",
    /// Another request already used this request key.
    KeyReused = "idempotency_key_reused",
    /// A queue, a table or another limit of the server is full.
    Overloaded = "overloaded",
    /// The server cannot decide now, and the client should retry.
    Unavailable = "unavailable",
}

impl AnswerKind {
    /// Returns whether the answer is a refusal: the buyer gets no order, and no verdict follows.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        self.refusal_code().is_some()
    }

    /// Returns the problem code of a refusal, or `None` if the answer is not a refusal.
    #[must_use]
    pub fn refusal_code(self) -> Option<Code> {
        Some(match self {
            Self::Reserved | Self::Replayed | Self::Queued => return None,
            Self::SoldOut => Code::SoldOut,
            Self::LimitReached => Code::LimitReached,
            Self::NotStarted => Code::NotStarted,
            Self::Paused => Code::Paused,
            Self::Ended => Code::Ended,
            Self::Forbidden => Code::Forbidden,
            Self::NotEligible => Code::NotEligible,
            Self::PassRequired => Code::PassRequired,
            Self::PassInvalid => Code::PassInvalid,
            Self::PassExpired => Code::PassExpired,
            Self::WaitingRoom => Code::WaitingRoom,
            Self::RateLimited => Code::RateLimited,
            Self::KeyReused => Code::IdempotencyKeyReused,
            Self::Overloaded => Code::Overloaded,
            Self::Unavailable => Code::Unavailable,
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_refusal_is_its_problem_code() {
        for answer in AnswerKind::ALL {
            let code = answer.refusal_code();
            assert!(code.is_none_or(|code| code.as_str() == answer.as_str()), "{answer:?}");
        }
    }
}

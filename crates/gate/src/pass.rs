//! Issues and checks purchase passes. For this, a node needs only its keys, and does not read the
//! store. Time is divided into periods, and each period has its own keys. A node caches the keys of
//! the previous, the current and the next period. These keys are enough, because a pass of any
//! other period has expired or was never issued.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use doorbuster_base::master_keys::MasterKeys;
use doorbuster_core::Millis;
use doorbuster_core::gate::pass::{PASS_BYTES_MAX, PassKey, PassTerms, UnverifiedPass, period};

/// The pass of a purchase request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresentedPass<'a> {
    /// The request has no pass.
    Missing,
    /// The request has this pass.
    Pass(&'a str),
    /// The pass cannot be read: the header is not UTF-8 text, or the request has several passes.
    Malformed,
}

impl<'a> PresentedPass<'a> {
    /// Reads the pass. `values` are all values of the `Purchase-Pass` header in the request.
    pub fn new(mut values: impl Iterator<Item = &'a [u8]>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Missing,
            (Some(one), None) => {
                std::str::from_utf8(one).map_or(Self::Malformed, |text| Self::Pass(text.trim()))
            }
            (Some(_), Some(_)) => Self::Malformed,
        }
    }
}

/// The cached keys. `signing` signs new passes, and belongs to `period`. `known` has the keys that
/// check passes: those of `period`, of the period before it, and of the period after it.
#[derive(Debug)]
struct KeyRing {
    period: i64,
    signing: PassKey,
    known: Box<[PassKey]>,
}

impl KeyRing {
    fn new(masters: &MasterKeys, period: i64) -> Self {
        let periods = [period, period - 1, period + 1];
        let known = periods
            .iter()
            .flat_map(|at| masters.masters().map(|master| PassKey::derive(&master, *at)));
        Self { period, signing: PassKey::derive(&masters.first(), period), known: known.collect() }
    }
}

/// The labels of the counters of pass requests, one for each result: `issued`, the codes of the
/// frequent refusals, and `other` for all other results.
pub const PASS_ANSWERS: [&str; 11] = [
    "issued",
    "not_started",
    "paused",
    "ended",
    "forbidden",
    "not_eligible",
    "rate_limited",
    "waiting_room",
    "challenge_required",
    "challenge_failed",
    "other",
];

/// Issues and checks passes.
#[derive(Debug)]
pub struct Passes {
    answers: [AtomicU64; PASS_ANSWERS.len()],
    masters: MasterKeys,
    ring: ArcSwap<KeyRing>,
    ttl_ms: i64,
}

/// A buffer for the decoded bytes of a pass. With it, a check needs no allocation.
pub type PassBuffer = [u8; PASS_BYTES_MAX + 2];

/// A pass that was just issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedPass {
    /// The pass as text.
    pub text: String,
    /// The time at which the pass expires.
    pub expires_at: Millis,
}

impl Passes {
    /// Creates passes that are valid for `ttl`.
    #[must_use]
    pub fn new(masters: MasterKeys, ttl: Duration) -> Self {
        let ring = ArcSwap::from_pointee(KeyRing::new(&masters, 0));
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        Self { answers: Default::default(), masters, ring, ttl_ms }
    }

    /// Counts the result of a request for a pass.
    pub fn count(&self, answer: &str) {
        let at = PASS_ANSWERS
            .iter()
            .position(|known| *known == answer)
            .unwrap_or(PASS_ANSWERS.len() - 1);
        self.answers[at].fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how many requests for a pass had each result.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        PASS_ANSWERS.into_iter().zip(self.answers.iter().map(|count| count.load(Ordering::Relaxed)))
    }

    /// Calls `use_it` with the keys for the period of `now`. If the cache has the keys of another
    /// period, first replaces them.
    fn with_ring<T>(&self, now: Millis, use_it: impl FnOnce(&KeyRing) -> T) -> T {
        let (period, ring) = (period(now), self.ring.load());
        if ring.period == period {
            return use_it(&ring);
        }
        let fresh = KeyRing::new(&self.masters, period);
        let result = use_it(&fresh);
        self.ring.store(fresh.into());
        result
    }

    /// Issues a pass for `item` of `sale`. The pass is valid from `terms.valid_from` on for the
    /// configured time, but not longer than until `terms.expires_at`.
    #[must_use]
    pub fn issue(&self, now: Millis, terms: PassTerms<'_>, sale: &str, item: &str) -> IssuedPass {
        let expires_at = terms.valid_from.plus(self.ttl_ms).min(terms.expires_at);
        let terms = PassTerms { expires_at, ..terms };
        let sealed = self.with_ring(now, |ring| ring.signing.sign(&terms, sale, item));
        IssuedPass { text: URL_SAFE_NO_PAD.encode(sealed), expires_at }
    }

    /// Returns the terms of the pass `text`, if this deployment issued it for `item` of `sale`.
    /// Does not check the buyer or the time of expiry.
    pub fn open<'a>(
        &self,
        text: &str,
        sale: &str,
        item: &str,
        now: Millis,
        room: &'a mut PassBuffer,
    ) -> Option<PassTerms<'a>> {
        let len = URL_SAFE_NO_PAD.decode_slice(text, room).ok()?;
        let pass = UnverifiedPass::parse(&room[..len])?;
        let holds = self
            .with_ring(now, |ring| ring.known.iter().any(|key| pass.is_signed_by(key, sale, item)));
        holds.then(|| pass.terms())
    }
}

#[cfg(test)]
mod tests {
    use doorbuster_base::master_keys::MASTER_KEY_BYTES;
    use doorbuster_core::gate::pass::{Membership, PERIOD_MS};

    use super::*;

    const NOW: Millis = Millis(1_795_168_800_000);

    fn passes(masters: &[u8]) -> Passes {
        let masters = masters.iter().map(|byte| [*byte; MASTER_KEY_BYTES]).collect();
        Passes::new(
            MasterKeys::new(masters).expect("there is at least one key"),
            Duration::from_secs(120),
        )
    }

    fn issued(passes: &Passes, now: Millis) -> IssuedPass {
        let membership = Membership { member: true, level: 3 };
        let terms = PassTerms {
            buyer: "anna",
            membership,
            issued_without_room: false,
            valid_from: now,
            expires_at: Millis(i64::MAX),
        };
        passes.issue(now, terms, "spring", "phone")
    }

    fn holds(passes: &Passes, text: &str, now: Millis) -> bool {
        passes.open(text, "spring", "phone", now, &mut [0; PASS_BYTES_MAX + 2]).is_some()
    }

    #[test]
    fn a_pass_of_one_node_is_valid_at_another_with_the_same_secret() {
        let (one, other) = (passes(&[1]), passes(&[1]));
        let pass = issued(&one, NOW);
        let mut room = [0; PASS_BYTES_MAX + 2];
        let terms = other
            .open(&pass.text, "spring", "phone", NOW, &mut room)
            .expect("the secret is the same");
        assert_eq!(
            (terms.buyer, terms.valid_from, terms.expires_at),
            ("anna", NOW, NOW.plus(120_000))
        );
        assert_eq!(
            (terms.membership, pass.expires_at),
            (Membership { member: true, level: 3 }, terms.expires_at)
        );
        assert!(other.open(&pass.text, "spring", "case", NOW, &mut room).is_none());
        assert!(!holds(&passes(&[2]), &pass.text, NOW));
    }

    #[test]
    fn a_pass_expires_at_the_end_of_the_terms_under_which_it_was_issued() {
        let membership = Membership { member: true, level: 3 };
        let terms = PassTerms {
            buyer: "anna",
            membership,
            issued_without_room: false,
            valid_from: NOW,
            expires_at: NOW.plus(5_000),
        };
        let short = passes(&[1]).issue(NOW, terms, "spring", "phone");
        assert_eq!(short.expires_at, NOW.plus(5_000));
    }

    #[test]
    fn passes_stay_valid_while_secrets_change() {
        // The steps in which an operator changes the secret on all nodes: first, every node also
        // accepts the new secret. Then every node signs with it. Then every node removes the old
        // secret. During a step, some nodes are one step ahead of the others, so nodes in
        // neighbouring steps must accept each other's passes.
        let steps = [passes(&[1]), passes(&[1, 2]), passes(&[2, 1]), passes(&[2])];
        for pair in steps.windows(2) {
            let (before, after) = (&pair[0], &pair[1]);
            assert!(holds(after, &issued(before, NOW).text, NOW));
            assert!(holds(before, &issued(after, NOW).text, NOW));
        }
    }

    #[test]
    fn a_key_verifies_passes_until_the_end_of_the_next_period() {
        let passes = passes(&[1]);
        let end = Millis((period(NOW) + 1) * PERIOD_MS);
        let last = issued(&passes, end.plus(-1));
        assert!(holds(&passes, &last.text, end.plus(-1)));
        assert!(holds(&passes, &last.text, end.plus(PERIOD_MS - 1)));
        assert!(!holds(&passes, &last.text, end.plus(PERIOD_MS)));
        // A node whose clock is a little fast signs with the next period's key. The other nodes
        // must accept this pass too.
        assert!(holds(&passes, &issued(&passes, end).text, end.plus(-1)));
    }

    #[test]
    fn malformed_passes_are_rejected() {
        let passes = passes(&[1]);
        let good = issued(&passes, NOW).text;
        let long = "A".repeat(10_000);
        for text in [
            "",
            "A",
            "====",
            "\u{e4}",
            &long,
            &good[1..],
            &format!("{good}="),
            &format!("{good}AA"),
        ] {
            assert!(!holds(&passes, text, NOW), "{text}");
        }
        assert_eq!(PresentedPass::new([].into_iter()), PresentedPass::Missing);
        assert_eq!(PresentedPass::new([b" x ".as_slice()].into_iter()), PresentedPass::Pass("x"));
        assert_eq!(
            PresentedPass::new([b"x".as_slice(), b"x"].into_iter()),
            PresentedPass::Malformed
        );
        assert_eq!(PresentedPass::new([b"\xFF".as_slice()].into_iter()), PresentedPass::Malformed);
    }
}

//! Proof of work with the open ALTCHA protocol, version 2. The buyer's device derives a key from
//! each number in turn, until a key has the wanted beginning.
//!
//! The server chooses the number that the device must find. So the server derives only one key for
//! a new challenge. To check an answer, the server computes two short MACs. This crate does not
//! remember answers, so the caller must refuse a repeated answer.

use std::fmt;

use altcha::{
    Challenge, CreateChallengeOptions, Payload, SolveChallengeOptions, VerifySolutionOptions,
    create_challenge, solve_challenge, verify_solution,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use crate::random::RandomSource;

/// The largest size of a payload, in bytes. A larger payload is refused.
pub const PAYLOAD_MAX: usize = 4_096;
/// The algorithm of the key derivation. The built-in cryptography of every browser supports it.
const ALGORITHM: &str = "PBKDF2/SHA-256";

/// How much work a challenge is: how many keys a device must try, and how many rounds the
/// derivation of each key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// The number of rounds that derive one key. The server derives one key for each new challenge.
    pub rounds: u32,
    /// The smallest number of keys that a device has to try.
    pub keys_min: u32,
    /// The largest number of keys that a device has to try.
    pub keys_max: u32,
}

impl Effort {
    /// The effort for buyers' devices.
    pub const DEFAULT: Self = Self::from_keys(5_000);

    /// Returns an effort of this many keys on average. A device tries between two fifths and eight
    /// fifths of this number. Each key takes the same number of rounds at every effort, and the
    /// server derives only one key. So a higher effort costs the server nothing.
    #[must_use]
    pub const fn from_keys(keys: u32) -> Self {
        Self {
            rounds: 1_000,
            keys_min: keys.saturating_mul(2) / 5,
            keys_max: keys.saturating_mul(8) / 5,
        }
    }
}

/// The keys with which a deployment signs its challenges. They are the same on every node.
#[derive(Clone)]
pub struct WorkKeys {
    challenge: String,
    answer: String,
}

impl fmt::Debug for WorkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkKeys(…)")
    }
}

/// A proof-of-work challenge.
#[derive(Clone, Debug)]
pub struct WorkChallenge {
    /// The challenge as the protocol writes it.
    pub json: serde_json::Value,
    /// The challenge's signature. An answer must contain the same signature.
    pub mark: [u8; 32],
}

impl WorkKeys {
    /// Creates the keys from two secrets.
    #[must_use]
    pub fn new(challenge: &[u8; 32], answer: &[u8; 32]) -> Self {
        Self { challenge: STANDARD.encode(challenge), answer: STANDARD.encode(answer) }
    }

    /// Creates a challenge of this effort.
    #[must_use]
    pub fn new_challenge(&self, random: &mut RandomSource, effort: Effort) -> WorkChallenge {
        // A device tries the numbers from 0 on. The `n`th key that it tries has the number `n - 1`.
        let [first, last] = [effort.keys_min, effort.keys_max].map(|keys| keys.saturating_sub(1));
        let span = u64::from(last.saturating_sub(first)) + 1;
        let counter = first + (random.bits() % span) as u32;
        let challenge = create_challenge(CreateChallengeOptions {
            algorithm: ALGORITHM.to_owned(),
            counter: Some(counter),
            cost: effort.rounds,
            hmac_signature_secret: Some(self.challenge.clone()),
            hmac_key_signature_secret: Some(self.answer.clone()),
            ..CreateChallengeOptions::default()
        })
        .expect("the algorithm is known and the keys are not empty");
        let mark = signature_bytes(&challenge)
            .expect("a challenge that is signed has a signature of 32 bytes");
        WorkChallenge {
            json: serde_json::to_value(&challenge)
                .expect("texts and numbers can always be written as JSON"),
            mark,
        }
    }

    /// Returns whether the payload is a correct answer to the challenge with the signature `mark`.
    #[must_use]
    pub fn check(&self, payload: &str, mark: &[u8; 32]) -> bool {
        self.check_payload(payload, mark).unwrap_or(false)
    }

    fn check_payload(&self, payload: &str, wanted: &[u8; 32]) -> Option<bool> {
        if payload.len() > PAYLOAD_MAX {
            return None;
        }
        let payload: Payload = serde_json::from_slice(&STANDARD.decode(payload).ok()?).ok()?;
        let is_this = bool::from(signature_bytes(&payload.challenge)?.ct_eq(wanted));
        let mut options =
            VerifySolutionOptions::new(&payload.challenge, &payload.solution, &self.challenge);
        options.hmac_key_signature_secret = Some(self.answer.clone());
        Some(is_this && verify_solution(options).ok()?.verified)
    }
}

/// Solves a challenge as a device would, for tests and for clients without a browser. Returns
/// `None` if the text is not a challenge, or after 90 seconds without a solution.
#[must_use]
pub fn solve_work(json: &serde_json::Value) -> Option<String> {
    let challenge: Challenge = serde_json::from_value(json.clone()).ok()?;
    let solution = solve_challenge(SolveChallengeOptions::new(&challenge)).ok()??;
    Some(STANDARD.encode(serde_json::to_vec(&Payload { challenge, solution }).ok()?))
}

/// Returns a challenge's signature, which covers the whole challenge.
fn signature_bytes(challenge: &Challenge) -> Option<[u8; 32]> {
    let text = challenge.signature.as_deref()?.as_bytes();
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut mark = [0; 32];
    for (pair, byte) in text.chunks(2).zip(&mut mark) {
        *byte = (digit(pair.first()?)? << 4 | digit(pair.get(1)?)?) as u8;
    }
    (text.len() == 64).then_some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EASY: Effort = Effort { rounds: 10, keys_min: 3, keys_max: 9 };

    fn keys() -> WorkKeys {
        WorkKeys::new(&[1; 32], &[2; 32])
    }

    fn solved(work: &WorkChallenge) -> Payload {
        let challenge: Challenge =
            serde_json::from_value(work.json.clone()).expect("a challenge of the protocol");
        let solution =
            solve_challenge(SolveChallengeOptions::new(&challenge)).expect("a valid challenge");
        Payload { solution: solution.expect("an easy challenge"), challenge }
    }

    fn encoded(payload: &Payload) -> String {
        STANDARD.encode(serde_json::to_vec(payload).expect("plain data"))
    }

    #[test]
    fn the_reference_solver_passes_and_tries_as_many_keys_as_the_effort_says() {
        let (keys, mut random) = (keys(), RandomSource::from_seed(1));
        let mut most = 0;
        for _ in 0..100 {
            let work = keys.new_challenge(&mut random, EASY);
            let payload = solved(&work);
            // The number of the last tried key is one less than the count of keys, because the
            // first key has the number 0.
            let tried = payload.solution.counter + 1;
            assert!((EASY.keys_min..=EASY.keys_max).contains(&tried), "{tried}");
            assert!(keys.check(&encoded(&payload), &work.mark));
            most = most.max(tried);
        }
        assert_eq!(most, EASY.keys_max);
    }

    #[test]
    fn the_default_effort_has_an_average_of_5_000_keys() {
        assert_eq!(Effort::DEFAULT, Effort { rounds: 1_000, keys_min: 2_000, keys_max: 8_000 });
        for keys in [0, 1, 100, 50_000, u32::MAX] {
            let Effort { keys_min, keys_max, .. } = Effort::from_keys(keys);
            assert!(keys_min <= keys_max, "{keys}");
        }
    }

    #[test]
    fn every_payload_except_the_right_one_is_refused() {
        let (keys, mut random) = (keys(), RandomSource::from_seed(2));
        let (work, other) =
            (keys.new_challenge(&mut random, EASY), keys.new_challenge(&mut random, EASY));
        let good = solved(&work);
        assert!(
            !keys.check(&encoded(&good), &other.mark),
            "an answer to another challenge was accepted"
        );
        assert!(
            !WorkKeys::new(&[3; 32], &[2; 32]).check(&encoded(&good), &work.mark),
            "a challenge of another deployment was accepted"
        );
        let altered = |change: &dyn Fn(&mut Payload)| {
            let mut payload = good.clone();
            change(&mut payload);
            keys.check(&encoded(&payload), &work.mark)
        };
        assert!(altered(&|_| {}));
        assert!(
            !altered(&|p| p.challenge.parameters.cost = 1),
            "a payload with a lower cost was accepted"
        );
        assert!(
            !altered(&|p| p.challenge.parameters.key_signature = None),
            "a payload without the key's signature was accepted"
        );
        assert!(
            !altered(&|p| p.challenge.signature = None),
            "a payload without a signature was accepted"
        );
        assert!(
            !altered(&|p| p.solution.derived_key = "00".repeat(32)),
            "a payload with another key was accepted"
        );
        let prefix = good.challenge.parameters.key_prefix.clone();
        assert!(
            !altered(&|p| p.solution.derived_key = prefix.clone()),
            "a payload with only the published prefix was accepted"
        );
        for bad in ["", "e30=", "not base64!", "bnVsbA==", &"A".repeat(PAYLOAD_MAX + 4)] {
            assert!(!keys.check(bad, &work.mark), "{bad:.20}");
        }
    }

    #[test]
    fn a_challenge_does_not_contain_its_answer() {
        let work = keys().new_challenge(&mut RandomSource::from_seed(3), EASY);
        let text = work.json.to_string();
        let answer = solved(&work).solution.derived_key;
        assert!(
            !text.contains(&answer) && !text.contains(&answer[32..]) && !text.contains("counter"),
            "{text}"
        );
    }
}
